// search or popular items -> cards with a rating control -> POST recommend -> recommendations
//
// What the server sends becomes text of the page, by `append` and `textContent`, and never HTML.

const RECOMMENDED = 10;
const FOUND = 8;
const POPULAR = 8;
const PAUSE = 150; // milliseconds without a key, before a search
const REASONS = 2; // that are shown of each recommendation
const FEW = 10; // with fewer ratings of an item, their number is shown

const byId = (id) => document.getElementById(id);
const nameOf = (item) => item.title || item.item;
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

let about; // the answer of GET model
let noun, verb; // of what a person does here
let popular = []; // items, the most popular first
let chosen = []; // entries of the items under "Your ratings", the newest first
const entries = new Map(); // by item id, of all items that have a card

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A name that may run from right to left, amid a text that does not. */
const isolated = (name) => element("bdi", {}, name);

// The server.

async function ask(path, options) {
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch {
    throw new Error("The server does not answer: once it runs again, reload this page.");
  }

  let content;
  try {
    content = JSON.parse(text, keepId);
  } catch {
    throw new Error(`The server answers ${response.status}, without a reason.`);
  }
  if (!response.ok) throw new Error(content.error);
  return content;
}

/** An id is text here: numbers above 2^53 would lose digits. */
function keepId(key, value, context) {
  if (key !== "item") return value;
  if (typeof value === "number" && context) return context.source;
  return String(value);
}

/** `call(signal, ...)`; a later call aborts the signal of an earlier one, whose answer is stale. */
function latestOnly(call) {
  let controller = new AbortController();
  let last = ""; // problem

  return async (...given) => {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;

    let problem = "";
    try {
      await call(signal, ...given);
    } catch (error) {
      problem = error.message;
    }
    if (signal.aborted) return;
    if (problem || byId("error").textContent === last) showError(problem); // not another call's
    last = problem;
  };
}

function showError(text) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
}

// What rates an item: stars, a number or a button, as the scale asks for.

function control(entry) {
  const [low, high] = about.scale;
  if (about.kind === "ranking" || low === high) return likeButton(entry, high);
  if (high === 5 && (low === 1 || low === 0.5)) return stars(entry, low);
  return numberBox(entry, low, high);
}

function stars(entry, step) {
  const group = element("span", { className: step === 1 ? "stars" : "stars halves" });
  const name = `stars of ${entry.item}`;

  for (let value = step; value <= 5; value += step) {
    const label = value === 1 ? "1 star" : `${value} stars`;
    const star = element("input", { type: "radio", name, value, ariaLabel: label, title: label });
    star.checked = entry.value === value;
    star.onchange = () => rate(entry, value);
    group.append(star);
  }

  group.onkeydown = (event) => {
    const star = group.querySelector(`[value="${CSS.escape(event.key)}"]`);
    star?.focus();
    star?.click();
  };
  return group;
}

function numberBox(entry, low, high) {
  const unit = 10 ** digits();
  const min = Math.ceil(low * unit) / unit;
  const max = Math.floor(high * unit) / unit;

  const box = element("input", { type: "number", step: "any", min, max, value: entry.value ?? "" });
  box.placeholder = `${min} to ${max}`;
  box.ariaLabel = `Rating, ${min} to ${max}`;
  const typed = () => (box.value !== "" && box.validity.valid ? box.valueAsNumber : undefined);
  let timer;
  box.oninput = () => { // the card stays where it is: moved, it would lose the place in the number
    entry.value = typed();
    clearTimeout(timer);
    timer = setTimeout(recommend, PAUSE);
  };
  box.onchange = () => {
    clearTimeout(timer);
    rate(entry, typed());
    box.reportValidity();
  };
  return box;
}

function likeButton(entry, value) {
  const button = element("button", { type: "button" }, "I like it");
  button.ariaPressed = entry.value !== undefined;
  button.onclick = () => {
    rate(entry, entry.value === undefined ? value : undefined);
    button.ariaPressed = entry.value !== undefined;
  };
  return button;
}

/** How many decimals of a rating say something on this scale. */
function digits() {
  const [low, high] = about.scale;
  return Math.min(12, Math.max(1, -Math.floor(Math.log10((high - low) / 10))));
}

// Cards: of popular items, and above them of those that were chosen.

/** An item's `item` (its id) and `title`, its `value` once it is rated, and its `card`. */
function entryOf({ item, title, value }) {
  if (!entries.has(item)) {
    const entry = { item, title, value };
    entry.card = cardOf(entry);
    entries.set(item, entry);
  }
  return entries.get(item);
}

function cardOf(entry) {
  const legend = element("legend", {}, isolated(nameOf(entry)));
  const remove = element("button", { type: "button", className: "remove", title: "Remove" }, "×");
  remove.ariaLabel = "Remove";
  remove.onclick = () => forget(entry);
  return element("li", {}, element("fieldset", {}, legend, control(entry), remove));
}

function choose(entry) {
  if (chosen.includes(entry)) return;
  chosen.unshift(entry);

  const focused = document.activeElement;
  byId("rated").prepend(entry.card);
  if (entry.card.contains(focused)) focused.focus({ preventScroll: true });
  showPopular();
}

/** Choose an item that was found or recommended, for a rating; a like needs nothing more. */
function pick(item) {
  const entry = entryOf(item);
  choose(entry);

  const { card } = entry;
  const target = card.querySelector(":checked") ?? card.querySelector("input, button");
  target.focus();
  if (target.ariaPressed === "false") target.click();
}

function rate(entry, value) {
  entry.value = value;
  choose(entry);
  recommend();
}

function forget(entry) {
  entry.card.remove();
  entries.delete(entry.item);
  chosen = chosen.filter((other) => other !== entry);
  byId("rate-heading").focus();
  showPopular();
  recommend();
}

function showPopular() {
  const open = popular.map(entryOf).filter((entry) => !chosen.includes(entry));
  byId("popular").replaceChildren(...open.slice(0, POPULAR).map((entry) => entry.card));
  byId("begin").hidden = open.length === 0;
  byId("keys").hidden = !document.querySelector(".stars");
}

// Recommendations.

const recommend = latestOnly(async (signal) => {
  const all = new Set([...chosen, ...entries.values()]); // also one that is being typed
  const rated = [...all].filter((entry) => entry.value !== undefined);
  keep(rated);
  if (rated.length === 0) {
    showRecommendations([], `They appear here with your first ${noun}.`);
    return;
  }

  let given = Object.fromEntries(rated.map(({ item, value }) => [item, value]));
  if (about.kind === "ranking") given = rated.map(({ item }) => item);
  const body = JSON.stringify({ ratings: given, n: RECOMMENDED });
  const headers = { "Content-Type": "application/json" };

  try {
    const answer = await ask("recommend", { method: "POST", headers, body, signal });
    const found = answer.recommendations;
    const based = `Based on your ${count(rated.length, noun)}`;
    showRecommendations(found, found.length ? based : `${based}: nothing is left.`);
  } catch (error) {
    if (!signal.aborted) showRecommendations([], "");
    throw error;
  }
});

function showRecommendations(found, text) {
  const reasons = found.flatMap(({ because }) => because).map(({ item }) => item);
  const tellsApart = ({ item }) => reasons.filter((other) => other === item).length <= found.length / 2;

  const rows = found.map((item) => recommendation(item, item.because.filter(tellsApart)));
  byId("recommendations").replaceChildren(...rows);
  byId("status").textContent = text;
}

function recommendation(item, because) {
  const what = element("div", {}, isolated(nameOf(item)), reason(because.slice(0, REASONS)));
  const score = element("span", { className: "score" });
  if (about.kind === "rating") {
    score.append(item.score.toFixed(digits()), element("small", {}, "predicted"));
  }
  if (item.ratings < FEW) score.append(element("small", {}, `${count(item.ratings, noun)} in all`));

  const text = about.kind === "ranking" ? "I like it" : "Rate";
  const button = element("button", { type: "button" }, text);
  button.ariaLabel = `${text}: ${nameOf(item)}`;
  button.onclick = () => pick(item);
  return element("li", {}, what, score, button);
}

/** "because you rated A and B" */
function reason(because) {
  if (because.length === 0) return "";
  const parts = new Intl.ListFormat("en").formatToParts(because.map(nameOf));
  const texts = parts.map(({ type, value }) => (type === "element" ? isolated(value) : value));
  return element("p", {}, `because you ${verb} `, ...texts);
}

// Search: a combobox with a list of options, as in the ARIA Authoring Practices.

const searchBox = byId("search");
const options = byId("found").children;
let active = -1; // of the options
let timer;

const search = latestOnly(async (signal, text, takesFirst) => {
  let items = [];
  if (text) ({ items } = await ask(`items?search=${encodeURIComponent(text)}&n=${FOUND}`, { signal }));

  byId("found").replaceChildren(...items.map(option));
  byId("found").hidden = items.length === 0;
  byId("none-found").textContent = text && items.length === 0 ? "No item matches." : "";
  searchBox.ariaExpanded = items.length > 0;
  activate(-1);
  if (takesFirst) options[0]?.click();
});

function option(item, index) {
  const known = element("small", {}, count(item.ratings, about.kind === "ranking" ? "user" : "rating"));
  const made = element("li", { role: "option", id: `found-${index}` }, isolated(nameOf(item)), known);
  made.onmousedown = (event) => event.preventDefault(); // which would take the focus from the box
  made.onclick = () => {
    closeList();
    searchBox.value = "";
    pick(item);
  };
  return made;
}

function activate(index) {
  active = index;
  [...options].forEach((made, place) => (made.ariaSelected = place === active));
  options[active]?.scrollIntoView({ block: "nearest" });
  searchBox.setAttribute("aria-activedescendant", options[active]?.id ?? "");
}

function closeList() {
  clearTimeout(timer);
  search("");
}

/** Take the active option, or else the first for what is typed by now. */
function enter() {
  clearTimeout(timer);
  if (active >= 0) options[active].click();
  else search(searchBox.value.trim(), true);
}

searchBox.onblur = closeList;
searchBox.oninput = () => {
  clearTimeout(timer);
  timer = setTimeout(() => search(searchBox.value.trim()), PAUSE);
};
searchBox.onkeydown = (event) => {
  if (event.isComposing) return; // Enter ends a word of an input method
  const number = options.length;
  if (event.key === "Enter") enter();
  else if (event.key === "ArrowDown" && number) activate((active + 1) % number);
  else if (event.key === "ArrowUp" && number) activate(active <= 0 ? number - 1 : active - 1);
  else if (event.key === "Escape" && number) closeList();
  else return;
  event.preventDefault();
};

// The start. A reload keeps the ratings while the server has the same model.

function keep(rated) {
  const items = rated.map(({ item, title, value }) => ({ item, title, value }));
  try {
    sessionStorage.setItem(JSON.stringify(about), JSON.stringify(items));
  } catch {
    // a browser that stores nothing: a reload begins anew
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(JSON.stringify(about))) ?? [];
  } catch {
    return [];
  }
}

function showAbout() {
  [noun, verb] = about.kind === "ranking" ? ["like", "like"] : ["rating", "rated"];
  const { dataset, model } = about.result;

  document.title = `${dataset}: recommendations`;
  byId("data").textContent = dataset;
  byId("model").textContent = `Model ${model}, ${count(about.users, "user")}, ${count(about.items, "item")}.`;
  byId("rate-heading").textContent = `Your ${noun}s`;
  byId("popular-heading").textContent = about.kind === "ranking" ? "Pick a few that you like" : "Rate a few that you know";
}

const start = latestOnly(async (signal) => {
  about = await ask("model", { signal });
  showAbout();
  searchBox.disabled = false;
  searchBox.focus();

  for (const item of kept().reverse()) choose(entryOf(item));

  const { items } = await ask(`items?n=${POPULAR + 50}`, { signal }); // some of them may be rated
  popular = items;
  showPopular();
  recommend();
});

start();
