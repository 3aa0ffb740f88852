// What the theme's pages lack for screen readers and for the keyboard, found by axe-core.
for (const caption of document.querySelectorAll(".caption[role=heading]")) caption.ariaLevel = "2";
document.querySelector("aside.sidebar-drawer")?.setAttribute("aria-label", "Pages");
document.querySelector("aside.toc-drawer")?.setAttribute("aria-label", "On this page");
const article = document.querySelector("article");
if (article && !document.querySelector("h1")) {
  const heading = document.createElement("h1");
  heading.textContent = document.title.split(" - ")[0];
  article.prepend(heading);
}

// A name stays in one line, though it has hyphens.
for (const cell of document.querySelectorAll("td:first-child")) {
  if (!/\s/.test(cell.textContent.trim()) && cell.textContent.length < 40) cell.style.whiteSpace = "nowrap";
}

function letKeysScroll() {
  for (const box of document.querySelectorAll("pre, .table-wrapper")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
letKeysScroll();
addEventListener("resize", letKeysScroll);
