// The page on which people mark: goes from answer to answer, and joins the parts of the page.

import { focus_lines, on_annotate, place_in_focus, show_annotations, show_answer } from "./marking-answer.js";
import { at_comments, at_question, call } from "./marking-api.js";
import { on_decided, show_conflict } from "./marking-conflict.js";
import { kept_note, open_dialogs, show_history, show_item, show_note, show_revise } from "./marking-dialogs.js";
import { announce, make, moment, number_text, of } from "./marking-dom.js";
import * as form from "./marking-form.js";
import { listen_to_keys } from "./marking-keys.js";
import * as outbox from "./marking-outbox.js";
import * as places from "./marking-places.js";
import { note_saved, show_saved, sign_in, tell_trouble } from "./marking-trouble.js";
import { word } from "./words.js";

const AGAIN_MS = 2000, EMPTY_MS = 15000, MOST_KEPT = 40;
const OPEN = ["open", "answered"]; // the states of a request that waits for a decision
const cache = new Map();
const main = document.querySelector("main").dataset;
let state = null, turn = 0, going_to = "", rubric_of = null, rubrics_asked = 0, rubric_read = 0, keeping = false, graded_anew = false, signed_out = false;

const { here, key } = places;
const saves = new Map(); // how often an answer's mark was saved
// Once the login has ended, it waits until the reader comes back from signing in.
const soon = (wait = AGAIN_MS) => new Promise((done) => (signed_out ? addEventListener("focus", done, { once: true }) : setTimeout(done, wait)));

// ---- one answer

async function show(index, { focus = true } = {}) {
  const mine = ++turn, wanted = places.place_at(index);
  if (here()) outbox.flush(key());
  of("desk").setAttribute("aria-busy", "true");
  going_to = wanted.question;
  while (rubric_of !== wanted.question) { // without it a mark by rubric would be shown as none
    await load_rubric(wanted.question);
    if (rubric_of !== wanted.question) await soon();
    if (mine !== turn) return;
  }
  const known = cache.get(outbox.key_of(wanted.id, wanted.question));
  let found = known;
  while (!found) { // the last thing to wait for: a mark that is saved after it would not be shown
    found = await fetch_state(wanted).catch(fail);
    if (!found) await soon();
    if (mine !== turn) return;
  }
  const at = places.index_of_key(outbox.key_of(wanted.id, wanted.question)); // the others may have been read again
  if (at < 0) return show(0, { focus });
  places.select(at);
  display(found, focus);
  of("desk").removeAttribute("aria-busy");
  if (known) renew(wanted, mine);
  else load_rubric(wanted.question, () => null);
  const next = places.place_at(places.next_waiting(at)) ?? places.place_at(at + 1);
  if (next) prefetch(next);
}

// An answer as it is; it is read again if a mark was saved meanwhile.
async function fetch_state(wanted) {
  const name = outbox.key_of(wanted.id, wanted.question);
  for (;;) {
    const before = saves.get(name), found = await places.fetch_state(wanted);
    if (saves.get(name) === before) return found;
  }
}

function fail(error) {
  signed_out = error.status === 401;
  if (signed_out) tell_trouble("load", word("signedout"), sign_in);
  else tell_trouble("load", error.message);
  return null;
}

// Shows a newer state of the answer that is shown, and a newer rubric; the text being written stays.
async function renew(wanted, mine) {
  const rubric = load_rubric(wanted.question, () => null);
  const fresh = await fetch_state(wanted).catch(() => null);
  if (!fresh || mine !== turn || key() !== outbox.key_of(wanted.id, wanted.question)) return null; // another is shown, or will be
  if (JSON.stringify(fresh) !== JSON.stringify(state)) display(fresh, false);
  await rubric;
  return fresh;
}

async function prefetch(wanted) {
  const found = await fetch_state(wanted).catch(() => null);
  if (!found) return;
  cache.set(outbox.key_of(wanted.id, wanted.question), found);
  if (cache.size > MOST_KEPT) cache.delete(cache.keys().next().value);
}

async function reload() {
  cache.clear();
  return renew(here(), turn);
}

// Read again with each answer that is shown: another marker may have changed it.
async function load_rubric(question, failed = fail) {
  const mine = ++rubrics_asked, found = await call("GET", at_comments(question)).catch(failed);
  if (!found || question !== going_to || mine < rubric_read) return; // the answer to an older request comes last
  rubric_of = question;
  rubric_read = mine;
  form.set_rubric(found);
}

// What is drawn of an answer, without the mark and the comments at its lines.
const drawn = ({ run, cells, text, auto, available, outputs, task, scale, solution }) => JSON.stringify([run, cells, text, auto, available, outputs, task, scale, solution]);

function display(found, focus) {
  const other = state?.id !== found.id || state?.address !== found.address;
  const anew = !other && drawn(state) !== drawn(found);
  if (other || anew) graded_anew = anew && state.run !== found.run;
  state = found;
  cache.delete(key());
  tell_trouble("load", "");
  tell_trouble("act", "");
  of("desk").hidden = false;
  of("place").textContent = word("answer", places.by_question ? found.label : `${found.label}: ${found.title}`, word("position", ...places.position()));
  if (other || anew) show_answer(found);
  else show_annotations(found);
  show_mark(!other);
  if (outbox.entry_of(key())?.held) form.check_again();
  show_notices();
  show_ways();
  told();
  if (anew && graded_anew) announce(word("anew"));
  if (!other) return;
  const top = of("way").previousElementSibling.getBoundingClientRect().bottom + scrollY;
  if (scrollY > top) scrollTo({ top });
  if (focus) land();
}

// The mark in the form: the unsaved one, or else the hub's.
function show_mark(gently) {
  const entry = outbox.entry_of(key());
  form.fill(state, entry ? entry.draft : form.draft_of(state.mark), gently);
  tell_mark();
}

// The focus stays in the bar, the points and the rubric; from elsewhere it goes to the answer's title.
function land() {
  const at = document.activeElement;
  if (state.own || !at?.closest?.(".way, #saved-comments, .points-line")) return of("place").focus({ preventScroll: true });
  if (at === of("points")) at.select();
  announce(word("shown", of("place").textContent, of("standing").textContent));
}

function show_ways() {
  const link = of("other"), address = new URL(location.href);
  link.hidden = false;
  link.href = places.by_question ? places.page_of_student(here()) : places.page_of(here());
  link.textContent = word(places.by_question ? "allquestions" : "allanswers");
  if (places.by_question) address.searchParams.set("answer", here().id);
  else address.searchParams.set("question", here().question);
  history.replaceState(null, "", address);
}

function points_told(mark, auto) {
  const points = mark?.points ?? null;
  return points !== null ? word("marked", number_text(points)) : auto?.points != null ? word("automatic", number_text(auto.points)) : word("unmarked");
}

// The marker, and the reason for which the answer waits.
function tell_mark() {
  const { mark, open, undo, auto } = state;
  of("standing").textContent = open || points_told(mark, auto);
  of("by").textContent = mark ? word("by", mark.marker, moment(mark.at)) : "";
  of("undo").setAttribute("aria-disabled", String(!undo && !outbox.entry_of(key())));
}

function show_notices() {
  const { auto, group, look_again, open, own, requests, trouble, whole } = state;
  const notices = [];
  const note = (style, text, ...acts) => notices.push(make("div", { class: `note inline ${style}` }, make("p", {}, text), ...acts));
  const button = (text, act, ...more) => make("button", { type: "button", class: "button", onclick: act }, text, ...more);
  if (own) note("", word("own"));
  if (trouble) note("warn", trouble);
  if (graded_anew) note("warn", word("anew"));
  if (whole && state.question) note("", word("whole", number_text(whole.points), whole.marker));
  if (open && !own && form.waits_for_a_person() && auto.points !== null) note("", word("proposed"), button(word("confirm", number_text(auto.points)), accept));
  if (look_again && !own) note("warn", word("looktext"), button(word("lookok"), confirm));
  for (const each of requests.filter(({ state }) => OPEN.includes(state))) {
    note("warn", word("asked", "", each.text), make("a", { class: "button", href: `${main.pages}/requests/${each.id}` }, word("answerask")));
  }
  if (group && group.size > 1 && !own) {
    const said = group.separate ? word("separated", group.size) : word(group.same ? "equal" : "alike", group.size);
    note("", said, button(word(group.separate ? "join" : "separate"), separate, make("kbd", { "aria-hidden": "true" }, "x")));
  }
  of("notices").replaceChildren(...notices);
}

// ---- the results of changes

form.on_draft(
  (draft, wait, apart) => outbox.keep(here(), here().title, draft, state, { wait, apart }),
  (draft, held) => outbox.keep(here(), here().title, draft, state, { held }),
);

outbox.on_change((entry, result) => {
  if (result) took(entry.key, result);
  told();
});

function told() {
  if (!state || !here()) return;
  tell_mark();
  show_saved(outbox.entry_of(key()), { decide: compare, go: go_to, discard });
}

// What the hub refuses for good: the mark that it has stands in the form again.
function discard(entry) {
  outbox.drop(entry.key);
  if (places.is_here(entry)) show_mark(false);
  of("place").focus();
  told();
}

// The hub has saved a mark.
function took(saved, result) {
  note_saved();
  saves.set(saved, (saves.get(saved) ?? 0) + 1);
  cache.delete(saved);
  tell_kept(saved, result.kept ?? 0);
  const { mark, version, open = "", look_again = false } = result;
  const shown = state && here() && saved === key();
  places.update(saved, { open, look_again, points: mark ? mark.points : shown ? (state.auto?.points ?? null) : null });
  if (shown) {
    Object.assign(state, { mark, version, open, look_again, undo: result.undo ?? state.undo });
    show_notices();
    if (!outbox.entry_of(saved)) form.settle(mark);
  }
  learn_groups();
  if (!result.also) return;
  cache.clear();
  announce(word("also", result.also + 1));
  places.load_again({ now: true });
}

// Told until the next mark is saved: by then the marker may look at another answer.
function tell_kept(saved, count) {
  const { title } = places.place_at(places.index_of_key(saved)) ?? {};
  tell_trouble("equal", count ? word(count === 1 ? "keptone" : "keptmore", title, count) : "");
}

function go_to(entry) {
  const index = places.index_of_key(entry.key);
  if (index >= 0) return show(index);
  outbox.stay_silent();
  location.assign(places.page_of(entry));
  return null;
}

// At its own question, whose rubric both marks are told by, and beside the answer as it is now.
async function compare(entry) {
  if (!places.is_here(entry)) await go_to(entry);
  if (places.is_here(entry)) await renew(here(), turn);
  if (places.is_here(entry) && entry.conflict) show_conflict(entry);
}

on_decided(async (entry, outcome, text) => {
  if (outcome) took_over(entry, outcome);
  if (outcome?.draft) outbox.keep(entry, entry.label, outcome.draft, outcome);
  if (places.is_here(entry)) show_mark(false);
  else if (outcome?.draft) await go_to(entry);
  of(outcome?.draft ? "comment" : "place").focus();
  told();
  if (text) announce(text);
});

// The other's mark is the one that counts now.
function took_over(entry, { mark, version }) {
  const marked = mark !== null && mark.points !== null;
  cache.delete(entry.key);
  if (mark) places.update(entry.key, { points: mark.points, ...(marked ? { open: "" } : {}) });
  if (places.is_here(entry)) Object.assign(state, { mark, version, open: marked ? "" : state.open });
}

// Saves the mark unchanged, to confirm it after the answer has changed.
function confirm() {
  outbox.keep(here(), here().title, form.current_draft(), state, { wait: 0 });
  of("place").focus();
}

// Gives the mark that grading proposed.
function accept() {
  form.give(state.auto.points);
  of("place").focus();
}

async function separate() {
  if (!state.group || state.own) return;
  try {
    await call("PUT", `${at_question(here().id, here().question)}/group`, { separate: !state.group.separate });
    await reload();
  } catch (error) {
    tell_trouble("act", error.message);
  }
}

// Which answers are equal is found out at the hub, which may take longer than the page waits for an
// answer, and it changes when submissions are graded again.
async function learn_groups() {
  const wanted = here(), mine = turn;
  if (await places.ask_groups() && mine === turn) await renew(wanted, mine);
}

// Of the answer that was shown when it was asked for; another may be shown when the hub has answered.
async function undo() {
  const wanted = here(), name = key(), { auto } = state;
  if (!(await outbox.flush(name))) return announce(of("saved").textContent);
  try {
    const { version } = name === key() ? state : await fetch_state(wanted);
    const result = await call("POST", `${at_question(wanted.id, wanted.question)}/undo`, { version });
    took(name, result);
    if (name === key()) show_mark(false);
    told();
    announce(word("undone", points_told(result.mark, auto)));
  } catch (error) {
    if (error.status === 409) await reload();
    tell_trouble("act", error.message);
  }
}

// A comment written by hand becomes one to use again, and is used here.
async function keep_comment() {
  const name = key(), text = form.current_draft().comment.trim();
  if (!text) return announce(word("textless"));
  if (keeping) return null;
  keeping = true;
  try {
    const { comment } = await call("POST", at_comments(here().question), { text, points: null });
    await load_rubric(here().question);
    if (name === key()) form.use(comment);
    announce(word("added"));
  } catch (error) {
    tell_trouble("act", error.message);
  } finally {
    keeping = false;
  }
}

async function rubric_changed(result, added = "") {
  await load_rubric(here().question);
  if (result.changed) {
    await reload();
    places.load_again({ now: true });
  }
  announce(word("changed", result.changed ?? 0));
  if (added === key()) form.turn_on(result.comment); // may have more to say
}

// ---- ways

function step(by) {
  const [at, all] = places.position();
  if (at + by < 1 || at + by > all) return announce(word(by < 0 ? "first" : "last"));
  return show(at + by - 1);
}

async function unmarked() {
  const from = places.position()[0] - 1, index = places.next_waiting(from);
  if (index < 0) return finish();
  const next = places.place_at(index);
  await show(index);
  if (places.of_others(next)) announce(word("minedone", next.share));
  places.load_again();
}

// There is no other answer that waits; this one may, and so may those that could not be saved.
async function finish() {
  await outbox.flush(key());
  const stuck = outbox.unsaved().filter((each) => each.conflict || each.refused).length;
  const last = places.waits_here(here()) && !outbox.entry_of(key());
  const done = word(places.index_of((each) => each.own && places.waits(each)) < 0 ? "alldone" : "ownleft");
  const text = [last ? word("lastleft") : stuck ? "" : done, stuck ? word("allbut", stuck) : ""].filter(Boolean).join(" ");
  of("standing").textContent = text;
  announce(text);
}

const focus = (name) => () => {
  const field = of(name);
  if (field.offsetParent === null) return;
  field.focus();
  if (field.matches("input")) field.select();
  else field.setSelectionRange(field.value.length, field.value.length);
};

function unfold(name) {
  const line = of(name);
  if (line.hidden) return;
  line.open = !line.open;
  if (line.open) line.querySelector("summary").focus();
}

function decide() {
  const stuck = outbox.unsaved().filter((each) => each.conflict);
  const chosen = stuck.find(places.is_here) ?? stuck[0];
  if (chosen) compare(chosen);
}

function annotate() {
  const where = place_in_focus(state);
  if (where) show_note(where);
}

// While the next answer is on its way, nothing that is typed may land in the one that is still shown.
const is_late = (event) => of("desk").getAttribute("aria-busy") === "true" && !event.target.closest?.(".way, .about, dialog");
const HARMLESS = new Set(["Tab", "Escape", "Shift", "Control", "Alt", "Meta", "PageUp", "PageDown", "Home", "End"]);
const WRITING = new Set(["enter", "v", "x", "y", "z"]); // also with Ctrl
const is_browsers = ({ key, ctrlKey, metaKey, altKey }) => HARMLESS.has(key) || /^F\d+$/.test(key) || ((ctrlKey || metaKey || altKey) && !WRITING.has(key.toLowerCase()));
document.addEventListener("keydown", (event) => {
  if (!is_late(event) || is_browsers(event)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);
document.addEventListener("beforeinput", (event) => is_late(event) && event.preventDefault(), true);

// ---- the beginning

const acts = {
  unmarked, undo, decide, separate, annotate, keep: keep_comment,
  next: () => step(1), previous: () => step(-1),
  points: focus("points"), comment: focus("comment"), reason: focus("reason"), find: focus("find"), adjust: focus("adjustment"),
  full: () => state.available !== null && form.give(state.available), zero: () => form.give(0),
  item: () => show_item(null), revise: show_revise, group: form.toggle_group,
  lines: focus_lines, outputs: () => of("frame").focus(), solution: () => unfold("solution-line"), scale: () => unfold("scale-line"),
  history: () => show_history().catch(fail), turn: () => of("other").click(), keys: () => of("keys").showModal(),
};
const buttons = { previous: "previous", next: "next", unmarked: "unmarked", undo: "undo", "show-history": "history", "show-keys": "keys", "new-item": "item", "revise-all": "revise", "keep": "keep" };

open_dialogs({ place: here, key, state: () => state, rubric_changed, reload, read_rubric: () => load_rubric(here().question) });
on_annotate(show_note);
for (const [id, act] of Object.entries(buttons)) of(id).addEventListener("click", acts[act]);
of("points").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.isComposing) return;
  event.preventDefault();
  unmarked();
});
of("jump").addEventListener("change", () => show(Number(of("jump").value)));
of("names")?.addEventListener("change", async () => {
  if (!here()) return;
  const { id, question } = here();
  cache.clear();
  if (await places.load().catch(fail) !== null) show(Math.max(0, places.index_of((each) => each.id === id && each.question === question)), { focus: false });
});
addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && here()) places.load_again();
});

async function begin() {
  try {
    await places.load();
  } catch (error) {
    fail(error);
    return error.status && error.status !== 401 ? null : soon().then(begin);
  }
  signed_out = false;
  tell_trouble("load", "");
  await outbox.take_up();
  if (!places.place_at(0)) return soon(EMPTY_MS).then(begin);
  const asked = new URL(location.href).searchParams;
  const wanted = places.index_of((each) => (places.by_question ? each.id === asked.get("answer") : each.question === asked.get("question")));
  const first = places.index_of((each) => places.waits_here(each) && !places.of_others(each));
  await show(wanted >= 0 ? wanted : Math.max(first, 0), { focus: false });
  listen_to_keys({ acts, digit: form.toggle, onward: unmarked, leave: () => of("place").focus({ preventScroll: true }) });
  learn_groups();
  return offer_note();
}

// A comment at lines that was being written when the page went away is opened again.
function offer_note() {
  const kept = kept_note();
  if (!kept || state.id !== kept.id || here().question !== kept.question) return;
  const cell = state.cells.find((each) => each.index === kept.cell);
  const note = state.annotations.find((each) => each.id === kept.note) ?? null;
  if (cell) show_note({ cell, from: kept.from, to: kept.to, note }, kept.text);
}

begin();
