// Sorts the tables, and shows the answers a page at a time. Texts enter the page as text nodes only.

for (const heading of document.querySelectorAll("th.sort")) {
  const button = make("button", { type: "button" }, ...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => sortBy(heading));
}

function sortBy(heading) {
  const body = heading.closest("table").tBodies[0];
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.cells[heading.cellIndex].dataset.value;
  const order = (a, b) => (isNaN(a) || isNaN(b) ? String(a).localeCompare(b) : a - b);
  const rows = [...body.rows].filter((row) => key(row) !== "");
  const without = [...body.rows].filter((row) => key(row) === "");
  rows.sort((a, b) => (down ? -1 : 1) * order(key(a), key(b)));
  body.append(...rows, ...without);
}

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const at = (id) => document.getElementById(id);
const packed = [...document.querySelectorAll("script.block")];
const unpacked = new Map();
let index, candidates = [], page = 0, asked = 0;

// A block of items; those read last are kept unpacked.
async function block(number) {
  const kept = unpacked.get(number) ?? unpack(packed[number].textContent);
  unpacked.delete(number);
  unpacked.set(number, kept);
  if (unpacked.size > 50) unpacked.delete(unpacked.keys().next().value);
  return kept;
}

async function itemOf(task, item) {
  return (await block(task.first + Math.floor(item / index.size)))[item % index.size];
}

function view(task) {
  const model = at("model").value;
  // A strategy that answers nothing of a task is not asked there, or not yet.
  const columns = [...index.columns.keys()].filter((column) =>
    (model === "" || index.columns[column][0] === index.models[model]) && at(`column-${column}`).checked &&
    task.texts[column].some((text) => text !== null));
  return { columns, filter: at("filter").value, a: +at("lower").value, b: +at("higher").value };
}

// Choose the items anew; a choice that is overtaken by another gives up.
async function choose() {
  const mine = ++asked;
  const task = index.tasks[at("task").value];
  const seen = view(task);
  at("pair").hidden = seen.filter !== "lower";
  const wanted = at("search").value.trim().toLowerCase();
  let found = chosen(task, seen);
  if (wanted !== "") {
    const holding = [];
    for (const [done, item] of found.entries()) {
      if (holds(task.ids[item], await itemOf(task, item), seen.columns, wanted)) holding.push(item);
      if (mine !== asked) return;
      if (done % 200 === 0) at("status").textContent = `searching: ${done} of ${found.length} items`;
    }
    found = holding;
  }
  candidates = found;
  page = 0;
  await show();
}

async function show() {
  const mine = asked;
  const task = index.tasks[at("task").value];
  const seen = view(task);
  const items = candidates.slice(page * index.size, (page + 1) * index.size);
  const loaded = await Promise.all(items.map((item) => itemOf(task, item)));
  if (mine !== asked) return;
  const pages = Math.max(1, Math.ceil(candidates.length / index.size));
  at("status").textContent = `${candidates.length} of ${task.ids.length} items, page ${page + 1} of ${pages}`;
  at("previous").disabled = page === 0;
  at("next").disabled = page + 1 >= pages;
  at("items").replaceChildren(...loaded.map((item, i) => article(task.ids[items[i]], item, seen.columns)));
}

function article(id, [prompt, reference, cells], columns) {
  const texts = columns.flatMap((column) => cells[column].map(([, , , , text]) => text));
  const common = shared(texts);
  const cards = columns.map((column) => {
    const [model, strategy] = index.columns[column];
    const samples = cells[column].flatMap((answer) => sample(answer, common));
    const name = make("header", {}, make("code", {}, printable(strategy)));
    if (at("model").value === "") name.append(make("span", { class: "faint" }, printable(model)));
    return make("div", { class: "card" }, name, ...(samples.length ? samples : [numbers("no answer yet")]));
  });
  const first = printable(prompt.trim().split("\n").pop().slice(0, 120));
  return make("article", {},
    make("h3", {}, `Item ${printable(id)}`),
    make("details", {}, make("summary", { class: "faint" }, `Prompt: … ${first}`), make("pre", {}, printable(prompt, "\n\t"))),
    reference === null ? "" : make("p", {}, "Right answer: ", make("code", {}, printable(reference, "\n\t"))),
    make("div", { class: "row", tabindex: "0", role: "group", "aria-label": "answers side by side" }, ...cards));
}

// What was read from a text, in brief, or why nothing was.
function found(read, text, lacks) {
  if (read === null) return [lacks === null ? "no answer read" : `no answer: ${printable(lacks)}`];
  if (read.trim() === text.trim()) return ["answer: the whole text"];
  if (read.length <= 60) return ["answer ", make("code", {}, printable(read))];
  const whole = make("code", {}, printable(read, "\n\t"));
  return ["answer ", make("details", {}, make("summary", {}, printable(`${read.slice(0, 59)}…`)), whole)];
}

const numbers = (...children) => make("div", { class: "numbers" }, ...children);

function sample([score, read, tokens, reason, text, lacks], common) {
  const how = score === null ? "" : score === 1 ? "right" : score === 0 ? "wrong" : "part";
  const same = text.slice(0, common);
  return [
    numbers(make("b", { class: how }, score === null ? "not scored" : `score ${Math.round(score * 1000) / 1000}`), " · ",
      ...found(read, text, lacks),
      ` · ${tokens} tokens · `, make("span", { class: reason === "length" ? "wrong" : "" }, printable(reason))),
    make("div", { class: "text" }, same === "" ? "" : make("span", { class: "faint" }, printable(same, "\n\t")),
      printable(text.slice(common), "\n\t") || (same === "" ? "(no text)" : "")),
  ];
}

function options(select, names, values = names.map((_, i) => i)) {
  select.replaceChildren(...names.map((name, i) => make("option", { value: values[i] }, printable(name))));
}

// Offer the strategies of the model that is chosen to be compared.
function choosePair() {
  const model = at("model").value;
  const columns = [...index.columns.keys()].filter((column) => model === "" || index.columns[column][0] === index.models[model]);
  const names = columns.map((column) => index.columns[column].slice(model === "" ? 0 : 1).reverse().join(", "));
  options(at("lower"), names, columns);
  options(at("higher"), names, columns);
  at("higher").value = columns[Math.min(1, columns.length - 1)];
}

async function begin() {
  index = await unpack(at("index").textContent);
  index.models = [...new Set(index.columns.map(([model]) => model))];
  options(at("task"), index.tasks.map((task) => task.name));
  options(at("model"), index.models);
  if (index.models.length > 1) at("model").append(make("option", { value: "" }, "all models, side by side"));
  const names = index.columns.map(([model, strategy]) => (index.models.length > 1 ? `${strategy}, ${model}` : strategy));
  for (const [column, name] of names.entries()) {
    const box = make("input", { type: "checkbox", id: `column-${column}`, checked: "" });
    at("columns").append(make("label", {}, box, " ", printable(name)));
  }
  choosePair();
  at("model").addEventListener("change", choosePair);
  for (const control of at("controls").querySelectorAll("select, input[type=checkbox]")) control.addEventListener("change", choose);
  let later;
  at("search").addEventListener("input", () => {
    clearTimeout(later);
    later = setTimeout(choose, 250);
  });
  at("previous").addEventListener("click", () => { page--; show(); });
  at("next").addEventListener("click", () => { page++; show(); });
  for (const link of document.querySelectorAll("a.read")) {
    link.addEventListener("click", () => {
      at("task").value = link.dataset.task;
      at("model").value = link.dataset.model;
      choosePair();
      choose();
    });
  }
  at("controls").hidden = false;
  await choose();
}

if (at("index") !== null) {
  begin().catch((fault) => { at("status").textContent = `The answers cannot be shown in this browser (${fault.message}).`; });
}
