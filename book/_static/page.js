// Mends a few faults of the theme that keep people out, and loads the search index when it is asked for.
const root = new URL(document.documentElement.dataset.content_root, location.href);

// From a disk a page may not read other pages, so what is found comes without the sentence around it.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

addEventListener("DOMContentLoaded", () => {
  // What one reads on these is their name; the label contradicts it.
  for (const each of document.querySelectorAll(".search-button-field, details.hide > summary")) {
    each.removeAttribute("aria-label");
  }
  const sidebar = document.querySelector(".sidebar-primary-items__start");
  if (sidebar) {
    sidebar.setAttribute("role", "region");
    sidebar.setAttribute("aria-label", "Book");
  }
  // A role that nobody may use any more, lists that are none, and heads of tables that say nothing.
  for (const each of document.querySelectorAll("[role=doc-biblioentry]")) each.setAttribute("role", "listitem");
  for (const each of document.querySelectorAll(".sig dl, .sig dd")) retag(each, "div");
  for (const each of document.querySelectorAll("main th")) {
    if (!each.textContent.trim()) retag(each, "td");
  }
  const search = document.querySelector("#pst-search-dialog input[name=q]");
  search?.addEventListener("focus", () => Search.loadIndex(new URL("searchindex.js", root)), { once: true });
  new ResizeObserver(reachScrolling).observe(document.body);
});

function retag(element, tag) {
  const other = document.createElement(tag);
  other.className = element.className;
  other.append(...element.childNodes);
  element.replaceWith(other);
}

// What scrolls must be reachable by keyboard, on whatever screen it comes to scroll.
function reachScrolling() {
  const boxes = "div.cell_output, div.highlight pre, mjx-container, .pst-scrollable-table-container";
  for (const box of document.querySelectorAll(boxes)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
