// Keeps work that the notebook's page could not save in this browser, and sends it to the hub when that
// answers: once the session has ended, or when the notebook is opened again. The hub makes a version of
// it and leaves the notebook as it is. The text comes from the frame and may be anything: it is bounded,
// the newest takes the place of the one before, and it goes to its reader's own notebook only.

import { reason, word } from "./words.js";

const MOST = 2000000; // characters
const WRITE_MS = 500;
const AGAIN_MS = 10000;

const { unsaved: address, versions } = document.body.dataset;
const key = `mograder-unsaved:${address}`;
const page = String(Math.random()).slice(2);
let newest = null, written = null, due = 0, sending = false;

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = new URL("frame-unsaved.css", import.meta.url).href;
document.head.append(style);

// "": nothing is unsaved any more.
export function keep(body) {
  if (typeof body !== "string" || body.length > MOST) return;
  newest = body;
  if (!due) write();
}

function write() {
  clearTimeout(due);
  due = 0;
  if (newest === written) return;
  written = newest;
  try {
    if (newest) localStorage.setItem(key, JSON.stringify({ page, at: Date.now(), body: newest }));
    else if (read()?.page === page) localStorage.removeItem(key);
  } catch { /* the browser's storage is full or off: it stays in this page only */ }
  due = setTimeout(write, WRITE_MS);
}

function read() {
  try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
}

export async function send() {
  write();
  const kept = read();
  if (typeof kept?.body !== "string" || sending) return;
  sending = true;
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  const answer = await fetch(address, { method: "POST", headers, body: kept.body }).catch(() => null);
  sending = false;
  const ours = answer?.headers.has("x-request-id"); // a front that answers in the hub's place tells nothing
  if (!ours || answer.status > 499) return setTimeout(send, AGAIN_MS);
  if (answer.status === 403) return; // kept until its owner signs in
  if (read()?.at === kept.at) localStorage.removeItem(key);
  if (!answer.ok) return tell(word("unkept", "", await reason(answer)));
  const { number } = await answer.json();
  if (number !== null) tell(word("kept"), `${versions}/${number}?to=now`);
}

function tell(text, href = "") {
  const place = document.getElementById("kept") ?? document.createElement("p");
  place.id = "kept";
  place.role = "status";
  document.getElementById("bar").append(place);
  const parts = [text];
  if (href) parts.push(" ", Object.assign(document.createElement("a"), { href, target: "_blank", rel: "noopener", textContent: word("compare") }));
  place.replaceChildren(...parts);
}

addEventListener("pagehide", write);
