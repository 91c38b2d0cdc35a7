// The state of the marker's changes: one word in the bar, and a line for each trouble.

import { conflict_text } from "./marking-conflict.js";
import { announce, make, of } from "./marking-dom.js";
import * as outbox from "./marking-outbox.js";
import { word } from "./words.js";

const main = document.querySelector("main").dataset;
let saved_any = false, said = "";

export const note_saved = () => (saved_any = true);
export const sign_in = () => make("a", { href: main.home, target: "_blank", rel: "noopener" }, word("link"));

// `here` is the entry of the answer that is shown, if it has one; `acts` are what can be done about one.
export function show_saved(here, acts) {
  const left = outbox.unsaved();
  const stuck = left.filter((each) => each.trouble || each.conflict);
  const shown = of("saved"), why = here?.held || (stuck.length > 1 ? word("several", stuck.length) : "");
  shown.dataset.state = stuck.length ? "bad" : left.length ? "busy" : saved_any ? "good" : "idle";
  shown.textContent = stuck.length ? (why ? word("unsaved", "", why) : word("notsaved")) : left.length ? word("saving") : saved_any ? word("saved") : "";
  if (here?.held && here.held !== said) announce(shown.textContent);
  said = here?.held ?? "";
  const away = left.find((each) => each.trouble && !each.refused && !each.conflict);
  const signed_out = left.find((each) => each.signed_out);
  tell_trouble("away", away ? word("kept", "", word("unsaved", "", away.trouble)) : "");
  tell_trouble("signin", signed_out ? word("kept", "", word("unsaved", "", signed_out.trouble)) : "", sign_in);
  tell_trouble("store", outbox.stores() ? "" : word("unstored"));
  for (const each of left) tell_entry(each, here, acts);
  for (const { dataset } of [...of("troubles").children]) {
    const [kind, key] = dataset.trouble.split(" ");
    if (key && !left.some((each) => each.key === key)) tell_trouble(`${kind} ${key}`, "");
  }
}

function tell_entry(entry, here, { decide, go, discard }) {
  const conflict = entry.conflict ? conflict_text(entry) : "";
  tell_trouble(`conflict ${entry.key}`, conflict, () => button(word("decide"), "d", () => decide(entry)));
  const shown = entry === here && entry.held; // then the bar tells it, beside the field
  const refused = entry.refused && !entry.signed_out && !shown ? word("waits", entry.label, entry.trouble) : "";
  tell_trouble(`refused ${entry.key}`, refused, () => [
    entry === here ? null : button(word("go"), "", () => go(entry)),
    entry.held ? null : button(word("discard"), "", () => discard(entry)),
  ]);
}

const button = (text, key, act) => make("button", { type: "button", class: "button", onclick: act }, text, key ? make("kbd", { "aria-hidden": "true" }, key) : null);

// One line of trouble by its name; "" takes it away, and the same text is not said again.
export function tell_trouble(name, text, act = null) {
  const there = [...of("troubles").children].find((each) => each.dataset.trouble === name);
  if (there && there.dataset.text === text) return;
  there?.remove();
  if (text) of("troubles").append(make("div", { class: "note inline bad", "data-trouble": name, "data-text": text }, make("p", {}, text), ...[act?.()].flat()));
}
