"use strict";
// The page is complete without this: it chooses a class, and marks the row and the column under the pointer.
const select = document.getElementById("class");
function choose() {
  for (const each of document.querySelectorAll("[data-true]"))
    each.classList.toggle("off", select.value !== "" && each.dataset.true !== select.value && each.dataset.predicted !== select.value);
}
if (select) {
  for (const each of document.querySelectorAll(".script")) each.hidden = false;
  select.addEventListener("change", choose);
}
for (const cell of document.querySelectorAll(".matrix td")) {
  const mark = (on) => () => {
    for (const other of cell.closest("table").querySelectorAll("td, th"))
      other.classList.toggle("on", on && (other.parentNode === cell.parentNode || other.cellIndex === cell.cellIndex));
  };
  cell.addEventListener("mouseenter", mark(true));
  cell.addEventListener("mouseleave", mark(false));
}
