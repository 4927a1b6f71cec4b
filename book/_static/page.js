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
  followReading();
  unfoldTarget();
  addEventListener("hashchange", unfoldTarget);
});

// Contents that follow the reading: you are under the last heading that has come to the top.
function followReading() {
  const article = document.querySelector("article.bd-article");
  if (!article) return;
  const bar = document.createElement("div");
  bar.className = "reading-bar";
  document.body.append(bar);
  const here = [...document.querySelectorAll("#pst-page-toc-nav a[href^='#']")];
  const entries = document.querySelectorAll("#pst-page-toc-nav li");
  const targets = here.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  let current = null, asked = 0;
  const mark = () => {
    asked = 0;
    const box = article.getBoundingClientRect();
    const read = (innerHeight - box.top) / Math.max(box.height, innerHeight);
    bar.style.transform = `scaleX(${Math.min(1, Math.max(0, scrollY && read))})`;
    const passed = targets.filter((each) => each && each.getBoundingClientRect().top < 120);
    const link = here[targets.indexOf(passed.at(-1))] ?? here[0];
    for (const each of here) {
      each.classList.toggle("active", each === link);
      if (each !== link) each.removeAttribute("aria-current");
      else if (!each.hasAttribute("aria-current")) each.setAttribute("aria-current", "true");
    }
    for (const each of entries) each.classList.toggle("active", each.contains(link ?? null));
    if (link !== current) show((current = link));
  };
  const ask = () => (asked ||= requestAnimationFrame(mark));
  for (const event of ["scroll", "resize"]) addEventListener(event, ask);
  // The theme marks another one after a jump.
  const nav = document.querySelector("#pst-page-toc-nav");
  if (nav) new MutationObserver(ask).observe(nav, { subtree: true, attributeFilter: ["aria-current"] });
  mark();
  show(document.querySelector(".bd-sidebar-primary .current.active > a"));
  document.querySelector(".primary-toggle")?.addEventListener("click", () => {
    setTimeout(() => show(document.querySelector("#pst-primary-sidebar-modal .current.active > a")));
  });
}

/** Scroll the sidebar around a link, and nothing else, until the link is seen. */
function show(link) {
  let box = link?.parentElement;
  while (box && !(box.scrollHeight > box.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(box).overflowY))) {
    box = box.parentElement;
  }
  if (!box?.closest(".bd-sidebar-primary, .bd-sidebar-secondary, dialog")) return;
  const { top, bottom } = link.getBoundingClientRect(), frame = box.getBoundingClientRect();
  if (top < frame.top + 80 || bottom > Math.min(frame.bottom, innerHeight) - 40) {
    box.scrollTop += top - frame.top - frame.height / 3;
  }
}

// An address may lead to something that is folded away.
function unfoldTarget() {
  let folded = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!folded) return;
  const target = folded;
  while ((folded = folded.closest("details"))) {
    folded.open = true;
    folded = folded.parentElement;
  }
  if (target.closest("details")) target.scrollIntoView();
}

function retag(element, tag) {
  const other = document.createElement(tag);
  other.className = element.className;
  other.append(...element.childNodes);
  element.replaceWith(other);
}

// What scrolls must be reachable by keyboard, on whatever screen it comes to scroll.
function reachScrolling() {
  const boxes = "div.cell_output, div.highlight pre, mjx-container, span.math, .pst-scrollable-table-container";
  for (const box of document.querySelectorAll(boxes)) {
    const wide = box.scrollWidth > box.clientWidth + 1;
    if (wide) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    fade(box);
    if (wide) box.addEventListener("scroll", () => fade(box), { passive: true });
  }
}

// What goes on beyond its right edge looks like it.
function fade(box) {
  const isInLine = box.matches("span.math, mjx-container:not([display])");
  box.classList.toggle("goes-on", !isInLine && box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
}
