// The page: shows pictures, takes key presses. Everything that comes from uploads is set as text, never as HTML.

import { Outbox } from "./outbox.js";

const AHEAD = 6; // pictures that are loaded before they are shown
const $ = (id) => document.getElementById(id);
const pageSize = Number(document.body.dataset.page);
const buttons = [...$("labels").children];
const labels = buttons.map((button) => button.dataset.label);
const channel = new BroadcastChannel("answers");

let items = []; // of the queue, as far as loaded
let position = 0; // of the picture on the page
let opened = "";
let after = 0;
let total = 0;
let isLoading = null;
let isGrid = false;
let isWhy = false; // whether the picture is shaded where nothing speaks for its label
let answered = new Map(); // item id -> label, given in this page
const images = new Map(); // item id -> Image
const history = JSON.parse(sessionStorage.getItem("history") ?? "[]"); // of this tab: {key, item, at}

const outbox = new Outbox((count, problem, reply) => {
  if (problem !== undefined) {
    $("problem").hidden = !problem;
    $("problem").textContent = problem;
  }
  if (reply?.figures !== undefined) $("figures").textContent = reply.figures;
  document.body.dataset.pending = count;
  showStatus();
});

// ---- queues ----------------------------------------------------------------------------------------------

async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error((await response.text()) || `the server answers ${response.status}`);
  return response.json();
}

async function open() {
  sessionStorage.setItem("choice", JSON.stringify([$("queue").value, $("day")?.value ?? ""]));
  const query = new URLSearchParams({ name: $("queue").value, day: $("day")?.value ?? "" });
  document.body.dataset.ready = "";
  const waiting = outbox.answered(); // before the queue is asked for
  try {
    const queue = await get(`api/queue?${query}`);
    ({ opened, after, total } = queue);
    items = queue.items.filter((item) => !waiting.has(item.id));
    position = 0;
    answered = new Map();
    $("figures").textContent = queue.figures;
    show();
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
  document.body.dataset.ready = "yes";
}

/** Load more of the queue, if the end of what is loaded is near. */
function load() {
  const near = isGrid ? 2 * pageSize : 2 * AHEAD;
  if (isLoading || after >= total || items.length - position > near) return isLoading;
  const of = opened;
  isLoading = get(`api/more?${new URLSearchParams({ opened, after })}`)
    .then((more) => {
      if (of !== opened) return;
      after = more.after;
      const known = new Set(items.map((item) => item.id));
      items.push(...more.items.filter((item) => !known.has(item.id) && !answered.has(item.id)));
    })
    .catch((error) => {
      $("problem").textContent = error.message;
      $("problem").hidden = false;
    })
    .finally(() => {
      isLoading = null;
      if (items.length <= position || isGrid) show();
      else preload();
    });
  return isLoading;
}

function image(item) {
  if (!images.has(item.id)) {
    const loading = new Image();
    loading.src = `api/picture?${new URLSearchParams({ id: item.id })}`;
    images.set(item.id, loading);
  }
  return images.get(item.id);
}

function preload() {
  for (const item of items.slice(position, position + AHEAD)) image(item).decode?.().catch(() => {});
  if (images.size > 200) for (const id of [...images.keys()].slice(0, 100)) images.delete(id);
  load();
}

// ---- what is shown ---------------------------------------------------------------------------------------

function showStatus() {
  const pending = Number(document.body.dataset.pending ?? 0);
  const isLooking = !items[position] && after < total;
  const left = isLooking ? `Looking: ${after} of ${total}` : total ? `${answered.size} answered, about ${Math.max(total - answered.size, 0)} to go` : "";
  $("status").textContent = [left, pending ? `${pending} being saved` : ""].filter(Boolean).join(" · ");
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

function show() {
  const item = items[position];
  $("single").hidden = isGrid || !item;
  $("tiles").hidden = !isGrid || !item;
  $("empty").hidden = Boolean(item) || after < total;
  $("grid").setAttribute("aria-pressed", String(isGrid));
  showStatus();
  if (!item) {
    load();
    return;
  }
  if (isGrid) showTiles();
  else showSingle(item);
  preload();
}

function showSingle(item) {
  const ready = image(item);
  const shown = $("picture");
  ready.id = "picture";
  ready.alt = "";
  ready.hidden = false;
  $("unreadable").hidden = true;
  if (ready !== shown) {
    shown.removeAttribute("id");
    shown.replaceWith(ready);
  }
  ready.onerror = () => {
    ready.hidden = true;
    $("unreadable").hidden = false;
    $("unreadable").textContent = "This picture cannot be shown.";
  };
  if (ready.complete && !ready.naturalWidth) ready.onerror();
  document.body.dataset.shown = item.id;
  $("name").textContent = item.name;
  const given = answered.get(item.id) ?? item.human_label;
  const said = item.confidence === null ? item.status : `${item.status}: ${item.label} ${percent(item.confidence)}`;
  $("said").textContent = given ? `${said} – you say ${given}` : said;
  $("scores").tBodies[0].replaceChildren(
    ...item.scores.map(([label, score]) => {
      const row = element("tr");
      const bar = element("meter");
      bar.value = score;
      bar.setAttribute("aria-hidden", "true");
      const cell = element("td");
      cell.append(bar);
      row.append(element("th", label), cell, element("td", percent(score)));
      return row;
    }),
  );
  $("details").replaceChildren(
    ...item.details.flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
  $("nearest").replaceChildren(...item.nearest.map(([path, caption]) => trainingPicture(path, caption)));
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.label === given));
  showWhy(item);
}

function trainingPicture(path, caption) {
  const figure = element("figure");
  const small = element("img");
  small.alt = "";
  small.src = `api/training?${new URLSearchParams({ path })}`;
  small.onerror = () => figure.remove();
  figure.append(small, element("figcaption", caption));
  return figure;
}

function showWhy(item) {
  $("moves").querySelector("[data-move=why]").setAttribute("aria-pressed", String(isWhy));
  const shade = $("why");
  shade.hidden = true;
  $("because").textContent = "";
  if (!isWhy || !item.label) return;
  const of = `api/why?${new URLSearchParams({ id: item.id, label: item.label })}`;
  const isShown = () => isWhy && items[position] === item;
  shade.onload = () => {
    if (!isShown()) return;
    shade.hidden = false;
    shade.alt = `Shade over all that does not speak for ${item.label}`;
    $("because").textContent = `Bright: what speaks for ${item.label}, says ${document.body.dataset.model}.`;
  };
  shade.onerror = async () => {
    const answer = await fetch(of).catch(() => undefined);
    if (isShown()) $("because").textContent = (await answer?.text()) || "The server does not answer.";
  };
  shade.src = of;
}

function showTiles() {
  const page = items.slice(position, position + pageSize);
  $("tiles").querySelector("ul").replaceChildren(
    ...page.map((item) => {
      const tile = element("li");
      const button = element("button");
      const small = image(item).cloneNode();
      small.removeAttribute("id");
      small.hidden = false;
      small.alt = "";
      button.type = "button";
      button.dataset.id = item.id;
      button.setAttribute("aria-pressed", "false");
      button.append(small, element("b", item.label ?? item.status), element("code", item.name));
      button.addEventListener("click", () => {
        const isWrong = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(isWrong));
      });
      tile.append(button);
      return tile;
    }),
  );
}

// ---- what people do --------------------------------------------------------------------------------------

function give(item, label) {
  const key = outbox.add({ id: item.id, label, queue: $("queue").value, opened });
  answered.set(item.id, label);
  history.push({ key, item });
  sessionStorage.setItem("history", JSON.stringify(history.slice(-100)));
  channel.postMessage(item.id);
}

function answer(label) {
  const item = items[position];
  if (!item || isGrid) return;
  give(item, label);
  position += 1;
  show();
}

function undo() {
  const last = history.pop();
  if (!last) return;
  sessionStorage.setItem("history", JSON.stringify(history));
  outbox.undo(last.key, opened);
  answered.delete(last.item.id);
  const index = items.findIndex((item) => item.id === last.item.id);
  if (index < 0) items.splice(position, 0, last.item);
  else position = isGrid ? position : index;
  show();
}

function move(step) {
  position = Math.min(Math.max(position + (isGrid ? step * pageSize : step), 0), items.length);
  show();
}

function confirmPage() {
  const page = items.slice(position, position + pageSize);
  const wrong = new Set([...$("tiles").querySelectorAll("[aria-pressed=true]")].map((button) => button.dataset.id));
  for (const item of page) if (!wrong.has(item.id) && item.label) give(item, item.label);
  // Those marked stay in front, for a closer look.
  items = [...items.slice(0, position), ...items.slice(position).filter((item) => !answered.has(item.id))];
  if (wrong.size) isGrid = false;
  show();
}

function toggleGrid() {
  isGrid = !isGrid;
  show();
}

function filterLabels() {
  const text = $("filter").value.trim().toLowerCase();
  const matches = buttons.filter((button) => button.dataset.label.toLowerCase().includes(text));
  for (const button of buttons) {
    button.hidden = !matches.includes(button);
    button.classList.toggle("first", button === matches[0] && Boolean(text));
  }
  return text ? matches[0] : undefined;
}

function leaveFilter() {
  $("filter").value = "";
  filterLabels();
  $("filter").blur();
}

function toggleWhy() {
  if (!items[position] || isGrid) return;
  isWhy = !isWhy;
  showWhy(items[position]);
}

const MOVES = { skip: () => move(1), undo, back: () => move(-1), why: toggleWhy };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const { target, key } = event;
  if (target === $("filter")) {
    if (key === "Escape") leaveFilter();
    else if (key === "Enter") {
      const first = filterLabels();
      leaveFilter();
      if (first) answer(first.dataset.label);
    } else return;
    event.preventDefault();
    return;
  }
  if (target instanceof HTMLSelectElement) return;
  const number = /^[1-9]$/.test(key) ? Number(key) : 0;
  if (number && number < labels.length) answer(labels[number - 1]);
  else if (key === "o") answer(labels.at(-1));
  else if (key === "s" || key === "ArrowRight") move(1);
  else if (key === "ArrowLeft") move(-1);
  else if (key === "u") undo();
  else if (key === "g") toggleGrid();
  else if (key === "w") toggleWhy();
  else if (key === "Enter" && isGrid && !(target instanceof HTMLButtonElement && target.dataset.id)) confirmPage();
  else if (key === "/" && !$("filter").hidden) $("filter").focus();
  else return;
  event.preventDefault();
});

for (const button of buttons) button.addEventListener("click", () => answer(button.dataset.label));
for (const button of $("moves").children) button.addEventListener("click", () => MOVES[button.dataset.move]());
$("filter").addEventListener("input", filterLabels);
$("grid").addEventListener("click", toggleGrid);
$("confirm").addEventListener("click", confirmPage);
$("choice").addEventListener("submit", (event) => event.preventDefault());
for (const select of [$("queue"), $("day")]) {
  select?.addEventListener("change", () => {
    select.blur();
    open();
  });
}
// Another tab has answered: the picture needs no second look here.
channel.onmessage = ({ data }) => {
  const index = items.findIndex((item) => item.id === data);
  if (index < position) return;
  items.splice(index, 1);
  show();
};

$("filter").hidden = labels.length <= 10;
const choice = JSON.parse(sessionStorage.getItem("choice") ?? "null");
if (choice) {
  $("queue").value = choice[0];
  if ($("day")) $("day").value = choice[1];
  if ($("queue").selectedIndex < 0) $("queue").selectedIndex = 0;
}
outbox.send();
open();
