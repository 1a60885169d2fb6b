"use strict";

const $ = (selector, inside = document) => inside.querySelector(selector);
const $$ = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const words = JSON.parse($("#words").textContent);
const searched = $("#words").dataset.searched; // the language of queries and labels
const page = 24;

// What is remembered: language for good, the key until the browser is closed. Both may be forbidden.
const remember = (store, name, value) => { try { store.setItem(name, value); } catch { /* then not */ } };
const recall = (store, name) => { try { return store.getItem(name); } catch { return null; } };
const spoken = [searched, "en"].filter((code) => code in words); // the service's own first
let language = spoken.includes(recall(localStorage, "language")) ? recall(localStorage, "language") : spoken[0];
let key = recall(sessionStorage, "key");

// ---- words

function say(name, values = {}) {
  return words[language][name].replace(/\{(\w+)\}/g, (_, value) => values[value]);
}

const redraw = new Map(); // what was said last in each panel, to say it again in the other language

function speak() {
  document.documentElement.lang = language;
  for (const element of $$("[data-word]")) element.textContent = say(element.dataset.word);
  for (const element of $$("[data-hint]")) element.placeholder = say(element.dataset.hint);
  for (const draw of redraw.values()) draw();
}

$("#language").addEventListener("click", () => {
  language = spoken.find((code) => code !== language) ?? language;
  remember(localStorage, "language", language);
  speak();
});

const number = (value, digits = 0) =>
  value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- the API

class Refused extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

async function call(path, options = {}) {
  const headers = key ? { ...options.headers, "X-API-Key": key } : options.headers;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused(0, "");
  }
  if (answer.ok) return answer;
  if (answer.status === 401 && await askKey()) return call(path, options);
  const told = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, told.error ?? "");
}

let asking = null; // several answers may be refused at once, one question is enough

function askKey() {
  asking ??= new Promise((done) => {
    const dialog = $("#ask-key");
    $("#key").value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      asking = null;
      const given = $("#key").value.trim();
      if (given) { key = given; remember(sessionStorage, "key", key); }
      done(Boolean(given));
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}
$("#ask-key").addEventListener("cancel", () => { $("#key").value = ""; });

// Where a picture of the index is. Like all addresses here it starts at the page's own: a proxy may put a prefix before.
const address = (hit, size) => `v1/pictures/${hit.row}?size=${size}`;

// A picture of the index; with a key it cannot be an address alone.
async function show(image, address) {
  if (!key) { image.src = address; return; }
  const blob = await (await call(address)).blob();
  image.src = URL.createObjectURL(blob);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
}

// ---- panels

function tell(panel, lines) {
  const status = $(".status", panel);
  redraw.set(status, () => { status.textContent = lines().join(" · "); });
  redraw.get(status)();
}

function complain(panel, name, detail = "") {
  const alert = $(".error", panel);
  redraw.set(alert, () => {
    alert.replaceChildren(say(name in words[language] ? name : "error"));
    if (detail) alert.append(element("small", { textContent: detail, lang: "en" }));
    alert.hidden = false;
  });
  redraw.get(alert)();
}

const running = new Map();

// Runs one question of a panel; a newer one makes an older answer worthless.
async function ask(panel, work) {
  const mine = Symbol();
  running.set(panel, mine);
  const alert = $(".error", panel);
  redraw.delete(alert);
  alert.hidden = true;
  const wait = setTimeout(() => tell(panel, () => [say("working")]), 150);
  try {
    const draw = await work();
    clearTimeout(wait);
    if (running.get(panel) === mine) draw();
  } catch (error) {
    clearTimeout(wait);
    if (running.get(panel) !== mine) return;
    tell(panel, () => []);
    if (error instanceof Refused) complain(panel, `error_${error.status}`, error.message);
    else { complain(panel, "error"); console.error(error); }
  }
}

const timing = (answer) => [say("took", { ms: number(answer.milliseconds) }), say("answered", { model: answer.model })];

// ---- tabs: arrows move between them, the address remembers which one

const tabs = $$("[role=tab]");

function open(id, focus = false) {
  const chosen = tabs.find((tab) => tab.getAttribute("aria-controls") === id) ?? tabs[0];
  for (const tab of tabs) {
    const is = tab === chosen;
    tab.setAttribute("aria-selected", is);
    tab.tabIndex = is ? 0 : -1;
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !is;
  }
  if (focus) chosen.focus();
  if (chosen.id === "tab-model") drawModel();
}

for (const [at, tab] of tabs.entries()) {
  const go = (to, focus) => {
    const id = tabs[(to + tabs.length) % tabs.length].getAttribute("aria-controls");
    history.replaceState(null, "", `#${id}`);
    open(id, focus);
  };
  tab.addEventListener("click", () => go(at, false));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to !== undefined) { event.preventDefault(); go(to, true); }
  });
}
addEventListener("hashchange", () => open(location.hash.slice(1)));

// ---- uploads

function upload(id) {
  const zone = $(`#${id}`), input = $("input", zone), figure = $("figure", zone), image = $("img", zone);
  const changed = () => {
    const file = input.files[0];
    if (image.src) URL.revokeObjectURL(image.src);
    figure.hidden = !file;
    if (file) { image.src = URL.createObjectURL(file); image.alt = file.name; } else image.removeAttribute("src");
  };
  const put = (file) => {
    const transfer = new DataTransfer();
    if (file) transfer.items.add(file);
    input.files = transfer.files;
    changed();
  };
  input.addEventListener("change", changed);
  $("button", zone).addEventListener("click", () => { put(null); input.focus(); });
  for (const kind of ["dragenter", "dragover"]) {
    zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  }
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) put(event.dataTransfer.files[0]);
  });
  return { get file() { return input.files[0]; }, put };
}

// ---- search

const search = $("#search"), like = upload("like");
let asked = null; // what the pictures shown belong to: parameters and picture

function searchAgain() {
  const form = new FormData($("form", search));
  const parameters = new URLSearchParams({ k: page });
  for (const name of ["text", "not", "folder", "since", "until"]) {
    const value = (form.get(name) ?? "").trim();
    if (value) parameters.set(name, value);
  }
  if (!parameters.has("text") && !like.file) { complain(search, "need_query"); return; }
  asked = { parameters, file: like.file, shown: 0 };
  return fetchHits();
}

function fetchHits() {
  const mine = asked;
  return ask(search, async () => {
    mine.parameters.set("skip", mine.shown);
    const body = new FormData();
    if (mine.file) body.append("picture", mine.file);
    const options = mine.file ? { method: "POST", body } : {};
    const answer = await (await call(`v1/search?${mine.parameters}`, options)).json();
    return () => drawHits(mine, answer);
  });
}

function drawHits(mine, answer) {
  const list = $(".hits", search), empty = $(".empty", search);
  if (!mine.shown) list.replaceChildren();
  list.append(...answer.hits.map(drawHit));
  mine.shown += answer.hits.length;
  $("#more").hidden = answer.hits.length < page;
  empty.hidden = mine.shown > 0;
  empty.dataset.word = "none";
  empty.textContent = say("none");
  tell(search, () => [say("found", { count: number(mine.shown), total: number(answer.pictures) }), ...timing(answer)]);
}

function drawHit(hit) {
  const image = element("img", { alt: "", loading: "lazy" });
  const notes = element("span", { className: "about" });
  const gone = () => image.replaceWith(element("span", { className: "gone", textContent: say("gone") }));
  image.addEventListener("error", gone, { once: true });
  show(image, address(hit, "small")).catch(gone);
  const draw = () => {
    const lines = [say("score", { score: number(hit.score, 3) })];
    if (hit.probability !== null) lines.push(say("probability", { percent: number(100 * hit.probability) }));
    if (hit.copies.length) lines.push(say("copies", { count: hit.copies.length }));
    notes.replaceChildren(element("b", { textContent: hit.id }), lines.join(" · "));
  };
  draw();
  redraw.set(notes, draw);
  const button = element("button", { type: "button" }, image, notes);
  button.addEventListener("click", () => view(hit));
  return element("li", {}, button);
}

$("form", search).addEventListener("submit", (event) => { event.preventDefault(); searchAgain(); });
$("#more").addEventListener("click", fetchHits);
for (const chip of $$(".chip")) {
  chip.addEventListener("click", () => { $("#query").value = chip.textContent; like.put(null); searchAgain(); });
}

// ---- one picture, large

const viewer = $("#viewer");
let viewed = null;

function view(hit) {
  viewed = hit;
  const image = $("img", viewer);
  image.removeAttribute("src");
  image.alt = hit.id;
  $("#viewer-name").textContent = hit.id;
  show(image, address(hit, "large")).catch(() => viewer.close());
  viewer.showModal();
}

$("#close").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
$("#similar").addEventListener("click", () => {
  viewer.close();
  ask(search, async () => {
    const blob = await (await call(address(viewed, "large"))).blob();
    return () => {
      like.put(new File([blob], "picture.jpg", { type: "image/jpeg" }));
      $("#query").value = "";
      $("details", search).open = true;
      searchAgain();
    };
  });
});

// ---- classify

const classify = $("#classify"), classified = upload("classify-picture");

$("form", classify).addEventListener("submit", (event) => {
  event.preventDefault();
  const form = $("form", classify), labels = form.labels.value.split(/[,\n]/).filter((label) => label.trim());
  if (!classified.file) return complain(classify, "need_picture");
  if (labels.length < (form.each.checked ? 1 : 2)) return complain(classify, "need_labels");
  ask(classify, async () => {
    const body = new FormData();
    body.append("picture", classified.file);
    body.append("labels", form.labels.value);
    body.append("each", form.each.checked);
    const answer = await (await call("v1/classify", { method: "POST", body })).json();
    return () => drawLabels(answer);
  });
});

function drawLabels(answer) {
  const table = $(".labels", classify);
  const draw = () => $("tbody", table).replaceChildren(...answer.labels.map(({ label, probability }) => element("tr", {},
    element("th", { scope: "row", textContent: label, lang: searched }),
    element("td", { className: "bar" }, element("progress", { value: probability, max: 1, ariaLabel: label })),
    element("td", { textContent: `${number(100 * probability, 1)} %` }))));
  draw();
  redraw.set(table, draw);
  table.hidden = false;
  tell(classify, () => timing(answer));
}

// ---- locate

const locate = $("#locate"), located = upload("locate-picture");

$("form", locate).addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("#where").value.trim();
  if (!located.file) return complain(locate, "need_picture");
  if (!text) return complain(locate, "need_where");
  ask(locate, async () => {
    const body = new FormData();
    body.append("picture", located.file);
    body.append("text", text);
    const answer = await (await call("v1/locate", { method: "POST", body })).json();
    return () => drawPlace(answer, text);
  });
});

function drawPlace(answer, text) {
  const figure = $(".overlay", locate), { left, top, right, bottom } = answer.box;
  Object.assign($("img", figure), { src: answer.overlay, alt: text });
  Object.assign($(".box", figure).style, {
    left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
  });
  const percent = Object.fromEntries(Object.entries(answer.box).map(([side, at]) => [side, Math.round(100 * at)]));
  const draw = () => { $("figcaption", figure).textContent = say("box", percent); };
  draw();
  redraw.set(figure, draw);
  figure.hidden = false;
  tell(locate, () => [say("calls", { count: number(answer.encoded, Number.isInteger(answer.encoded) ? 0 : 1) }), ...timing(answer)]);
}

// ---- model

const model = $("#model");

function drawModel() {
  ask(model, async () => {
    const facts = await (await call("v1/model")).json();
    return () => {
      const list = $("dl", model);
      const told = (value) => {
        if (typeof value === "boolean") return say(value ? "yes" : "no");
        return typeof value === "number" ? number(value) : value;
      };
      const draw = () => list.replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [
        element("dt", { textContent: say(`fact_${name}`) }), element("dd", { textContent: told(value) })]));
      draw();
      redraw.set(list, draw);
      tell(model, () => []);
    };
  });
}

speak();
open(location.hash.slice(1) || "search");
