// Mends a few faults of the theme that keep people with a screen reader out.
addEventListener("DOMContentLoaded", () => {
  // The visible text of the search button is its name; the label contradicts it.
  for (const button of document.querySelectorAll(".search-button__button")) {
    button.removeAttribute("aria-label");
  }
  const sidebar = document.querySelector(".sidebar-primary-items__start");
  if (sidebar) {
    sidebar.setAttribute("role", "region");
    sidebar.setAttribute("aria-label", "Book");
  }
  // Output that scrolls must be reachable by keyboard.
  for (const box of document.querySelectorAll("div.cell_output, div.highlight pre, mjx-container[display=true]")) {
    if (box.scrollWidth > box.clientWidth && !box.hasAttribute("tabindex")) box.setAttribute("tabindex", "0");
  }
});
