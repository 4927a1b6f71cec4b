// The glossary gets a field that filters it, and its letters.
addEventListener("DOMContentLoaded", () => {
  const list = document.querySelector("article dl.glossary");
  if (!list) return;
  const entries = [...list.children].filter((each) => each.tagName === "DT").map(entryOf);
  const bar = document.createElement("div");
  bar.className = "glossary-bar";
  bar.append(filterOf(list, entries), lettersOf(entries));
  list.before(bar);
});

/** A term with what belongs to it. */
function entryOf(term) {
  const parts = [term];
  for (let next = term.nextElementSibling; next?.tagName === "DD"; next = next.nextElementSibling) {
    parts.push(next);
  }
  const text = parts.map((each) => each.textContent).join(" ").toLowerCase();
  return { term, parts, text, letter: /^[a-z]/.test(text) ? text[0].toUpperCase() : "0–9" };
}

function filterOf(list, entries) {
  const label = document.createElement("label");
  const field = document.createElement("input");
  const count = document.createElement("output");
  field.type = "search";
  field.placeholder = "a word, English or Chinese";
  const filter = () => {
    const wanted = field.value.trim().toLowerCase();
    const named = (each) => each.term.textContent.toLowerCase().includes(wanted);
    // Terms that have the word come alone, if there are any; else those that are explained by it.
    const found = entries.filter(named);
    const shown = new Set(found.length ? found : entries.filter((each) => each.text.includes(wanted)));
    for (const each of entries) for (const part of each.parts) part.hidden = !shown.has(each);
    count.textContent = wanted ? `${shown.size} of ${entries.length} terms` : `${entries.length} terms`;
    list.hidden = !shown.size;
  };
  field.addEventListener("input", filter);
  label.append("Find ", field);
  const row = document.createElement("p");
  row.append(label, " ", count);
  filter();
  return row;
}

function lettersOf(entries) {
  const nav = document.createElement("nav");
  nav.setAttribute("aria-label", "Letters");
  for (const letter of new Set(entries.map((each) => each.letter))) {
    const link = document.createElement("a");
    link.href = `#${entries.find((each) => each.letter === letter).term.id}`;
    link.textContent = letter;
    nav.append(link, " ");
  }
  return nav;
}
