// The bar above a notebook, and what the notebook's page may ask of it.
//
// That page runs its author's JavaScript: its messages are bounded, and cause what `asks` lists.

import { listen, spread } from "./stream.js";
import { moment, reason, word } from "./words.js";

const of = (id) => document.getElementById(id);
const frame = of("notebook"), panel = of("panel"), ended = of("ended"), body = document.body, at = body.dataset;
const origin = at.origin || new URL(frame.src).origin;
const ASK_MS = 1500;
const AWAY_MS = 30000; // at most, while it does not answer
const RELOADED_MS = 10000;
const LONGEST = 2000;
const FADE_MS = 12000;
const SLOW_MS = 3000;
const HAND_OVER_MS = 5000;

// ---- parts loaded when they are needed

const parts = {};
let failures = 0;

// Browsers may remember by its address that a script did not load.
const part = (name) => (parts[name] ??= import(`./frame-${name}.js${failures ? `?${failures}` : ""}`).catch(() => {
  delete parts[name];
  failures++;
  throw new Error(word("unreachable"));
}));

// ---- what the hub says

let due = 0, asked = 0, away = 0, last = Promise.resolve();
let told = {};
let joined = true, unsaved = false; // as the notebook's page says
let out = false, gone;

// One request after the other. `due` is reset when one begins, so news during it causes another.
const ask = () => (last = last.then(look, look));

function ask_soon(parts) {
  if (!due && ended.hidden) due = setTimeout(ask, Math.max(0, asked + ASK_MS - Date.now()) + spread(parts));
}

async function look() {
  clearTimeout(due);
  due = 0;
  asked = Date.now();
  const answer = await fetch(at.standing, { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(AWAY_MS / 3) }).catch(() => null);
  const ours = answer?.headers.has("x-request-id"); // a front that answers in the hub's place tells nothing
  out = ours && answer.status === 403;
  if (out && !(joined && ended.hidden)) return end(); // else only the login's day is over
  const now = ours && answer.ok ? await answer.json().catch(() => null) : null;
  if (!now) {
    clearTimeout(due);
    away = Math.min(AWAY_MS, (away || ASK_MS) * 2);
    due = setTimeout(ask, away);
    return tell_saved();
  }
  away = 0;
  if (now.state === "replaced" || (gone && now.state === "running")) return reload();
  tell_saved(now);
  if (now.machine) part("machine").then(({ tell }) => tell(now.machine));
  if (now.update || of("update")) part("update").then(({ tell }) => tell(now.update));
  if (now.cell) part("cell").then(({ pass }) => pass(now.cell, order));
  if (now.help || now.messages || parts.class) part("class").then(({ tell }) => tell(now, order));
  if (now.state === "ended") {
    await take_over();
    end(`${now.saved ? word("until", moment(now.saved)) : ""} ${now.title}`, now.text);
  }
  keep();
}

function tell_saved(now = told) {
  told = now;
  const cut = ended.hidden && (away > 0 || !joined), place = of("saved"), words = [];
  if (cut) words.push(word(out ? "unsigned" : unsaved ? "cutUnsaved" : "cut"));
  else if (unsaved && ended.hidden) words.push(word("unsaved"));
  const kept = [moment(now.submitted), now.late || (now.due && word("onTime"))].filter(Boolean).join(", ");
  if (now.submitted) words.push(now.edited ? word("changed", kept, past(now.closes) ? "" : word("again")) : word("submitted", kept));
  if (now.saved && !(unsaved && ended.hidden)) words.push(word("saved", moment(now.saved)));
  place.ariaLive = cut ? "polite" : "off";
  place.className = cut ? "cut" : "";
  const text = words.join(" · ");
  if (cut && (out || unsaved) && text !== place.title) fold(false);
  place.title = place.textContent = text;
  tell_due(now);
  for (const button of document.querySelectorAll(".acts button")) button.disabled = away > 0;
}

const past = (seconds) => seconds && seconds * 1000 < Date.now();

function tell_due({ due: by, closes, submitted, late, hand_in }) {
  const words = [];
  if (past(closes)) words.push(word("closed", moment(closes, true)));
  else if (by && !(submitted && past(by))) words.push(word(past(by) ? "wasDue" : "due", moment(by, true)));
  if (!submitted && late && !past(closes)) words.push(word("lateNow", late));
  of("due").textContent = words.join(": ");
  of("due").className = late && !submitted ? "cut" : "";
  of("submit")?.classList.toggle("main", !!hand_in);
}

// Shown in the notebook's place. No title: not signed in.
function end(title, text = word("signin")) {
  if (!ended.hidden) return;
  const kept = holds();
  const had = [frame, body].includes(document.activeElement);
  const again = ended.lastElementChild;
  ended.hidden = false;
  frame.remove();
  fold(false);
  close_panel();
  say("");
  tell_saved();
  of("bar").classList.add("over");
  // Only now: an alert speaks of what changes in it.
  ended.children[0].textContent = title ?? word("unsigned");
  ended.children[1].textContent = kept ? `${word("held")} ${text}` : text;
  if (!title) Object.assign(again, { href: location.href, textContent: word("login") });
  if (had) again.focus();
}

// signed-out.js removed what was kept; put-cell.js has a cell for this page, which may be hidden.
addEventListener("storage", ({ key, newValue }) => {
  if (!at.standing.startsWith(newValue)) return;
  if (key === "mograder-bye") end();
  if (key === "mograder-ask") ask_soon();
});

// Not twice in a row, nor before what was typed is kept.
async function reload() {
  if (!(await keep())) return;
  const [navigation] = performance.getEntriesByType("navigation");
  if (navigation?.type !== "reload" || performance.now() > RELOADED_MS) location.reload();
}

// ---- work that is not saved

function holds() {
  try {
    return at.unsaved && localStorage.getItem(`mograder-unsaved:${at.unsaved}`) !== null;
  } catch {
    return false;
  }
}

// The frame is removed at the end, so what it holds is asked for before.
async function take_over(most = HAND_OVER_MS) {
  if (!at.unsaved || !frame.isConnected) return;
  order("hand-over");
  await new Promise((done) => {
    handed_over = done;
    setTimeout(done, most);
  });
}

let older = holds(); // left by a page that was closed before
let untaken = null; // the newest text, until its keeper has it
let keeping = Promise.resolve(), again = 0;
let handed_over;

// Resolves to whether all is kept. Called at each answer of the hub: the keeper is loaded before the line breaks.
const keep = () => (keeping = keeping.then(hand_on));

async function hand_on() {
  if (at.unsaved) try {
    const keeper = await part("unsaved");
    if (untaken !== null) keeper.keep(untaken);
    untaken = null;
    if (older || !ended.hidden) keeper.offer();
    older = false;
    return !keeper.alone();
  } catch {
    clearTimeout(again);
    again = setTimeout(ask, AWAY_MS);
  }
  return untaken === null;
}

// Its keeper could not be loaded: it would be lost with this page.
addEventListener("beforeunload", (event) => untaken && event.preventDefault());

function keep_unsaved(text) {
  unsaved = text !== "";
  untaken = text ?? untaken; // null: too long
  tell_saved();
  keep();
}

// ---- what the notebook's page asks

const short = (value, start = "") => typeof value === "string" && value.length <= LONGEST && (!value || value.startsWith(start));
let address, turning = 0, fragment = location.hash; // until the frame has one

const asks = new Map([
  ["saved", ask_soon],
  ["lost", ask_soon],
  ["gone", (said) => ask_soon(gone = said)],
  ["joined", ({ is }) => {
    joined = is !== false;
    tell_saved();
  }],
  ["refused", reload],
  ["shown", () => appeared()],
  ["kept-name", () => say(word("name"), true)],
  ["offline", () => at.offline !== undefined && say(word("offline"), true)],
  ["unsaved", ({ body: text }) => at.unsaved && (text === null || typeof text === "string") && keep_unsaved(text)],
  ["cell-put", (said) => part("cell").then(({ answer }) => answer(said))],
  ["handed-over", () => handed_over?.()],
  ["files", (asked) => at.files && part("files").then(({ hand_in }) => hand_in(asked, at.files, frame, order))],
  ["title", ({ text }) => short(text) && text && (document.title = text.slice(0, 200))],
  ["address", ({ search, hash }) => {
    if (!short(search, "?") || !short(hash, "#")) return;
    if (hash) fragment = "";
    address = { search, hash: hash || fragment };
    turning ||= setTimeout(turn, 300); // browsers refuse too many in a row
  }],
]);

function turn() {
  turning = 0;
  history.replaceState(null, "", Object.assign(new URL(location.href), address));
}

addEventListener("message", ({ source, origin: from, data }) => {
  if (source === frame.contentWindow && from === origin) asks.get(data?.mograder)?.(data);
});

const order = (kind, rest) => frame.contentWindow?.postMessage({ mograder: kind, ...rest }, "*");
const greet = () => order("hello", { hash: fragment, keep: !!at.unsaved }); // lost if the frame has no page yet

// ---- the buttons

// Over the notebook, which it does not push down; a result fades, or goes at a click.
let fading = 0;

function say(text, fades = false) {
  if (fades) fold(false);
  of("said").textContent = text;
  clearTimeout(fading);
  if (text && fades) fading = setTimeout(say, FADE_MS, "");
}

of("said").addEventListener("click", () => say(""));

// A page that takes long says why; a helper's is empty until marimo lets it in.
const slow = setTimeout(() => of("said").textContent || say(word("loading")), SLOW_MS);

function appeared() {
  clearTimeout(slow);
  if (of("said").textContent === word("loading")) say("");
}

async function post(button, Accept = "application/json", where = button.dataset.action) {
  const answer = await fetch(where, { method: "POST", headers: { Accept } }).catch(() => null);
  if (answer?.ok) return answer;
  throw new Error(answer ? await reason(answer) : word("unreachable"));
}

function on(id, act) {
  const button = of(id), { doing, failed } = button?.dataset ?? {};
  button?.addEventListener("click", async () => {
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    say(doing);
    try {
      await act(button);
    } catch (error) {
      say(`${failed}: ${error.message}`, true);
    }
    button.ariaDisabled = "false";
  });
}

on("leave", async (button) => {
  await post(button);
  location.assign(document.querySelector(".back").href);
});

of("ask")?.addEventListener("click", () => part("class").then(({ open_form }) => open_form(ask)));

on("stop", async (button) => {
  await post(button);
  await ask();
});

on("submit", async (button) => {
  const { hand_in } = await part("hand-in");
  if (!(await hand_in(button, panel, { post, say, open_panel, take_over, is_unsaved: () => unsaved }))) return;
  await ask();
  say(button.dataset.done, true);
});

on("validate", async (button) => {
  const { read } = await part("panel"); // most who open a notebook do not validate it
  const found = await read(await post(button, "application/x-ndjson"), button.dataset.result, say, point);
  of("close").click(); // answers what was asked there
  panel.lastElementChild.replaceChildren(...found);
  say(panel.querySelector(".verdict p").textContent, true);
  open_panel();
});

function open_panel() {
  panel.hidden = false;
  panel.focus();
}

function point(name, index) {
  frame.focus();
  order("cell", { name, index });
}

function close_panel() {
  if (panel.contains(document.activeElement)) of("validate").focus();
  panel.hidden = true;
}

of("close").addEventListener("click", close_panel);
panel.addEventListener("keydown", (event) => event.key === "Escape" && of("close").click());

// ---- the bar itself

export function fold(away) {
  body.classList.toggle("folded", away);
  of("bar").inert = away;
  of("fold").ariaExpanded = !away;
}

of("fold").addEventListener("click", () => {
  fold(!body.classList.contains("folded"));
  localStorage.setItem("mograder-bar", body.className);
});

addEventListener("keydown", (event) => {
  const { ctrlKey, metaKey, shiftKey, altKey, key } = event;
  if (!(ctrlKey || metaKey) || shiftKey || altKey || key.toLowerCase() !== "p") return;
  event.preventDefault();
  order("print");
});

fold(localStorage.getItem("mograder-bar") === "folded");
// The keyboard is in the notebook, as if there were no frame.
const enter = () => document.activeElement === body && frame.focus();
frame.addEventListener("load", () => {
  if (at.helps === undefined) appeared();
  // Chromium leaves it with the empty document from before, if that had it.
  if (document.activeElement === frame) frame.blur();
  enter();
  greet();
});
enter();
greet();
ask();
listen(at.events, ask_soon, ask_soon);
