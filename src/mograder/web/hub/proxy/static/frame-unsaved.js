// Keeps work that the notebook's page could not save in this browser, until its owner has put it back
// or discarded it, or the page has saved it after all. The hub makes a version of it as soon as it can, once
// the session has ended or the notebook is opened again, and leaves the notebook as it is. The text comes
// from the frame and may be anything: it is bounded, the newest takes the place of the page's one before, it
// goes to its reader's own notebook only, and none of it is shown here. What another page of the notebook
// left stays until the hub has it.

import { styled } from "./frame-part.js";
import { moment, reason, word } from "./words.js";

const MOST = 2000000; // characters
const WRITE_MS = 500;
const AGAIN_MS = 10000;
const LATER = [408, 409, 429];
const USELESS = [400, 413]; // this hub can make no version of it

const { unsaved: address, versions } = document.body.dataset;
const key = `mograder-unsaved:${address}`;
const page = String(Math.random()).slice(2);
const ended = document.getElementById("ended");
let newest = null, written = null, shown = null, due = 0, sending = false;

styled("frame-unsaved.css");

// "": nothing is unsaved any more.
export function keep(body) {
  if (body.length > MOST) return;
  newest = body;
  if (!due) write();
}

function write() {
  clearTimeout(due);
  due = 0;
  if (newest === written) return;
  written = newest;
  const others = read().filter((each) => each.page !== page && !(newest && each.sent));
  store(newest ? [...others, { page, at: Date.now(), body: newest }] : others);
  due = setTimeout(write, WRITE_MS);
}

let refused = null; // what the browser's storage, full or off, did not take: kept while this page is open

// Whether something would be lost with this page.
export const alone = () => Boolean(refused?.some((each) => !each.sent));

// What is kept of each page; `sent` once it is a version, `useless` if the hub could make none of it.
function read() {
  if (refused) return refused;
  try {
    return [JSON.parse(localStorage.getItem(key)) ?? []].flat();
  } catch {
    return [];
  }
}

function store(all) {
  refused = null;
  try {
    if (all.length) localStorage.setItem(key, JSON.stringify(all));
    else localStorage.removeItem(key);
  } catch {
    refused = all;
  }
}

const same = (one) => (each) => each.page === one.page && each.at === one.at;
const has = (kept) => read().some(same(kept));
const change = (kept, ...by) => store(read().flatMap((each) => (same(kept)(each) ? by : [each])));

const post = (to, body) => {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  return fetch(to, { method: "POST", headers, body }).catch(() => null);
};

export async function offer() {
  write();
  // What this page is about to save is no older work, until the session has ended.
  const all = read().filter((each) => each.page !== page || !ended.hidden);
  const waits = (each) => !each.sent && !each.useless;
  const own = all.find((each) => each.page === page);
  const kept = (own?.useless ? null : own) ?? all.find(waits) ?? own ?? all[0];
  if (typeof kept?.body !== "string" || sending) return;
  sending = true;
  const answer = await post(address, kept.body);
  sending = false;
  const ours = answer?.headers.has("x-request-id"); // a front that answers in the hub's place tells nothing
  if (!ours || answer.status > 499 || LATER.includes(answer.status)) return setTimeout(offer, AGAIN_MS);
  if (answer.status === 403) return; // kept until its owner signs in
  if (!has(kept)) return offer();
  if (!answer.ok) {
    if (USELESS.includes(answer.status)) {
      change(kept, { ...kept, useless: true });
      if (all.some((each) => each !== kept && waits(each))) return offer();
    }
    return tell(word("unkept", "", await reason(answer)), download(kept), discard(kept));
  }
  const { number, lines } = await answer.json();
  if (number === null) return forget(kept);
  change(kept, { ...kept, sent: true });
  shown = kept;
  const said = word(lines === 1 ? "keptOne" : "kept", lines, moment(kept.at / 1000));
  choose(kept, said, Object.assign(document.createElement("a"), {
    href: `${versions}/${number}?to=now`,
    target: "_blank",
    rel: "noopener",
    textContent: word("compare"),
  }));
}

const discard = (kept) => button("discard", () => {
  place.remove();
  forget(kept);
});

// The codes of the cells, or all that was sent if it is no notebook's.
const download = (kept) => button("download", () => {
  let text = kept.body;
  try {
    text = JSON.parse(kept.body).codes.join("\n\n");
  } catch {}
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = `${address.split("/").pop()}-not-saved.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), AGAIN_MS);
});

// Nothing happens to an open notebook by itself: a first click tells what putting back does to it.
function choose(kept, said, show) {
  const put = button("put", () => (ended.hidden ? sure() : act()));
  const drop = discard(kept);
  const sure = () => {
    const now = button("putNow", act);
    tell(word("putAsk"), now, button("putLater", () => {
      tell(said, put, show, drop);
      put.focus();
    }));
    now.focus();
  };
  const act = async () => {
    tell(word("putting"));
    const answer = await post(`${address}/put`, kept.body);
    if (answer?.ok) {
      change(kept);
      return location.assign(ended.querySelector("a").href);
    }
    tell(word("unput", "", answer ? await reason(answer) : word("unreachable")), show, drop);
  };
  tell(said, put, show, drop);
}

function forget(kept) {
  change(kept);
  if (read().length) offer();
}

const place = document.createElement("p"), text = document.createElement("span");
place.id = "kept";
text.role = "status";

function tell(said, ...more) {
  if (!place.isConnected) document.getElementById("bar").append(place);
  text.textContent = said;
  place.replaceChildren(text, ...more);
}

function button(name, act) {
  const made = document.createElement("button");
  made.textContent = word(name);
  made.addEventListener("click", act);
  return made;
}

addEventListener("pagehide", write);
addEventListener("beforeunload", (event) => {
  write();
  if (alone()) event.preventDefault();
});
addEventListener("storage", (event) => event.key === key && shown && !has(shown) && place.remove());
