"use strict";
// The page is complete without this. It chooses a class, marks the row and the column under the pointer, sorts a table by the
// column whose head is chosen, and loads the page of a run that goes on again.
for (const each of document.querySelectorAll(".script")) each.hidden = false;

function kept(name, value) {
  try {
    if (value !== undefined) sessionStorage.setItem(name, value);
    return sessionStorage.getItem(name);
  } catch {
    return null; // a browser may refuse it to a file
  }
}

const select = document.getElementById("class");
if (select) {
  const figures = [...document.querySelectorAll("#mistakes figure")];
  const choose = () => {
    const chosen = (each) => [each.dataset.true, each.dataset.predicted].includes(select.value);
    for (const each of figures) each.hidden = select.value !== "" && !chosen(each);
    document.getElementById("count").textContent = `${figures.filter((each) => !each.hidden).length} shown`;
    kept("class", select.value);
  };
  if ([...select.options].some((option) => option.value === kept("class"))) select.value = kept("class");
  select.addEventListener("change", choose);
  choose();
}

for (const table of document.querySelectorAll(".matrix")) {
  const mark = (cell) => {
    for (const each of table.querySelectorAll(".on")) each.classList.remove("on");
    if (!cell) return;
    for (const row of table.rows) row.cells[cell.cellIndex].classList.add("on");
    for (const each of cell.parentNode.cells) each.classList.add("on");
  };
  table.addEventListener("mouseover", (event) => mark(event.target.closest("td")));
  table.addEventListener("mouseleave", () => mark(null));
}

for (const table of document.querySelectorAll(".sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].textContent;
      const number = (row) => (Number.isNaN(parseFloat(key(row))) ? -1 : parseFloat(key(row)));
      const order = (a, b) => (column ? number(a) - number(b) : key(a).localeCompare(key(b)));
      body.append(...[...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))));
    });
  });
}

const seconds = Number(document.documentElement.dataset.reload);
const box = document.getElementById("reload");
if (seconds && box) {
  box.checked = kept("reload") !== "no";
  box.addEventListener("change", () => kept("reload", box.checked ? "yes" : "no"));
  setInterval(() => box.checked && location.reload(), 1000 * seconds);
  document.getElementById("written").textContent = `; written at ${document.lastModified.slice(11)}`;
}
document.documentElement.dataset.ready = "yes";
