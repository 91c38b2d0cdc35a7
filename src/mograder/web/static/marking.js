// The page on which people mark: goes from answer to answer, and joins the parts of the page.

import { focus_lines, on_annotate, place_in_focus, show_annotations, show_answer } from "./marking-answer.js";
import { at_api, at_comments, at_question, call } from "./marking-api.js";
import { on_decided, show_conflict } from "./marking-conflict.js";
import { kept_note, open_dialogs, show_history, show_item, show_note, show_revise } from "./marking-dialogs.js";
import { announce, make, moment, number_text, of } from "./marking-dom.js";
import * as form from "./marking-form.js";
import { listen_to_keys } from "./marking-keys.js";
import * as outbox from "./marking-outbox.js";
import { word } from "./words.js";

const FRESH_MS = 15000; // the others' marks are asked for again after this
const AGAIN_MS = 2000;

const main = document.querySelector("main").dataset;
const by_question = Boolean(main.question);
let places = [], current = -1, state = null, turn = 0, rubric_of = null, counted = 0, saved_any = false;
const cache = new Map();

const place = () => places[current];
const key = () => outbox.key_of(place().id, place().question);
const names = () => (of("names")?.checked ? 1 : 0);
const fetch_state = ({ id, question }) => call("GET", `${at_question(id, question)}?names=${names()}`);
const waits = (each) => Boolean(each.open || each.look_again);

// ---- the answers in their order

async function load_places() {
  if (by_question) {
    const { answers } = await call("GET", at_api(`/queue?question=${encodeURIComponent(main.question)}&names=${names()}`));
    places = answers.map((each) => ({ ...each, question: main.question, title: each.label }));
  } else {
    const { questions } = await call("GET", at_api(""));
    const states = await Promise.all(questions.map((each) => fetch_state({ id: main.answer, question: each.address }).catch(() => null)));
    places = questions.map((each, at) => ({ id: main.answer, question: each.address, title: each.title, share: "", ...summary(states[at]) }));
  }
  counted = Date.now();
  show_places();
}

const summary = (found) => ({
  label: found?.label ?? "", open: found?.open ?? "", look_again: found?.look_again ?? false,
  points: found?.mark ? found.mark.points : (found?.auto?.points ?? null), marker: found?.mark?.marker ?? "",
});

function show_places() {
  of("jump").replaceChildren(...places.map((each, at) => make("option", { value: at }, describe(each, at))));
  of("jump").value = current;
  const marked = places.filter((each) => !waits(each)).length;
  of("meter").max = places.length || 1;
  of("meter").value = marked;
  of("count").textContent = word("count", marked, places.length);
  of("nothing").hidden = places.length > 0;
}

function describe(each, at) {
  const words = [by_question ? `${at + 1}` : "", each.title].filter(Boolean).join(". ");
  const points = each.look_again ? word("look") : each.open ? word("unmarked") : each.points === null ? "" : word("marked", number_text(each.points));
  const share = each.share && each.share !== main.marker ? word("others", each.share) : "";
  return [words, points, share].filter(Boolean).join(" · ");
}

async function count_again() {
  if (Date.now() - counted < FRESH_MS || !by_question) return;
  const here = place();
  await load_places().catch(() => null);
  current = Math.max(0, places.findIndex((each) => each.id === here?.id && each.question === here?.question));
  of("jump").value = current;
}

// ---- one answer

async function show(index, { focus = true } = {}) {
  const mine = ++turn;
  if (place()) outbox.flush(key());
  const wanted = places[index];
  of("desk").setAttribute("aria-busy", "true");
  const known = cache.get(outbox.key_of(wanted.id, wanted.question));
  let found = known;
  while (!found) {
    found = await fetch_state(wanted).catch((error) => fail(error));
    if (mine !== turn) return;
    if (!found) await new Promise((done) => setTimeout(done, AGAIN_MS));
    if (mine !== turn) return;
  }
  if (rubric_of !== wanted.question) await load_rubric(wanted.question);
  if (mine !== turn) return;
  current = index;
  display(found, focus);
  history.replaceState(null, "", address_of(wanted));
  if (known) renew(wanted, mine);
  const next = places[next_waiting(index)] ?? places[index + 1];
  if (next) prefetch(next);
}

function fail(error) {
  tell_trouble("load", error.message);
  return null;
}

// Shows a newer state of the answer that is shown, unless its mark is being changed.
async function renew(wanted, mine) {
  const fresh = await fetch_state(wanted).catch(() => null);
  if (!fresh || mine !== turn) return null;
  remember(wanted, fresh);
  if (JSON.stringify(fresh) !== JSON.stringify(state)) display(fresh, false);
  return fresh;
}

async function prefetch(wanted) {
  const found = await fetch_state(wanted).catch(() => null);
  if (found) remember(wanted, found);
}

function remember(wanted, found) {
  cache.set(outbox.key_of(wanted.id, wanted.question), found);
  if (cache.size > 40) cache.delete(cache.keys().next().value);
}

async function load_rubric(question) {
  const found = await call("GET", at_comments(question)).catch(() => null);
  if (!found) return;
  rubric_of = question;
  form.set_rubric(found);
}

const page_of = ({ id, question }) => `${main.pages}/questions/${encodeURIComponent(question)}?answer=${id}`;

function address_of({ id, question }) {
  const here = new URL(location.href);
  if (by_question) here.searchParams.set("answer", id);
  else here.searchParams.set("question", question);
  return here;
}

function display(found, focus) {
  const other = state?.id !== found.id || state?.address !== found.address;
  const entry = outbox.entry_of(key());
  state = found;
  tell_trouble("load", "");
  of("desk").hidden = false;
  of("desk").removeAttribute("aria-busy");
  of("place").textContent = word("answer", by_question ? found.label : found.title, word("position", current + 1, places.length));
  if (other) show_answer(found);
  else show_annotations(found);
  form.fill(found, entry ? entry.draft : form.draft_of(found.mark), !other);
  if (entry?.held) form.check_again();
  tell_mark();
  show_notices();
  show_ways();
  if (!other) return;
  const top = of("way").previousElementSibling.getBoundingClientRect().bottom + scrollY;
  if (scrollY > top) scrollTo({ top });
  if (focus) land();
}

// The focus stays in the bar, the points and the rubric; from elsewhere it goes to the answer's title.
function land() {
  const at = document.activeElement;
  if (at?.closest?.(".way, #saved-comments, .points-line")) {
    if (at === of("points")) at.select();
    announce(word("shown", of("place").textContent, of("standing").textContent));
  } else of("place").focus({ preventScroll: true });
}

function show_ways() {
  of("jump").value = current;
  const link = of("other");
  link.hidden = false;
  link.href = by_question ? `${main.pages}/answers/${place().id}?question=${encodeURIComponent(place().question)}` : page_of(place());
  link.textContent = word(by_question ? "allquestions" : "allanswers");
}

// Who marked, and what the answer waits for.
function tell_mark() {
  const { mark, open, undo } = state;
  of("standing").textContent = open ? open : mark ? word("marked", number_text(mark.points)) : state.auto?.points != null ? word("automatic", number_text(state.auto.points)) : word("unmarked");
  of("by").textContent = mark ? word("by", mark.marker, moment(mark.at)) : "";
  of("undo").setAttribute("aria-disabled", String(!undo && !outbox.entry_of(key())));
}

function show_notices() {
  const { group, look_again, requests, trouble } = state;
  const notices = [];
  const note = (text, style, ...acts) => notices.push(make("div", { class: `note inline ${style}` }, make("p", {}, text), ...acts));
  if (trouble) note(trouble, "warn");
  if (look_again) note(word("looktext"), "warn", make("button", { type: "button", class: "button", onclick: confirm }, word("lookok")));
  for (const each of requests) note(word("asked", "", each.text), "warn");
  if (group && group.size > 1) note(word(group.separate ? "separated" : "equal", group.size), "", make("button", { type: "button", class: "button", onclick: separate }, word(group.separate ? "join" : "separate"), make("kbd", { "aria-hidden": "true" }, "x")));
  of("notices").replaceChildren(...notices);
}

// Saves the mark as it is: what lay under it has changed, and it stands.
function confirm() {
  outbox.keep(place(), place().title, form.current_draft(), state.version, { wait: 0 });
  of("place").focus();
}

async function separate() {
  const { group } = state;
  if (!group) return;
  try {
    await call("PUT", `${at_question(place().id, place().question)}/group`, { separate: !group.separate });
    await reload();
  } catch (error) {
    announce(error.message);
    tell_trouble("act", error.message);
  }
}

async function reload() {
  cache.clear();
  return renew(place(), turn);
}

// ---- what becomes of changes

form.on_draft(
  (draft, wait) => outbox.keep(place(), place().title, draft, state.version, { wait }),
  (draft, held) => outbox.keep(place(), place().title, draft, state.version, { held }),
);

outbox.on_change((entry, result) => {
  if (result) took(entry, result);
  show_saved();
  if (state && place()) tell_mark();
});

function took(entry, result) {
  saved_any = true;
  cache.delete(entry.key);
  const at = places.find((each) => outbox.key_of(each.id, each.question) === entry.key);
  if (at) {
    Object.assign(at, { open: result.open ?? at.open, look_again: result.look_again ?? false, marker: result.mark?.marker ?? "", points: result.mark?.points ?? null });
    show_places();
  }
  if (place() && entry.key === key()) {
    Object.assign(state, { mark: result.mark, version: result.version, open: result.open ?? state.open, look_again: result.look_again ?? false, undo: result.undo ?? state.undo });
    show_notices();
  }
  if (result.also) {
    counted = 0;
    cache.clear();
    announce(word("also", result.also + 1));
    count_again();
  }
}

function show_saved() {
  const left = outbox.unsaved();
  const stuck = left.filter((each) => each.trouble || each.conflict);
  const here = place() ? outbox.entry_of(key()) : null;
  const shown = of("saved");
  shown.dataset.state = stuck.length ? "bad" : left.length ? "busy" : saved_any ? "good" : "idle";
  const why = here?.held || (stuck.length > 1 ? word("several", stuck.length) : "");
  shown.textContent = stuck.length ? (why ? word("unsaved", "", why) : word("notsaved")) : left.length ? word("saving") : saved_any ? word("saved") : "";
  const away = left.find((each) => each.trouble && !each.refused && !each.conflict);
  tell_trouble("away", away ? word("kept", "", word("unsaved", "", away.trouble)) : "");
  const signed_out = left.find((each) => each.signed_out);
  tell_trouble("signin", signed_out ? word("kept", "", word("unsaved", "", signed_out.trouble)) : "", () => make("a", { href: `${main.home}login`, target: "_blank", rel: "noopener" }, word("link")));
  tell_trouble("store", outbox.stores() ? "" : word("unstored"));
  for (const each of left) {
    const by = each.conflict?.mark?.marker ?? word("nobody");
    const conflict = each.conflict ? word("conflict", each.label, by) : "";
    const waiting = each.refused && !each.signed_out && each !== here ? word("waits", each.label, each.trouble) : "";
    tell_trouble(`conflict ${each.key}`, conflict, () => make("button", { type: "button", class: "button", onclick: () => show_conflict(each) }, word("decide"), make("kbd", { "aria-hidden": "true" }, "d")));
    tell_trouble(`held ${each.key}`, waiting, () => make("button", { type: "button", class: "button", onclick: () => go_to(each) }, word("go")));
  }
  for (const shown_trouble of [...of("troubles").children]) {
    const [kind, of_key] = shown_trouble.dataset.trouble.split(" ");
    if (of_key && !left.some((each) => each.key === of_key)) tell_trouble(`${kind} ${of_key}`, "");
  }
}

// One line of trouble by its name; the same text is not said again.
function tell_trouble(name, text, act = null) {
  const there = [...of("troubles").children].find((each) => each.dataset.trouble === name);
  if (there?.dataset.text === text) return;
  there?.remove();
  if (text) of("troubles").append(make("div", { class: "note inline bad", "data-trouble": name, "data-text": text }, make("p", {}, text), act?.()));
}

async function go_to(entry) {
  const index = places.findIndex((each) => outbox.key_of(each.id, each.question) === entry.key);
  if (index >= 0) return show(index);
  location.assign(page_of(entry));
}

on_decided((entry, outcome, text) => {
  if (outcome?.draft) outbox.keep(entry, entry.label, outcome.draft, outcome.version, { wait: 2500 });
  const here = place() && entry.key === key();
  if (outcome) took_over(entry, outcome);
  if (here) {
    const draft = outcome?.draft ?? outbox.entry_of(entry.key)?.draft ?? form.draft_of(state.mark);
    form.fill(state, draft);
    tell_mark();
    of(outcome?.draft ? "comment" : "place").focus();
  } else if (outcome?.draft) go_to(entry).then(() => of("comment").focus());
  else of("place").focus();
  show_saved();
  if (text) announce(text);
});

// The other's mark is the one that counts now.
function took_over(entry, { mark, version }) {
  cache.delete(entry.key);
  const at = places.find((each) => outbox.key_of(each.id, each.question) === entry.key);
  if (at && mark) Object.assign(at, { marker: mark.marker, points: mark.points, open: mark.points === null ? at.open : "" });
  if (place() && entry.key === key()) Object.assign(state, { mark, version, open: mark && mark.points !== null ? "" : state.open });
  show_places();
}

// ---- ways

function step(by) {
  const index = current + by;
  if (index < 0 || index >= places.length) return announce(word(by < 0 ? "first" : "last"));
  show(index);
}

// The next answer that waits: of the marker's own share first, then any.
function next_waiting(from) {
  const after = places.map((_, at) => (from + 1 + at) % places.length).filter((at) => at !== from);
  const waiting = after.filter((at) => waits(places[at]) && !outbox.entry_of(outbox.key_of(places[at].id, places[at].question)));
  const mine = waiting.find((at) => !places[at].share || places[at].share === main.marker);
  return mine ?? waiting[0] ?? -1;
}

async function unmarked() {
  const from = current;
  if (place()) outbox.flush(key());
  const index = next_waiting(from);
  if (index < 0) {
    await outbox.flush(key());
    return tell_done();
  }
  const { share } = places[index];
  const others = share && share !== main.marker;
  await show(index);
  if (others) announce(word("minedone", share));
  count_again();
}

function tell_done() {
  const left = places.findIndex(waits);
  const here = left === current && places.filter(waits).length === 1;
  of("standing").textContent = here ? of("standing").textContent : word("alldone");
  announce(here ? word("last") : word("alldone"));
}

async function undo() {
  if (!(await outbox.flush(key()))) return announce(of("saved").textContent);
  const { id, question } = place();
  try {
    const result = await call("POST", `${at_question(id, question)}/undo`, { version: state.version });
    took({ key: key() }, result);
    form.fill(state, form.draft_of(state.mark));
    tell_mark();
    show_saved();
    announce(word("undone", result.mark && result.mark.points !== null ? word("marked", number_text(result.mark.points)) : word("unmarked")));
  } catch (error) {
    const text = error.status ? error.message : word("unsaved", "", error.message);
    announce(text);
    of("by").textContent = text;
    if (error.status === 409) await reload();
  }
}

const focus = (name) => () => {
  const field = of(name);
  if (field.offsetParent === null) return;
  field.focus();
  field.select?.();
};

function turn_over() {
  if (!of("other").hidden) of("other").click();
}

function unfold(name) {
  const line = of(name);
  if (line.hidden) return;
  line.open = !line.open;
  if (line.open) line.querySelector("summary").focus();
}

function decide() {
  const stuck = outbox.unsaved().filter((each) => each.conflict);
  const chosen = stuck.find((each) => place() && each.key === key()) ?? stuck[0];
  if (chosen) show_conflict(chosen);
}

// A comment written by hand becomes one to use again, and is used here.
async function keep_comment() {
  const text = form.current_draft().comment.trim();
  if (!text) return announce(word("textless"));
  try {
    const { comment } = await call("POST", at_comments(place().question), { text, points: null });
    await load_rubric(place().question);
    form.use(comment);
    announce(word("added"));
  } catch (error) {
    tell_trouble("act", error.message);
  }
}

async function rubric_changed(result, { added = false }) {
  await load_rubric(place().question);
  if (result.changed) {
    counted = 0;
    await reload();
    count_again();
  }
  if (added) of("items").querySelector(`[data-id="${result.comment.id}"] input`)?.click();
  announce(word("changed", result.changed ?? 0));
}

// ---- the beginning

open_dialogs({ place, state: () => state, rubric_changed, reload });
on_annotate((where) => show_note(where));
listen_to_keys({
  acts: {
    unmarked, undo, decide, separate,
    next: () => step(1), previous: () => step(-1), points: focus("points"), comment: focus("comment"), reason: focus("reason"), find: focus("find"), adjust: focus("adjustment"),
    full: () => state.available !== null && form.give(state.available), zero: () => form.give(0), item: () => show_item(null), revise: show_revise, keep: keep_comment, group: form.toggle_group,
    annotate: () => { const where = place_in_focus(state); if (where) show_note(where); },
    lines: focus_lines, outputs: () => of("frame").focus(), solution: () => unfold("solution-line"), scale: () => unfold("scale-line"), history: show_history, turn: turn_over, keys: () => of("keys").showModal(),
  },
  digit: (number) => form.toggle(number),
  onward: unmarked,
  leave: () => of("place").focus({ preventScroll: true }),
});
for (const [name, act] of Object.entries({ previous: () => step(-1), next: () => step(1), unmarked, undo, "show-history": show_history, "show-keys": () => of("keys").showModal(), "new-item": () => show_item(null), keep: keep_comment })) of(name).addEventListener("click", act);
of("points").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  unmarked();
});
of("jump").addEventListener("change", () => show(Number(of("jump").value)));
of("names")?.addEventListener("change", async () => {
  const here = place();
  cache.clear();
  await load_places().catch(fail);
  show(Math.max(0, places.findIndex((each) => each.id === here.id && each.question === here.question)), { focus: false });
});
addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && place()) count_again();
});

async function begin() {
  for (;;) {
    try {
      await load_places();
      break;
    } catch (error) {
      fail(error);
      if (error.status) return;
      await new Promise((done) => setTimeout(done, AGAIN_MS));
    }
  }
  tell_trouble("load", "");
  outbox.take_up();
  const asked = new URL(location.href).searchParams;
  const wanted = by_question ? places.findIndex((each) => each.id === asked.get("answer")) : places.findIndex((each) => each.question === asked.get("question"));
  const first = places.findIndex((each) => waits(each) && (!each.share || each.share === main.marker));
  if (places.length) await show(wanted >= 0 ? wanted : Math.max(first, 0), { focus: false });
  offer_note();
}

// A comment at lines that was being written when the page went away is opened again.
function offer_note() {
  const kept = kept_note();
  if (!kept || state?.id !== kept.id || place().question !== kept.question) return;
  const cell = state.cells.find((each) => each.index === kept.cell);
  const note = state.annotations.find((each) => each.id === kept.note) ?? null;
  if (cell) show_note({ cell, from: kept.from, to: kept.to, note }, kept.text);
}

begin();
