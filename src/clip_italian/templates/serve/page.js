"use strict";

const $ = (selector, inside = document) => inside.querySelector(selector);
const $$ = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const words = JSON.parse($("#words").textContent);
const searched = $("#words").dataset.searched; // the language of queries and labels

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
  for (const element of $$("[data-label]")) element.ariaLabel = say(element.dataset.label);
  for (const draw of redraw.values()) draw();
}

$("#language").addEventListener("click", () => {
  language = spoken.find((code) => code !== language) ?? language;
  remember(localStorage, "language", language);
  speak();
});

// How the reader writes numbers and dates: as the browser is set, where that is the language of the page.
const locale = () => navigator.languages.find((one) => one.split("-")[0] === language) ?? language;

const number = (value, digits = 0) =>
  value.toLocaleString(locale(), { minimumFractionDigits: digits, maximumFractionDigits: digits });

// A day or moment of the API, which has no zone: it is that of the place.
const day = (moment, dateStyle = "medium", timeStyle = undefined) =>
  new Intl.DateTimeFormat(locale(), { dateStyle, timeStyle, timeZone: "UTC" })
    .format(new Date(moment.includes("T") ? `${moment}Z` : moment));

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
const address = (row, size) => `v1/pictures/${row}?size=${size}`;

// A picture of the index; with a key it cannot be an address alone.
async function show(image, address) {
  if (key) showFile(image, await (await call(address)).blob());
  else image.src = address;
}

// A picture that was uploaded, or fetched.
function showFile(image, file) {
  const source = URL.createObjectURL(file);
  image.addEventListener("load", () => URL.revokeObjectURL(source), { once: true });
  image.src = source;
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
  const wait = setTimeout(() => { if (running.get(panel) === mine) tell(panel, () => [say("working")]); }, 150);
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

// ---- tabs: arrows move between them, the address remembers which one, and after a "?" what was searched for

const tabs = $$("[role=tab]");
const chosen = () => location.hash.slice(1).split("?")[0];

function open(id, focus = false) {
  const opened = tabs.find((tab) => tab.getAttribute("aria-controls") === id) ?? tabs[0];
  for (const tab of tabs) {
    const is = tab === opened;
    tab.setAttribute("aria-selected", is);
    tab.tabIndex = is ? 0 : -1;
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !is;
  }
  if (focus) opened.focus();
  if (opened.id === "tab-model") drawModel();
}

for (const [at, tab] of tabs.entries()) {
  const go = (to, focus) => {
    const tab = tabs[(to + tabs.length) % tabs.length], id = tab.getAttribute("aria-controls");
    const leaves = location.hash.startsWith("#search?") && id !== "search"; // "back" leads to the search again
    history[leaves ? "pushState" : "replaceState"](history.state, "", `#${tab.dataset.address ?? id}`);
    open(id, focus);
  };
  tab.addEventListener("click", () => go(at, false));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to !== undefined) { event.preventDefault(); go(to, true); }
  });
}
addEventListener("hashchange", () => open(chosen()));

// ---- uploads

function upload(id) {
  const zone = $(`#${id}`), input = $("input", zone), figure = $("figure", zone), image = $("img", zone);
  let row = null; // a picture of the index, instead of a file
  const changed = () => {
    const file = input.files[0];
    if (file) row = null;
    figure.hidden = !file && !row;
    if (file) { showFile(image, file); image.alt = file.name; }
    else if (row) { show(image, address(row, "small")).catch(() => {}); image.alt = say("picture"); }
    else image.removeAttribute("src");
  };
  const put = (file, given = null) => {
    const transfer = new DataTransfer();
    if (file) transfer.items.add(file);
    input.files = transfer.files;
    row = given;
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
  return { get file() { return input.files[0] ?? null; }, get row() { return row; }, put };
}

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
open(chosen());
