"use strict";
// Everything is there without this; with it, the promises can be searched and filtered.
const form = document.getElementById("filter");
const find = document.getElementById("find");
const worth = new Map(Array.from(document.querySelectorAll(".worth"), (p) => [p.dataset.value, p.dataset]));
const modules = Array.from(document.querySelectorAll(".module"), (module) => ({
  module,
  opened: module.open,
  domain: module.closest(".domain"),
  head: `${module.querySelector("summary").textContent} ${module.querySelector(".where")?.textContent ?? ""}`,
  tests: Array.from(module.querySelectorAll(".tests > li")),
}));
const all = modules.reduce((sum, { tests }) => sum + tests.length, 0);
for (const one of modules) {
  one.texts = one.tests.map((test) => `${one.head} ${test.textContent}`.toLowerCase());
}

function filter() {
  const chosen = new FormData(form);
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const outcomes = new Set(chosen.getAll("outcome"));
  const { domain, tier, goal } = Object.fromEntries(chosen);
  const whole = form.querySelectorAll("[name=outcome]:not(:checked)").length === 0;
  const active = words.length > 0 || !whole || Boolean(domain || tier || goal);
  const shows = (test, text) => {
    const value = worth.get(test.dataset.v);
    return outcomes.has(test.className)
      && words.every((word) => text.includes(word))
      && (!tier || (value && Number(value.tier) <= Number(tier)))
      && (!goal || (value && value.goals.split("|").includes(goal)));
  };
  let shown = 0;
  const domains = new Map();
  for (const one of modules) {
    let here = 0;
    one.tests.forEach((test, at) => {
      test.hidden = (domain && one.domain.dataset.domain !== domain) || !shows(test, one.texts[at]);
      here += !test.hidden;
    });
    one.module.hidden = here === 0;
    one.module.open = active ? here > 0 : one.opened;
    domains.set(one.domain, (domains.get(one.domain) ?? 0) + here);
    shown += here;
  }
  for (const [section, number] of domains) section.hidden = number === 0;
  document.getElementById("none").hidden = shown > 0 || all === 0;
  form.querySelector("output").textContent = `${shown.toLocaleString("en")} of ${all.toLocaleString("en")} tests`;
}

form.hidden = false;
for (const hidden of document.querySelectorAll("nav .search")) hidden.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("keydown", (event) => {
  if (event.key === "Escape") form.reset();
});
filter();

let closed = [];
addEventListener("beforeprint", () => {
  closed = Array.from(document.querySelectorAll("details:not([open])"));
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});
