"use strict";

// Searching: the form, whose fields are in the address; the pictures found; one of them, large. Stands on page.js.

const search = $("#search"), form = $("form", search), list = $(".hits", search), like = upload("like");
// The fields of the form, alike in the address and in the API.
const fields = ["text", "not", "folder", "since", "until", "keyword", "camera", "near", "within"];
const step = 24, most = 480; // pictures asked for at once, and in the page at most, so that a phone stays quick
const deepest = Number($("#words").dataset.skip); // the service skips no more
const radius = form.elements.within.placeholder; // where none is given

let asked = null; // the search asked last
let shown = null; // the one whose pictures are in the page
const remembered = new Map(); // the last searches, by their name in `history.state`, for going back to them

// A picture's row as text, since a number of 63 bits would be rounded.
const rowOf = (hit) => hit.picture.split("/").pop();

// ---- the form and the address

function typed() {
  const values = new FormData(form), parameters = new URLSearchParams();
  for (const name of fields) {
    const value = values.get(name);
    for (const one of name === "keyword" ? value.split(",") : [value]) {
      if (one.trim()) parameters.append(name, one.trim());
    }
  }
  if (!parameters.has("near")) parameters.delete("within");
  if (like.row) parameters.set("like", like.row);
  return parameters;
}

function fill({ parameters, file }) {
  for (const name of fields) form.elements[name].value = parameters.getAll(name).join(", ");
  like.put(file, parameters.get("like"));
}

// `hits` are all pictures fetched, of which those from `first` to before `end` are in the page; `skip` counts what the
// service gave, also pictures given twice.
function begin(parameters, file = null) {
  const name = `${performance.timeOrigin} ${performance.now()}`; // unlike those before a reload
  asked = {
    name, parameters, file, hits: [], seen: new Set(), skip: 0, first: 0, end: 0, scroll: 0,
    answer: null, ended: false, fetching: null,
  };
  remembered.set(name, asked);
  if (remembered.size > 8) remembered.delete(remembered.keys().next().value);
  return asked;
}

// Puts a search into the address: after its #, so that it is not sent to the service.
function note(mine, way) {
  const place = `search?${mine.parameters}`;
  $("#tab-search").dataset.address = place;
  history[way]({ search: mine.name }, "", `#${place}`);
}

// Before another search: where the page is, is kept; an answer on its way does not count any more.
function part() {
  if (shown) shown.scroll = scrollY;
  if (asked) asked.fetching = null;
  running.delete(search);
  redraw.delete($(".error", search));
  $(".error", search).hidden = true;
}

// Asks what the form says.
async function searchAgain() {
  const parameters = typed(), file = like.file;
  if (!file && !parameters.has("text") && !parameters.has("like")) { complain(search, "need_query"); return; }
  const again = asked && !file && !asked.file && `${asked.parameters}` === `${parameters}`;
  part();
  const mine = begin(parameters, file);
  note(mine, again || viewer.open ? "replaceState" : "pushState");
  drawFilters();
  await fetchFirst(mine);
}

// Shows what the address says: at first, after going back or forward, or by a link.
async function follow() {
  if (viewer.open && !history.state?.viewing) viewer.close();
  const [id, query = ""] = location.hash.slice(1).split("?");
  if (id && id !== "search") return;
  const old = remembered.get(history.state?.search);
  if (old && old === asked) {
    if (history.state.viewing && !viewer.open && shown === viewedOf) look(viewed);
    return;
  }
  part();
  fill(old ?? { parameters: new URLSearchParams(query), file: null });
  const parameters = typed();
  if (old) asked = old;
  else if (parameters.has("text") || parameters.has("like")) begin(parameters);
  else asked = null;
  if (asked) note(asked, "replaceState");
  else delete $("#tab-search").dataset.address;
  drawFilters();
  if (asked && !asked.answer) {
    await fetchFirst(asked);
  } else {
    present(asked);
    scrollTo(0, asked?.scroll ?? 0);
  }
}

history.scrollRestoration = "manual"; // the pictures come later than the browser would scroll
addEventListener("popstate", follow);
form.addEventListener("submit", (event) => { event.preventDefault(); searchAgain(); });
for (const chip of $$(".examples .chip", form)) {
  chip.addEventListener("click", () => { $("#query").value = chip.textContent; like.put(null); searchAgain(); });
}

// The filters of the search, each with a click to take it away.
function drawFilters() {
  const box = $(".filters", search), mine = asked;
  const draw = () => {
    const names = new Set(mine?.parameters.keys());
    for (const name of ["text", "like", "within"]) names.delete(name);
    box.replaceChildren(...[...names].map((name) => {
      let value = mine.parameters.getAll(name).join(", ");
      if (name === "since" || name === "until") value = day(value);
      if (name === "near") value += ` (${mine.parameters.get("within") ?? radius})`;
      const label = `${say(name === "not" ? "unlike" : name)}: ${value}`;
      return filterChip(label, [label], () => { form.elements[name].value = ""; });
    }));
    if (!mine || (!mine.file && !mine.parameters.has("like"))) return;
    const image = element("img", { alt: "" });
    if (mine.file) showFile(image, mine.file);
    else show(image, address(mine.parameters.get("like"), "small")).catch(() => image.remove());
    box.prepend(filterChip(say("like_this"), [image, say("like_this")], () => like.put(null)));
  };
  redraw.set(box, draw);
  draw();
}

function filterChip(label, content, clear) {
  const cross = element("span", { textContent: "×", ariaHidden: "true" });
  const chip = element("button", { type: "button", className: "chip" }, ...content, cross);
  chip.ariaLabel = `${say("remove")}: ${label}`;
  chip.addEventListener("click", () => {
    clear();
    $("#query").focus();
    if (like.file || like.row || $("#query").value.trim()) searchAgain();
    else chip.remove();
  });
  return chip;
}

// ---- the pictures found

// Fetches the next pictures of a search; once at a time.
function fetchHits(mine) {
  if (mine.fetching) return mine.fetching;
  const fetching = ask(search, async () => {
    const parameters = new URLSearchParams(mine.parameters), body = new FormData();
    parameters.set("k", step);
    parameters.set("skip", mine.skip);
    if (mine.file) body.append("picture", mine.file);
    const answer = await (await call(`v1/search?${parameters}`, mine.file ? { method: "POST", body } : {})).json();
    return () => take(mine, answer);
  }).finally(() => { if (mine.fetching === fetching) mine.fetching = null; });
  mine.fetching = fetching;
  return fetching;
}

async function fetchFirst(mine) {
  await fetchHits(mine);
  if (asked === mine && !mine.answer) present(null); // it failed, and other pictures are no answer to it
}

function take(mine, answer) {
  const all = mine.end === mine.hits.length; // of them are in the page
  for (const hit of answer.hits) {
    if (mine.seen.has(rowOf(hit))) continue; // of a page before: copies are grouped anew as more of them are found
    for (const row of [rowOf(hit), ...hit.copies.map(String)]) mine.seen.add(row);
    mine.hits.push(hit);
  }
  mine.skip += answer.hits.length;
  mine.ended = answer.hits.length < step || mine.skip > deepest;
  mine.answer = answer;
  suggestFolders(mine);
  if (shown !== mine) present(mine);
  else if (all) extend();
}

// Shows a search's pictures; null: none was asked for.
function present(mine) {
  shown = mine;
  list.replaceChildren();
  redraw.set(list, () => { for (const item of list.children) draws.get(item)(); });
  const empty = $(".empty", search);
  empty.dataset.word = mine ? "none" : "start_empty";
  empty.textContent = say(empty.dataset.word);
  empty.hidden = Boolean(mine?.hits.length);
  lay(mine?.first ?? 0, mine?.end || step);
}

const places = new WeakMap(), draws = new WeakMap(); // of an item of the list: place among the hits, drawing its words

// Has the hits from `first` to before `end` in the page, and moves nothing that is on the screen.
function lay(first, end) {
  const hits = shown?.hits ?? [];
  const seen = [...list.children].find((item) => item.getBoundingClientRect().bottom > 0);
  const top = seen?.getBoundingClientRect().top;
  first -= first % getComputedStyle(list).gridTemplateColumns.split(" ").length; // whole lines, or all would shift
  end = Math.min(end, hits.length);
  for (const item of [...list.children]) {
    if (places.get(item) < first || places.get(item) >= end) item.remove();
  }
  const left = list.firstElementChild ? places.get(list.firstElementChild) : end;
  const right = list.lastElementChild ? places.get(list.lastElementChild) + 1 : end;
  list.prepend(...hits.slice(first, left).map((hit, n) => drawHit(hit, first + n)));
  list.append(...hits.slice(right, end).map((hit, n) => drawHit(hit, right + n)));
  list.start = first + 1;
  const whole = !shown || (end === hits.length && shown.ended);
  $("#earlier").hidden = first === 0;
  $("#more").hidden = whole;
  $(".end", search).hidden = !whole || !hits.length;
  if (seen?.isConnected) scrollBy({ top: seen.getBoundingClientRect().top - top, behavior: "instant" });
  if (!shown) { tell(search, () => []); return; }
  Object.assign(shown, { first, end });
  const { answer } = shown;
  tell(search, () => [say("found", { count: number(hits.length), total: number(answer.pictures) }), ...timing(answer)]);
  for (const edge of edges) { nearby.unobserve(edge); nearby.observe(edge); } // it tells again where they are
}

// Has more pictures in the list, without the first ones where they get too many.
function extend() {
  const end = Math.min(shown.end + step, shown.hits.length);
  lay(Math.max(shown.first, end - most), end);
}

// Goes on in the list: by what is known, or by what the service has yet.
async function onwards() {
  if (shown.end < shown.hits.length) extend();
  else if (!shown.ended && asked === shown) await fetchHits(shown);
}

function backwards() {
  const first = Math.max(0, shown.first - step);
  lay(first, Math.min(shown.end, first + most));
}

const edges = [$("#earlier").parentElement, $("#more").parentElement];
const nearby = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting || !shown) continue;
    if (target === edges[1]) onwards();
    else if (shown.first) backwards();
  }
}, { rootMargin: "600px 0px" });

// By keyboard one goes on from where the new pictures begin.
$("#more").addEventListener("click", async () => {
  const before = list.lastElementChild;
  await onwards();
  (before?.nextElementSibling ?? before)?.querySelector("button").focus();
});
$("#earlier").addEventListener("click", () => {
  const before = list.firstElementChild;
  backwards();
  (before.previousElementSibling ?? before).querySelector("button").focus();
});

function drawHit(hit, place) {
  const image = element("img", { alt: "", loading: "lazy" }), about = element("span", { className: "about" });
  const gone = () => image.replaceWith(element("span", { className: "gone", textContent: say("gone") }));
  image.addEventListener("error", gone, { once: true });
  show(image, address(rowOf(hit), "small")).catch(gone);
  const opener = element("button", { type: "button", className: "open" }, image, about);
  opener.dataset.id = hit.id;
  opener.addEventListener("click", () => look(place));
  const alike = element("button", { type: "button" }), map = mapLink(hit);
  alike.addEventListener("click", () => searchLike(hit));
  const item = element("li", {}, opener, element("span", { className: "actions" }, alike, ...(map ? [map] : [])));
  const draw = () => {
    const lines = [say("score", { score: number(hit.score, 3) })];
    if (hit.probability !== null) lines.push(say("probability", { percent: number(100 * hit.probability) }));
    if (hit.copies.length) lines.push(say("copies", { count: hit.copies.length }));
    const facts = [taken(hit, "medium"), hit.folder].filter(Boolean).flatMap((one) => [" · ", one]).slice(1);
    about.replaceChildren(
      element("b", { textContent: nameOf(hit) }), element("span", { className: "facts" }, ...facts), lines.join(" · "),
    );
    alike.textContent = say("alike");
    alike.ariaLabel = `${say("alike")}: ${hit.id}`;
    if (map) { map.textContent = say("map"); map.ariaLabel = `${say("map_open", { site })}: ${hit.id}`; }
  };
  draw();
  places.set(item, place);
  draws.set(item, draw);
  return item;
}

// A picture's name in its folder.
const nameOf = (hit) => (hit.folder && hit.id.startsWith(`${hit.folder}/`) ? hit.id.slice(hit.folder.length + 1) : hit.id);

// When a picture was taken, on the clock of the place.
function taken(hit, date, time) {
  return hit.taken ? element("time", { dateTime: hit.taken, textContent: day(hit.taken, date, time) }) : null;
}

const site = "openstreetmap.org";

// A link that opens a map elsewhere; a map in the page would tell its server of each picture without a click.
function mapLink(hit) {
  if (typeof hit.latitude !== "number" || typeof hit.longitude !== "number") return null;
  const [north, east] = [hit.latitude.toFixed(5), hit.longitude.toFixed(5)];
  const href = `https://www.${site}/?mlat=${north}&mlon=${east}#map=15/${north}/${east}`;
  return element("a", { href, target: "_blank", rel: "noopener noreferrer" });
}

// The folders of the pictures found, and those above them, for the filter.
function suggestFolders(mine) {
  const found = new Set();
  for (const { folder } of mine.hits) {
    const parts = folder ? folder.split("/") : [];
    for (const end of parts.keys()) found.add(parts.slice(0, end + 1).join("/"));
  }
  $("#folders").replaceChildren(...[...found].sort().slice(0, 200).map((value) => element("option", { value })));
}

// Looks for pictures like this one, with the filters as they are.
async function searchLike(hit) {
  for (const name of ["text", "not"]) form.elements[name].value = "";
  like.put(null, rowOf(hit));
  await leave();
}

// Searches for what the form says, from the viewer or the middle of the list.
async function leave() {
  const done = searchAgain();
  viewer.close();
  await done;
  scrollTo(0, 0);
  $("button", list)?.focus({ preventScroll: true });
}

// ---- one picture, large

const viewer = $("#viewer"), frame = $("figure", viewer);
let viewed = 0, viewedOf = null; // its place among the hits, and whose they are
let large = null;

function look(place) {
  viewed = place;
  viewedOf = shown;
  const hit = shown.hits[place], row = rowOf(hit), small = element("img", { alt: hit.id });
  large?.removeAttribute("src"); // a picture passed over need not arrive
  large = element("img", { alt: hit.id });
  const mine = large;
  const gone = () => { if (large === mine) frame.replaceChildren(element("span", { className: "gone", textContent: say("gone") })); };
  frame.replaceChildren(small); // until the large one is there
  show(small, address(row, "small")).catch(() => {});
  mine.addEventListener("load", () => {
    small.replaceWith(mine);
    const next = shown?.hits[place + 1];
    if (next && !key) new Image().src = address(rowOf(next), "large");
  }, { once: true });
  mine.addEventListener("error", gone, { once: true });
  show(mine, address(row, "large")).catch(gone);

  $(".error", viewer).hidden = true;
  $("#viewer-name").textContent = nameOf(hit);
  $(".position", viewer).textContent = say("position", { at: number(place + 1) });
  $("#previous").ariaDisabled = String(place === 0);
  $("#next").ariaDisabled = String(shown.ended && place + 1 === shown.hits.length);
  drawFacts(hit);
  tell(viewer, () => []);
  call(`v1/pictures/${row}/details`).then((answer) => answer.json()).then((details) => {
    if (large !== mine) return;
    small.alt = mine.alt = [...textsOf(details), hit.id][0];
    drawFacts(hit, details);
  }).catch(() => {}); // the picture says what is wrong

  if (viewer.open) return;
  if (!history.state?.viewing) history.pushState({ ...history.state, viewing: true }, ""); // "back" closes it
  viewer.showModal();
}

// What is written about a picture, what describes it first.
const textsOf = ({ caption, description, title }) => [...new Set([caption, description, title])].filter(Boolean);

function drawFacts(hit, details = {}) {
  const text = $(".caption", viewer), facts = [taken(hit, "full", "short")], map = mapLink(hit);
  text.textContent = textsOf(details).join("\n");
  text.hidden = !text.textContent;
  if (hit.folder) facts.push(narrower(hit.folder, { folder: hit.folder }));
  if (details.location) facts.push(details.location);
  if (map) {
    const near = [hit.latitude, hit.longitude].map((degrees) => degrees.toFixed(5)).join(",");
    map.textContent = say("map_open", { site });
    facts.push(map, narrower(say("near_here"), { near, within: "1km" }));
  }
  if (details.camera) facts.push(narrower(details.camera, { camera: details.camera }));
  for (const keyword of details.keywords ?? []) facts.push(narrower(keyword, { keyword }));
  $(".facts", viewer).replaceChildren(...facts.filter(Boolean));
}

// A button that adds filters to the search.
function narrower(label, filters) {
  const button = element("button", { type: "button", className: "chip", textContent: label });
  const [name] = Object.keys(filters);
  if (label === filters[name]) button.ariaLabel = `${say(name)}: ${label}`;
  button.addEventListener("click", () => {
    fill(asked);
    for (const [field, value] of Object.entries(filters)) form.elements[field].value = value;
    leave();
  });
  return button;
}

// Shows the next picture, or the one before; fetches more at the end.
async function turn(by) {
  const mine = shown;
  while (viewed + by >= mine.hits.length && !mine.ended) {
    const { skip } = mine;
    await fetchHits(mine);
    if (shown !== mine || !viewer.open) return;
    if (mine.skip === skip) {
      const alert = $(".error", viewer);
      alert.textContent = $(".error", search).textContent;
      alert.hidden = false;
      return;
    }
  }
  if (viewed + by >= 0 && viewed + by < mine.hits.length) look(viewed + by);
}

for (const [id, by] of [["previous", -1], ["next", 1]]) $(`#${id}`).addEventListener("click", () => turn(by));
viewer.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  turn(by);
});

// One finger across turns, as long as the page is not enlarged.
let finger = null;
frame.addEventListener("pointerdown", (event) => {
  finger = event.pointerType !== "mouse" && event.isPrimary && visualViewport.scale <= 1.01 ? event : null;
});
frame.addEventListener("pointercancel", () => { finger = null; });
frame.addEventListener("pointerup", (event) => {
  if (!finger) return;
  const across = event.clientX - finger.clientX, along = event.clientY - finger.clientY;
  finger = null;
  if (Math.abs(across) > 40 && Math.abs(across) > 2 * Math.abs(along)) turn(across < 0 ? 1 : -1);
});

$("#close").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => {
  large?.removeAttribute("src");
  large = null;
  if (history.state?.viewing) history.back();
  if (asked !== viewedOf || shown !== viewedOf) return; // another search closed it
  const { first, end } = shown;
  if (viewed >= end) lay(Math.max(first, viewed + step - most), viewed + step);
  else if (viewed < first) lay(Math.max(0, viewed - step), Math.min(end, viewed - step + most));
  [...list.children].find((item) => places.get(item) === viewed)?.querySelector("button").focus();
});

$("#similar").addEventListener("click", () => searchLike(shown.hits[viewed]));
$("#download").addEventListener("click", () => {
  const hit = shown.hits[viewed];
  ask(viewer, async () => {
    const blob = await (await call(address(rowOf(hit), "full"))).blob();
    return () => {
      const name = hit.id.split("/").pop().replace(/\.\w{1,5}$/, "");
      const link = element("a", { href: URL.createObjectURL(blob), download: `${name}.jpg` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      tell(viewer, () => []);
    };
  });
});

follow();
