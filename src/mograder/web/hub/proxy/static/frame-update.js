// Says in the bar that the author has corrected the notebook, and takes the update when asked to.
//
// Nothing happens to an open notebook by itself: a click tells what taking the update does, and a
// second one does it.

import { styled } from "./frame-part.js";
import { reason, word } from "./words.js";

styled("frame-update.css");

const address = document.body.dataset.update, again = document.querySelector("#ended a");
const foreign = document.querySelector("#bar .tag") !== null; // another person's notebook
const place = document.createElement("div"), text = document.createElement("span");
place.id = "update";
text.role = "status";
let shown = "", busy = false;

export function tell(update) {
  if (busy) return;
  const now = JSON.stringify(update ?? null);
  if (now === shown) return;
  shown = now;
  if (!update || (update.state === "merged" && localStorage.getItem(key(update)))) return place.remove();
  if (!place.isConnected) document.getElementById("bar").append(place);
  const says = { offered: offered, refused: () => put(word("updateRefused"), link("updateWhy")), merged: () => merged(update) };
  (says[update.state] ?? withdrawn)();
}

function offered() {
  put(word("updateOffered"), link("updateShow"), ...(foreign ? [] : [button("updateTake", ask)]));
}

function merged(update) {
  const said = update.conflicts ? word("updateConflicts", update.conflicts) : word("updateMerged");
  const ok = button("updateOk", () => {
    place.remove();
    localStorage.setItem(key(update), "seen");
  });
  put(said, link("updateShown"), ok);
}

function withdrawn() {
  put(word("updateWithdrawn"), link("updateShown"));
}

function ask() {
  const now = button("updateNow", take);
  const later = button("updateLater", () => {
    offered();
    place.querySelector("button").focus();
  });
  put(word("updateAsk"), now, later);
  now.focus();
}

async function take() {
  busy = true;
  put(word("updateTaking"));
  const answer = await fetch(address, { method: "POST", headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.ok) return location.assign(again.href);
  const why = answer ? await reason(answer) : word("unreachable");
  put(word("updateFailed", "", why), button("updateTake", ask));
  busy = false;
}

function put(said, ...more) {
  if (text.textContent !== said) text.textContent = said;
  place.replaceChildren(text, ...more);
}

function button(name, act) {
  const made = document.createElement("button");
  made.textContent = word(name);
  made.addEventListener("click", act);
  return made;
}

function link(name) {
  const made = document.createElement("a");
  Object.assign(made, { href: address, target: "_blank", rel: "noopener", textContent: word(name) });
  return made;
}

const key = ({ number }) => `mograder-update ${address} ${number}`;
