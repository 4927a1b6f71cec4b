// The search leads to sections, terms and questions: see tools/sections.py. Sphinx shows what is found.

// Sphinx's part comes later, and starts on the same event: this listener is there before.
document.addEventListener("DOMContentLoaded", searchSections);

function searchSections() {
  let asked = "";
  Scorer.objPrio[0] = 5; // a module called as a term is comes after the term
  const perform = Search._performSearch;
  Search._performSearch = (query, ...words) => {
    asked = query.toLowerCase().trim();
    return perform(query, ...words);
  };
  const inPages = Search.performTermsSearch;
  Search.performTermsSearch = (wanted, unwanted) => {
    const found = inSections(Search._index, asked, wanted, unwanted);
    return found.length ? found : inPages(wanted, unwanted);
  };
  Search.htmlToText = textOf;
}

/** The places that contain all words, in their text, their title or their page's title. */
function inSections({ sections, docnames, titles, filenames }, asked, wanted, unwanted) {
  const { places } = sections;
  const pages = new Map(places.flatMap(([page, anchor], n) => (anchor ? [] : [[page, n]])));
  const scores = [...wanted].map((word) => scoresOf(word, sections, pages));
  const banned = new Set([...unwanted].flatMap((word) => [...scoresOf(word, sections, pages).keys()]));
  const found = places.flatMap(([page, anchor, title], n) => {
    const said = title.toLowerCase();
    let score = said === asked ? 12 : asked.length > 2 && said.includes(asked) ? 6 : 0;
    const here = scores.map((each) => each.get(n) ?? 0);
    if (banned.has(n) || !(score || (here.length && here.every(Boolean)))) return [];
    score += here.reduce((sum, each) => sum + each, 0) / Math.max(1, here.length);
    return [[page, anchor, title, score]];
  });
  const kept = new Map(); // of each page, three at most
  return found.sort((a, b) => b[3] - a[3]).flatMap(([page, anchor, title, score]) => {
    kept.set(page, (kept.get(page) ?? 0) + 1);
    if (kept.get(page) > 3) return [];
    const name = anchor ? `${titles[page]} › ${escaped(title)}` : titles[page];
    return [[docnames[page], name, anchor && `#${anchor}`, null, score, filenames[page]]];
  });
}

/** How well each place fits one word: by its title, by its page's title, by its text. */
function scoresOf(word, { places, titles, texts }, pages) {
  const scores = new Map();
  const add = (n, score) => scores.set(n, Math.max(score, scores.get(n) ?? 0));
  const like = (words) => {
    if (Object.hasOwn(words, word)) return words[word];
    if (word.length < 3) return [];
    return Object.keys(words).filter((each) => each.includes(word)).flatMap((each) => words[each]);
  };
  for (const n of like(texts)) add(n, 4);
  const titled = new Set(like(titles));
  for (const [n, [page, anchor]] of places.entries()) {
    if (titled.has(n)) add(n, anchor ? 10 : 14);
    else if (titled.has(pages.get(page)) && scores.has(n)) add(n, 6);
    else if (titled.has(pages.get(page))) add(n, 1);
  }
  return scores;
}

function escaped(text) {
  const box = document.createElement("i");
  box.textContent = text;
  return box.innerHTML;
}

/** The text around a result: of the page's article, without formulas' backslashes and outputs. */
function textOf(page, anchor) {
  const article = new DOMParser().parseFromString(page, "text/html").querySelector("article");
  if (!article) return "";
  const needless = ".headerlink, script, style, .cell_output, .toctree-wrapper, summary .sd-summary-state-marker";
  for (const each of article.querySelectorAll(needless)) each.remove();
  for (const each of article.querySelectorAll(".math")) {
    each.textContent = each.textContent.replace(/\\[()[\]]/g, "").trim();
  }
  const place = anchor && article.querySelector(`#${CSS.escape(anchor.slice(1))}`);
  const box = place?.tagName === "DT" ? place.nextElementSibling : place;
  return (box || article).textContent.replace(/\s+/g, " ");
}
