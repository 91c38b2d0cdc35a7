// Marks on their way to the hub. Each change is stored in the browser at once and sent soon after; it
// leaves the store when the hub has saved it. So text outlives a reload, a crash, and a hub that is away.

import { Away, Refused, at_question, call } from "./marking-api.js";

const SOON_MS = 700;
const AGAIN_MS = [1000, 2000, 4000, 8000, 15000];
const MOST_SENT = 20; // drafts without an answer of the hub that are remembered

const main = document.querySelector("main").dataset;
const prefix = `mograder-marking:${main.home}:${main.marker}:${main.assignment}:`;
const tab = own_tab();
const entries = new Map();
const listeners = [];
let failures = 0, retry = 0, storing = true, silent = false;

const name_of = (key) => `${prefix}${key}#${tab}`; // another tab's unsaved mark of the same answer stays
export const key_of = (id, question) => `${id}/${question}`;
export const entry_of = (key) => entries.get(key);
export const unsaved = () => [...entries.values()];
export const stores = () => storing;
export const stay_silent = () => (silent = storing); // the page goes to one that takes the marks up from the store
export const on_change = (listener) => listeners.push(listener);

// Keeps a mark as the marker has it now; `version` is that of the mark it was made from, `run` that of
// the answer. `held` says why it cannot be sent as it is. `apart`: an undo brings the mark before it back.
export function keep(place, label, draft, { version, run }, { wait = SOON_MS, held = "", apart = false } = {}) {
  const key = key_of(place.id, place.question);
  if (apart && entries.has(key) && !entries.get(key).conflict && !entries.get(key).refused) send(entries.get(key));
  const entry = entries.get(key) ?? { key, id: place.id, question: place.question, version, run, sent: [] };
  Object.assign(entry, { label, draft: { ...draft }, held, trouble: held, refused: Boolean(held), signed_out: false, closed: false });
  entries.set(key, entry);
  store(entry);
  clearTimeout(entry.due);
  if (!entry.conflict && !held) entry.due = setTimeout(() => send(entry), wait);
  tell(entry);
}

export function drop(key) {
  const entry = entries.get(key);
  if (!entry) return;
  clearTimeout(entry.due);
  entries.delete(key);
  try { localStorage.removeItem(name_of(key)); } catch { /* it was never stored */ }
}

// Sends an answer's mark now; true if the hub has it then.
export async function flush(key) {
  const entry = entries.get(key);
  if (!entry) return true;
  clearTimeout(entry.due);
  await entry.sending;
  if (entries.has(key) && !entry.conflict && !entry.refused) await send(entry);
  return !entries.has(key);
}

// Decides a conflict: the draft is sent over the other's version, as one made on the answer it was made on.
export function decide(key, draft) {
  const entry = entries.get(key);
  const { version } = entry.conflict;
  entry.conflict = null;
  entry.version = version;
  keep(entry, entry.label, draft, entry, { wait: 0 });
}

// Takes up the marks that this tab or a closed one did not save before.
export async function take_up() {
  const others = await open_tabs();
  let found = [];
  try {
    found = Object.keys(localStorage).filter((name) => name.startsWith(prefix));
    localStorage.setItem(`${prefix}!`, "");
    localStorage.removeItem(`${prefix}!`);
  } catch { storing = false; }
  for (const name of found) {
    const kept = read(name);
    if (!kept || entries.has(kept.key)) continue;
    if (kept.tab !== tab && others.has(lock_of(kept.tab))) continue;
    const entry = { sent: [], ...kept, trouble: kept.held, refused: Boolean(kept.held) };
    entries.set(entry.key, entry);
    store(entry);
    if (storing && name !== name_of(entry.key)) localStorage.removeItem(name);
    if (!entry.conflict && !entry.held) send(entry);
    else tell(entry);
  }
}

async function send(entry, more) {
  if (entry.sending) return entry.sending;
  entry.sending = attempt(entry, more).finally(() => {
    entry.sending = null;
    tell(entry);
  });
  tell(entry);
  return entry.sending;
}

async function attempt(entry, more) {
  const { draft, version, run } = entry;
  if (entry.sent.at(-1) !== draft) entry.sent = [...entry.sent, draft].slice(-MOST_SENT);
  store(entry);
  try {
    const result = await call("PUT", at_question(entry.id, entry.question), { ...draft, written: undefined, version, run }, more);
    failures = 0;
    settle(entry, draft, result);
  } catch (error) {
    if (error instanceof Away) return later(entry, error.message);
    failures = 0;
    if (!(error instanceof Refused)) throw error;
    const now = error.status === 409 ? error.body : null;
    const saved = now && entry.sent.findLast((each) => same(now.now, each)); // only the hub's answer was lost
    if (now?.version === undefined) Object.assign(entry, { trouble: error.message, refused: entry.draft === draft, signed_out: error.status === 401, closed: error.status === 403 });
    else if (saved) settle(entry, saved, { ...now, mark: now.now });
    else Object.assign(entry, { conflict: { mark: now.now, version: now.version, run: now.run, graded: run !== undefined && run !== now.run } });
    if (entries.has(entry.key)) store(entry);
  }
}

// The hub has a draft of a mark; what was written since is sent later.
function settle(entry, draft, result) {
  Object.assign(entry, { version: result.version, sent: [] });
  if (entry.draft === draft) drop(entry.key);
  else {
    store(entry);
    clearTimeout(entry.due);
    if (!entry.held) entry.due = setTimeout(() => send(entry), SOON_MS);
  }
  for (const listener of listeners) listener(entry, result);
}

function later(entry, trouble) {
  entry.trouble = trouble;
  const wait = AGAIN_MS[Math.min(failures++, AGAIN_MS.length - 1)];
  clearTimeout(retry);
  retry = setTimeout(send_all, wait);
}

// What is closed to the marker may be opened again, as an assignment for marking.
export function send_all() {
  for (const entry of entries.values()) if (!entry.conflict && (!entry.refused || entry.signed_out || entry.closed)) send(entry);
}

function same(mark, draft) {
  if (!mark) return false;
  const alike = (one, other) => JSON.stringify([...one].sort()) === JSON.stringify([...other].sort());
  const number = mark.adjustment === null ? mark.points : null; // points that are no sum of saved comments
  return number === draft.points && (mark.adjustment ?? 0) === (draft.adjustment ?? 0) && alike(mark.saved, draft.saved) && mark.comment.trim() === draft.comment.trim() && mark.reason.trim() === draft.reason.trim();
}

function store(entry) {
  const { key, id, question, label, draft, version, run, sent, held = "", conflict = null } = entry;
  try {
    localStorage.setItem(name_of(key), JSON.stringify({ key, id, question, label, draft, version, run, sent, held, conflict, tab }));
  } catch { storing = false; }
}

function read(name) {
  try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
}

// A reload keeps the tab's name; a copy of the tab has it too, and then a conflict tells the two apart.
function own_tab() {
  try {
    const name = sessionStorage.getItem("mograder-tab") ?? String(Math.random()).slice(2);
    sessionStorage.setItem("mograder-tab", name);
    return name;
  } catch { return ""; }
}

// The browser frees a tab's lock when it closes or crashes. Without a secure address there are no
// locks: then each tab takes up all, and the hub tells equal marks from conflicts.
function lock_of(name) {
  return `mograder-marking-tab:${name}`;
}

async function open_tabs() {
  const locks = await navigator.locks?.query();
  return new Set(locks?.held.map((each) => each.name));
}

function tell(entry) {
  for (const listener of listeners) listener(entry, null);
}

navigator.locks?.request(lock_of(tab), () => new Promise(() => {}));
addEventListener("online", send_all);
addEventListener("beforeunload", (event) => {
  if (entries.size && !silent) event.preventDefault();
});
addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "hidden") return send_all();
  for (const entry of entries.values()) if (!entry.conflict && !entry.refused && !entry.sending) send(entry, { keepalive: true });
});
