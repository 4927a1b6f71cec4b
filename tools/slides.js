// Steps through the slides by keys and buttons; without it they stand below each other.
const all = [...document.querySelectorAll(".slide")];
const said = document.querySelector("output");
let now = 0;

// What is too large for its slide gets smaller letters.
for (const slide of all) {
  const body = slide.querySelector(".body");
  for (let fit = 0.95; fit > 0.4; fit -= 0.05) {
    const high = body.scrollHeight > body.clientHeight + 1 || slide.scrollHeight > slide.clientHeight + 1;
    if (!high && body.scrollWidth <= body.clientWidth + 1) break;
    body.style.setProperty("--fit", fit.toFixed(2));
  }
}
document.documentElement.classList.add("stepping");

function show(number) {
  now = Math.max(0, Math.min(all.length - 1, number));
  all.forEach((slide, place) => slide.classList.toggle("now", place === now));
  said.textContent = `${now + 1} of ${all.length}`;
  history.replaceState(null, "", `#${now + 1}`);
  all[now].focus({ preventScroll: true });
}

const steps = {
  ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, Enter: 1,
  ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Backspace: -1,
  Home: -Infinity, End: Infinity,
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("button")) return;
  if (event.key === "f") document.documentElement.requestFullscreen?.();
  const step = event.key === " " && event.shiftKey ? -1 : steps[event.key];
  if (!step) return;
  event.preventDefault();
  show(now + step);
});
for (const button of document.querySelectorAll("nav button"))
  button.addEventListener("click", () => show(now + Number(button.dataset.step)));
addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1 || 0));
show(Number(location.hash.slice(1)) - 1 || 0);
