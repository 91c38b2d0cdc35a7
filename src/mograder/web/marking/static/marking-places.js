// The answers in the marker's order (or one student's questions), and how far each is.

import { at_api, at_question, call } from "./marking-api.js";
import { make, number_text, of } from "./marking-dom.js";
import * as outbox from "./marking-outbox.js";
import { word } from "./words.js";

const FRESH_MS = 15000; // the others' marks are asked for again after this

const main = document.querySelector("main").dataset;
export const by_question = Boolean(main.question);
let places = [], current = -1, asked = 0, asked_groups = 0, groups = "[]";

export const here = () => places[current];
export const place_at = (index) => places[index];
export const position = () => [current + 1, places.length];
export const key = () => outbox.key_of(here().id, here().question);
export const is_here = (entry) => Boolean(here()) && entry.key === key();
export const index_of = (found) => places.findIndex(found);
export const index_of_key = (wanted) => places.findIndex((each) => outbox.key_of(each.id, each.question) === wanted);
export const waits = (each) => Boolean(each.open || each.look_again);
export const waits_here = (each) => waits(each) && !each.own; // others mark the marker's own answer
export const of_others = (each) => Boolean(each.share) && each.share !== main.marker;
const names = () => (of("names")?.checked ? 1 : 0);
export const fetch_state = ({ id, question }) => call("GET", `${at_question(id, question)}?names=${names()}`);
export const page_of = ({ id, question }) => `${main.pages}/questions/${encodeURIComponent(question)}?answer=${id}`;
export const page_of_student = ({ id, question }) => `${main.pages}/answers/${id}?question=${encodeURIComponent(question)}`;

export async function load() {
  if (by_question) {
    const { answers } = await call("GET", at_api(`/queue?question=${encodeURIComponent(main.question)}&names=${names()}`));
    take(answers.map((each) => ({ ...each, question: main.question, title: each.label })));
  } else {
    const { questions } = await call("GET", at_api(""));
    // Others may have questions that this answer has not, such as until all are graded with a new source.
    const missing = (error) => (error.status === 404 ? error : Promise.reject(error));
    const states = await Promise.all(questions.map((each) => fetch_state({ id: main.answer, question: each.address }).catch(missing)));
    if (states.length && states.every((each) => each instanceof Error)) throw states[0];
    take(questions.flatMap((each, at) => (states[at] instanceof Error ? [] : { id: main.answer, question: each.address, title: each.title, share: "", ...summary(states[at]) })));
  }
  asked = Date.now();
  show();
}

// The answer that is shown stays the one that is marked, wherever it is among the others now.
function take(fresh) {
  const shown = here();
  places = fresh;
  if (!shown) return;
  current = index_of_key(outbox.key_of(shown.id, shown.question));
  if (current < 0) current = places.push(shown) - 1;
}

const summary = (found) => ({
  open: found.open, look_again: found.look_again, own: found.own,
  points: found.mark ? found.mark.points : (found.auto?.points ?? null),
});

// Asks how far the others are, if that was long ago, or at once.
export async function load_again({ now = false } = {}) {
  if (!by_question || (!now && Date.now() - asked < FRESH_MS)) return;
  await load().catch(() => null);
}

// Asks which answers are equal, if that was long ago; true if it is another answer than before.
export async function ask_groups() {
  if (!by_question || Date.now() - asked_groups < FRESH_MS) return false;
  asked_groups = Date.now();
  const found = await call("GET", at_api(`/groups?question=${encodeURIComponent(main.question)}`)).catch(() => null);
  const before = groups;
  groups = JSON.stringify(found?.groups ?? JSON.parse(groups));
  return groups !== before;
}

export function select(index) {
  current = index;
  of("jump").value = current;
}

export function update(wanted, values) {
  const found = places[index_of_key(wanted)];
  if (!found) return;
  Object.assign(found, values);
  show();
}

function show() {
  of("jump").replaceChildren(...places.map((each, at) => make("option", { value: at }, describe(each, at))));
  of("jump").value = current;
  const marked = places.filter((each) => !waits(each)).length;
  of("meter").max = places.length || 1;
  of("meter").value = marked;
  of("count").textContent = word("count", marked, places.length);
  of("nothing").hidden = places.length > 0;
  of("ways").hidden = !places.length;
}

function describe(each, at) {
  const title = by_question ? `${at + 1}. ${each.title}` : each.title;
  const points = each.look_again ? word("look") : each.open ? word("unmarked") : each.points === null ? "" : word("marked", number_text(each.points));
  return [title, points, of_others(each) ? word("others", each.share) : ""].filter(Boolean).join(" · ");
}

// The next answer that waits: of the marker's own share first, then any; -1 if there is none.
export function next_waiting(from) {
  const after = places.map((_, at) => (from + 1 + at) % places.length).filter((at) => at !== from);
  const waiting = after.filter((at) => waits_here(places[at]) && !outbox.entry_of(outbox.key_of(places[at].id, places[at].question)));
  return waiting.find((at) => !of_others(places[at])) ?? waiting[0] ?? -1;
}
