// Two people marked one answer, or it was graded again: both marks side by side, and a choice.

import { make, moment, number_text, of } from "./marking-dom.js";
import { draft_of, item_of, points_of } from "./marking-form.js";
import { dialog_keys } from "./marking-keys.js";
import * as outbox from "./marking-outbox.js";
import { word } from "./words.js";

const dialog = of("conflict"), own = document.querySelector("main").dataset.marker;
let entry = null, decided = () => {};

export function conflict_text({ label, conflict: { mark, graded } }) {
  if (graded) return word("gradedagain", label);
  return mark?.marker === own ? word("elsewhere", label) : word("conflict", label, mark?.marker || word("nobody"));
}

export const on_decided = (handler) => (decided = handler);

export function show_conflict(chosen) {
  entry = chosen;
  const { mark, graded } = entry.conflict;
  of("conflict-title").textContent = entry.label;
  of("conflict-why").textContent = conflict_text(entry);
  of("theirs-title").textContent = mark ? word("theirs", mark.marker || word("nobody"), moment(mark.at)) : word(graded ? "unmarked" : "cleared");
  of("theirs").replaceChildren(...side(mark ? draft_of(mark) : null, mark?.points ?? null));
  of("yours").replaceChildren(...side(entry.draft, points_of(entry.draft)));
  dialog.showModal();
  of("conflict-title").focus();
}

function side(draft, points) {
  if (!draft) return [make("p", { class: "soft" }, word("nopoints"))];
  const items = draft.saved.map((id) => item_of(id)?.text).filter(Boolean);
  return [
    make("p", { class: "worth" }, points === null || Number.isNaN(points) ? word("nopoints") : word("marked", number_text(points))),
    items.length ? make("ul", { class: "points small" }, ...items.map((each) => make("li", {}, each))) : null,
    make("p", { class: draft.comment ? "plain" : "soft" }, draft.comment || word("empty")),
    draft.reason ? make("p", { class: "plain small" }, draft.reason) : null,
  ].filter(Boolean);
}

function theirs() {
  const { mark, version } = entry.conflict;
  outbox.drop(entry.key);
  finish({ mark, version }, word("taken"));
}

function yours() {
  outbox.decide(entry.key, entry.draft);
  finish(null, "");
}

// Points and items stay the marker's own; the comments stand one below the other, to be edited.
function both() {
  const { mark, version, run } = entry.conflict;
  const comment = [entry.draft.comment, mark?.comment].filter((text) => text?.trim()).join("\n\n");
  const draft = { ...entry.draft, comment };
  outbox.drop(entry.key);
  finish({ draft, version, run, mark }, word("merged"));
}

function finish(outcome, text) {
  dialog.close();
  decided(entry, outcome, text);
}

of("take-theirs").addEventListener("click", theirs);
of("take-yours").addEventListener("click", yours);
of("take-both").addEventListener("click", both);
dialog_keys(dialog, { t: theirs, y: yours, e: both });
