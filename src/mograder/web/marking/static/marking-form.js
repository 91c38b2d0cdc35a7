// The mark as a form: points as a number or by the rubric, saved comments, comment, reason.

import { call, at_api } from "./marking-api.js";
import { announce, make, markup, number_in, number_text, of } from "./marking-dom.js";
import { word } from "./words.js";

const PREVIEW_MS = 400;
const KEYS = 9;
const DECIMALS = 1e5; // as many as the hub keeps of a sum

let shown = null, draft = null, rubric = { starts_at: "zero", comments: [], retired: [] }, due = 0, rendered = "";
let replaced = null; // the points that the last change replaced by the rubric's
let changed = () => {}, troubled = () => {};

export const on_draft = (handler, trouble) => [changed, troubled] = [handler, trouble];
export const current_draft = () => draft;
export const current_rubric = () => rubric;

export const draft_of = (mark) => ({
  points: mark && mark.adjustment === null ? mark.points : null,
  adjustment: mark?.adjustment ?? null,
  saved: mark?.saved ?? [],
  comment: mark?.comment ?? "",
  reason: mark?.reason ?? "",
  to: "answer",
});

const texts_of = (mark) => ({
  points: number_text(points_of(mark)),
  adjustment: mark.points === null ? number_text(mark.adjustment || null) : "",
  comment: mark.comment,
  reason: mark.reason,
  ...mark.written, // what is no number, until it is one
});

// Shows a mark in the form; a field that is being written in is left alone if `gently` and nobody else changed it.
export function fill(state, made, gently = false, items = rubric) {
  const before = gently ? texts_of(draft) : {};
  shown = state;
  rubric = items;
  if (!gently) replaced = null;
  of("mark").hidden = state.own;
  draft = { ...made, saved: [...made.saved] };
  for (const [name, text] of Object.entries(texts_of(draft))) {
    const field = of(name), writing = document.activeElement === field;
    if (field.value === text || (writing && before[name]?.trim() === text.trim())) continue;
    field.value = text;
    if (writing && field.matches("input")) field.select();
  }
  of("of").textContent = state.available === null ? "" : word("of", number_text(state.available));
  of("full").hidden = state.available === null;
  const group = state.group && !state.group.separate && state.group.size > 1;
  of("group-line").hidden = !group;
  if (group) of("group-line").querySelector("span").textContent = word(state.group.same ? "group" : "grouplike", state.group.size);
  of("to-group").checked = draft.to === "group";
  show_items();
  tell_points();
  preview(0);
}

export function set_rubric(found) {
  if (JSON.stringify(found) === JSON.stringify(rubric)) return; // a box that is being clicked is not replaced
  if (draft) fill(shown, draft, true, found);
  else rubric = found;
}

// The hub has saved the mark: its points are the ones that count.
export function settle(mark) {
  if (draft.points !== null || !mark || document.activeElement === of("points")) return;
  of("points").value = number_text(mark.points);
}

export const item_of = (id) => [...rubric.comments, ...rubric.retired].find((each) => each.id === id);
const has_points = (id) => (item_of(id)?.points ?? null) !== null;

// The points by the rubric: those of the items and the adjustment; null if nothing says a number.
function sum(from = draft) {
  const items = from.saved.filter(has_points);
  if (!items.length && from.adjustment === null) return null;
  const start = rubric.starts_at === "full" ? (shown.available ?? 0) : 0;
  const all = items.reduce((total, id) => total + item_of(id).points, start + (from.adjustment ?? 0));
  const exact = Math.round(all * DECIMALS) / DECIMALS;
  return Math.max(0, shown.available === null ? exact : Math.min(exact, shown.available));
}

export const points_of = (from) => from.points ?? sum(from);

// ---- the marker's actions

function change(values, wait, typed = null) {
  if (shown.own) return; // the form is hidden; keys reach it all the same
  Object.assign(draft, values);
  replaced = typed;
  tell_points();
  if (replaced !== null) announce(of("points-why").textContent);
  if (broken()) return;
  changed(draft, wait, replaced !== null);
}

// Tells at its field why the mark cannot be saved.
function broken() {
  const wrong = [["points", of("points")], ["adjustment", of("adjustment")]].find(([, field]) => Number.isNaN(number_in(field)));
  for (const name of ["points", "adjustment", "reason"]) of(name).removeAttribute("aria-invalid");
  delete draft.written;
  if (wrong) {
    draft.written = { [wrong[0]]: wrong[1].value };
    wrong[1].setAttribute("aria-invalid", "true");
    troubled(draft, word("number", wrong[1].value));
    return true;
  }
  if (!lacks_reason()) return false;
  of("reason").setAttribute("aria-invalid", "true");
  troubled(draft, word("reasonless"));
  return true;
}

// Sends the mark that was held back, if it can be sent now.
export const check_again = () => change({}, 0);

const overrides = () => {
  const points = points_of(draft);
  return shown.reason_needed && points !== null && points !== shown.auto?.points;
};
// Grading proposes the mark of checks that ran beside the answers.
export const waits_for_a_person = () => shown.auto?.state === "unprotected";
const lacks_reason = () => overrides() && !draft.reason.trim();

of("points").addEventListener("input", () => {
  const points = number_in(of("points"));
  if (!Number.isNaN(points)) of("adjustment").value = "";
  change(Number.isNaN(points) ? {} : { points, adjustment: null });
});
of("adjustment").addEventListener("input", () => {
  const adjustment = number_in(of("adjustment"));
  if (!Number.isNaN(adjustment)) {
    Object.assign(draft, { adjustment, points: null });
    of("points").value = number_text(sum());
  }
  change({});
});
of("comment").addEventListener("input", () => {
  change({ comment: of("comment").value });
  preview(PREVIEW_MS);
});
of("reason").addEventListener("input", () => change({ reason: of("reason").value }));
of("to-group").addEventListener("change", () => change({ to: of("to-group").checked ? "group" : "answer" }));
of("by-rubric").addEventListener("click", by_rubric);
of("find").addEventListener("input", show_items);
of("mark").addEventListener("submit", (event) => event.preventDefault());
of("full").addEventListener("click", () => give(shown.available));
of("zero").addEventListener("click", () => give(0));

export function give(points) {
  of("points").value = number_text(points);
  of("adjustment").value = "";
  change({ points, adjustment: null }, 0);
}

function by_rubric() {
  draft.points = null;
  of("points").value = number_text(sum());
  change({}, 0);
  of("points").focus();
}

export function toggle_group() {
  if (!of("group-line").hidden) of("to-group").click();
}

// Turns the item with this number on or off; returns it.
export function toggle(number) {
  const box = of("items").querySelector(`[data-number="${number}"] input`);
  box?.click();
  return box;
}

function toggled(comment, on) {
  const saved = on ? [...draft.saved, comment.id] : draft.saved.filter((id) => id !== comment.id);
  // The points of an item that is given count at once, also where a number stood before.
  const before = draft.points, points = on && comment.points !== null ? null : before;
  const adjustment = saved.some(has_points) ? draft.adjustment : draft.adjustment || null;
  draft = { ...draft, saved, points, adjustment };
  if (points === null) of("points").value = number_text(sum());
  change({}, undefined, points === null && before !== sum() ? before : null);
}

// A saved comment in the place of the same text written by hand. If more was written since, or the rubric
// could not be read again, the text stays.
export function use(comment) {
  if (draft.comment.trim() !== item_of(comment.id)?.text) return;
  of("comment").value = "";
  draft.comment = "";
  turn_on(comment);
  preview(0);
}

// Turns a saved comment on that the search may have left out.
export function turn_on(comment) {
  of("find").value = "";
  show_items();
  const box = of("items").querySelector(`[data-id="${comment.id}"] input`);
  if (box && !box.checked) box.click();
}

// ---- the display

function show_items() {
  const search = of("find").value.trim().toLowerCase();
  const focused = of("items").contains(document.activeElement) ? document.activeElement.dataset.item : null;
  const offered = [...rubric.comments, ...rubric.retired.filter((each) => draft.saved.includes(each.id))];
  of("find-line").hidden = offered.length <= KEYS;
  of("adjust-line").hidden = !offered.some((each) => each.points !== null);
  const found = offered.filter((each) => !search || each.text.toLowerCase().includes(search));
  of("items").replaceChildren(...found.map((each, at) => item_line(each, at + 1)));
  if (!offered.length) of("items").append(make("li", { class: "small soft" }, word("noitems")));
  if (focused) of("items").querySelector(`[data-item="${focused}"]`)?.focus();
}

function item_line(comment, number) {
  const box = make("input", { type: "checkbox", "data-item": comment.id, "aria-keyshortcuts": number <= KEYS ? number : null, onchange: () => toggled(comment, box.checked) });
  box.checked = draft.saved.includes(comment.id);
  const points = comment.points === null ? "" : `${comment.points > 0 ? "+" : comment.points < 0 ? "−" : ""}${number_text(Math.abs(comment.points))}`;
  return make(
    "li", { "data-number": number, "data-id": comment.id },
    make("label", { class: "item" }, box, make("kbd", { "aria-hidden": "true" }, number <= KEYS ? String(number) : ""), markup(comment.html, "span", "text"), points ? make("span", { class: "worth" }, points, make("span", { class: "unseen" }, " points")) : null),
  );
}

function tell_points() {
  const rubric_sum = sum({ ...draft, points: null });
  const given = draft.points !== null && !Number.isNaN(draft.points);
  const rubric_used = draft.saved.some(has_points);
  const words = [];
  if (given && rubric_used && rubric_sum !== draft.points) words.push(word("rubricsays", number_text(rubric_sum)));
  else if (replaced !== null) words.push(word("replaced", number_text(replaced), number_text(rubric_sum)));
  else if (!given && rubric_sum !== null) words.push(word("byrubric", number_text(rubric_sum)));
  else if (!given) words.push(shown.auto?.points == null ? word("none") : word(waits_for_a_person() ? "autowaits" : "autocounts"));
  if (overrides()) words.push(word("override", number_text(shown.auto?.points)));
  of("points-why").textContent = words.join(" ");
  of("by-rubric").hidden = !(given && rubric_used);
  of("points").placeholder = shown.auto?.points != null ? number_text(shown.auto.points) : "";
  of("reason-line").hidden = !(overrides() || draft.reason);
  of("reason").toggleAttribute("required", overrides());
  of("keep").hidden = !draft.comment.trim();
}

function preview(wait) {
  clearTimeout(due);
  const text = draft.comment;
  const needed = /[*_`#$\[\]>\\]|^\s*[-+\d]/m.test(text);
  of("preview").hidden = !text.trim() || !needed || (of("preview").hidden && text !== rendered);
  if (!text.trim() || !needed || text === rendered) return;
  due = setTimeout(() => render(text), wait);
}

async function render(text) {
  const answer = await call("POST", at_api("/preview"), { text }).catch(() => null);
  if (!answer || draft.comment !== text) return;
  rendered = text;
  of("preview").replaceChildren(markup(answer.html));
  of("preview").hidden = false;
}
