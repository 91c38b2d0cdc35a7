// The dialogs: an item of the rubric, all of them, a comment at lines, the history of a mark.

import { Away, at_api, at_comments, at_question, call } from "./marking-api.js";
import { announce, make, markup, moment, number_in, number_text, of } from "./marking-dom.js";
import { current_rubric } from "./marking-form.js";
import { tell_trouble } from "./marking-trouble.js";
import { word } from "./words.js";

const ASK_MS = 250, AGAIN_MS = 3000, MOST = 6;
const KEPT = `mograder-marking-note:${document.querySelector("main").dataset.marker}:${location.pathname}`;

let page = null; // what the page lets the dialogs do: place(), key(), state(), rubric_changed(), …

export const open_dialogs = (acts) => (page = acts);

function told(field, error) {
  of(field).textContent = error ? error.message : "";
  of(field).hidden = !error;
}

// What fails after its dialog was closed is told on the page, with its text, until something else is saved.
const tell_lost = (why, text) => tell_trouble("lost", [why, text && word("wrote", "", text)].filter(Boolean).join(" "));

// Ctrl+Enter saves in a dialog, too.
for (const form of document.querySelectorAll("dialog form.stacked")) {
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

// ---- an item of the rubric, or a saved comment

let item = null, due = 0;
let busy = false; // a change is on its way: a second click does not send it again

export function show_item(comment, text = "") {
  item = comment;
  of("item-title").textContent = word(comment ? "edititem" : "newitem");
  of("item-text").value = comment?.text ?? text;
  of("item-points").value = number_text(comment?.points);
  of("item-remove").hidden = !comment;
  of("item-effect").textContent = "";
  told("item-trouble", null);
  of("item").showModal();
  of("item-text").focus();
}

of("item-points").addEventListener("input", () => {
  clearTimeout(due);
  if (item) due = setTimeout(foresee, ASK_MS);
});

// Tells whose marks another number of points changes, before anything changes.
async function foresee() {
  const points = number_in(of("item-points"));
  if (Number.isNaN(points)) return;
  const asked = item, query = points === null ? "" : `?points=${points}`;
  const found = await call("GET", `${at_comments(page.place().question)}/${item.id}${query}`).catch(() => null);
  if (!found || item !== asked) return;
  const each = found.changes.slice(0, MOST).map((one) => `${one.label}: ${number_text(one.before) || "–"} → ${number_text(one.after) || "–"}`);
  const count = found.changes.length;
  const text = count === 0 ? word("effectnone") : count === 1 ? word("effectone") : word("effect", count);
  of("item-effect").textContent = [text, each.join(", ") + (count > MOST ? ", …" : "")].join(" ");
}

of("item-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const points = number_in(of("item-points")), text = of("item-text").value.trim();
  if (!text) return told("item-trouble", new Error(word("textless")));
  if (Number.isNaN(points)) return told("item-trouble", new Error(word("number", of("item-points").value)));
  const place = page.key();
  await changing(async (address) => {
    if (!item) return page.rubric_changed(await call("POST", address, { text, points }), place);
    const { position, version } = item;
    return page.rubric_changed(await call("PUT", `${address}/${item.id}`, { text, points, position, version }));
  });
});

of("item-remove").addEventListener("click", () => changing(async (address) => page.rubric_changed(await call("DELETE", `${address}/${item.id}?version=${item.version}`))));
of("item-cancel").addEventListener("click", () => of("item").close());
of("item").addEventListener("close", () => (item = null));

async function changing(act) {
  if (busy) return;
  busy = true;
  told("item-trouble", null);
  try {
    await act(at_comments(page.place().question));
    of("item").close();
    tell_lost("", "");
    if (of("revise").open) show_revise();
  } catch (error) {
    if (!of("item").open) return tell_lost(error.message, of("item-text").value);
    const now = error.status === 409 ? error.body?.now : null;
    if (now) item = now;
    told("item-trouble", now ? new Error(`${error.message} ${word("itemnow", now.text, number_text(now.points) || "–")}`) : error);
    if (error.status) await page.read_rubric();
  } finally {
    busy = false;
  }
}

// ---- all of them

export function show_revise() {
  const { starts_at, comments } = current_rubric();
  for (const each of document.querySelectorAll("[name=starts]")) each.checked = each.value === starts_at;
  told("revise-trouble", null);
  of("revise-items").replaceChildren(...comments.map((each, at) => make(
    "li", {},
    markup(each.html, "span", "text"), make("span", { class: "worth" }, number_text(each.points)),
    at ? make("button", { type: "button", class: "act small", onclick: () => swap(each, comments[at - 1]) }, "↑", make("span", { class: "unseen" }, ` ${each.text}`)) : null,
    make("button", { type: "button", class: "act small", onclick: () => show_item(each) }, word("edit"), make("span", { class: "unseen" }, ` ${each.text}`)),
  )));
  if (!of("revise").open) of("revise").showModal();
}

of("revise-new").addEventListener("click", () => show_item(null));
for (const each of document.querySelectorAll("[name=starts]")) {
  each.addEventListener("change", () => revising(async () => call("PUT", at_api(`/questions/${encodeURIComponent(page.place().question)}/rubric`), { starts_at: each.value })));
}

const swap = (one, other) => revising(async () => {
  const address = at_comments(page.place().question);
  const put = ({ id, text, points, version }, position) => call("PUT", `${address}/${id}`, { text, points, position, version });
  const places = one.position === other.position ? [other.position, other.position + 1] : [other.position, one.position];
  await put(one, places[0]);
  return put(other, places[1]);
});

async function revising(act) {
  try {
    await page.rubric_changed(await act());
    if (of("revise").open) show_revise();
  } catch (error) {
    if (error.status) await page.read_rubric(); // another marker has changed it
    if (!of("revise").open) return tell_lost(error.message, "");
    show_revise();
    told("revise-trouble", error);
  }
}

// ---- a comment at a cell, or at lines of it

let noted = null, again = 0;

// `where`: the cell, and `from` and `to` or an annotation that is there (`note`).
export function show_note({ cell, from = null, to = null, note = null }, text = "") {
  const first = note ? note.first_line : from, last = note ? note.last_line : to;
  noted = { cell, note: note && { ...note }, place: page.place(), submission: page.state().submission };
  of("note-first").value = first ?? "";
  of("note-last").value = last ?? "";
  for (const field of ["note-first", "note-last"]) of(field).max = cell.lines;
  of("note-text").value = text || (note?.text ?? "");
  of("note-remove").hidden = !note;
  name_note();
  told("note-trouble", null);
  hold_note(false);
  of("note").showModal();
  of("note-text").focus();
}

function name_note() {
  const number = noted.cell.index + 1, [first, last] = lines();
  of("note-title").textContent = !first ? word("wholecell", number) : first === last ? word("atline", number, first) : word("atlines", number, `${first}–${last}`);
}

function lines() {
  const first = Number(of("note-first").value) || null;
  return [first, first && (Number(of("note-last").value) || first)];
}

for (const field of ["note-first", "note-last"]) of(field).addEventListener("input", name_note);
of("note-text").addEventListener("input", keep_note);

function keep_note() {
  const [from, to] = lines();
  const { cell, note, place } = noted;
  try {
    localStorage.setItem(KEPT, JSON.stringify({ id: place.id, question: place.question, cell: cell.index, from, to, note: note?.id ?? null, text: of("note-text").value }));
  } catch { /* then it lives as long as the dialog */ }
}

function forget_note() {
  try { localStorage.removeItem(KEPT); } catch { /* there is none */ }
}

// A comment at lines that was not saved when the page was left.
export function kept_note() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT));
    return kept?.text ? kept : null;
  } catch { return null; }
}

of("note-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [first, last] = lines(), text = of("note-text").value.trim();
  if (!text) return told("note-trouble", new Error(word("textless")));
  if (first && (last < first || last > noted.cell.lines)) return told("note-trouble", new Error(word("linesbad")));
  const { cell, note, place, submission } = noted;
  const body = { question: page.state().question, cell: cell.index, first_line: first, last_line: last, text };
  keep_note();
  await noting(() => (note ? call("PUT", `${at_notes(place)}/${note.id}`, { ...body, saved_comment: note.saved_comment, version: note.version }) : call("POST", at_notes(place), { ...body, submission })), (each) => each.cell === body.cell && each.first_line === first && each.last_line === last && each.text === text, text);
});

of("note-remove").addEventListener("click", () => noting(() => call("DELETE", `${at_notes(noted.place)}/${noted.note.id}?version=${noted.note.version}`), null));
of("note-cancel").addEventListener("click", () => of("note").close());
of("note").addEventListener("close", () => {
  clearTimeout(again);
  forget_note();
  if (noted.stale) page.reload();
});

// While a comment is on its way, also again and again: what is sent is what stands there.
function hold_note(on) {
  for (const field of ["note-first", "note-last", "note-text"]) of(field).readOnly = on;
}

const at_notes = ({ id }) => at_api(`/answers/${id}/annotations`);

// A request whose answer was lost may have been carried out: `there` finds what it left.
async function noting(act, there, text = "") {
  if (busy) return;
  const mine = noted; // another may be written meanwhile, after this dialog was closed
  busy = true;
  clearTimeout(again);
  hold_note(true);
  try {
    await act();
  } catch (error) {
    const away = error instanceof Away, now = error.body?.now;
    const why = [word("noannotation", "", error.message), now ? word("notenow", now.text) : ""].join(" ").trim();
    const shown = noted === mine && of("note").open;
    if (!shown && noted === mine) keep_note(); // it is offered with the answer, the next time
    if (!shown) return tell_lost(why, text);
    if (now && mine.note) mine.note.version = now.version; // it is told, and another press replaces it
    hold_note(away);
    told("note-trouble", new Error(away ? word("kept", "", why) : why));
    mine.stale = !away;
    if (!away) return;
    again = setTimeout(async () => {
      const state = await page.reload().catch(() => null);
      if (!of("note").open || noted !== mine) return;
      if (there && state?.annotations.some(there)) of("note").close();
      else noting(act, there, text);
    }, AGAIN_MS);
    return;
  } finally {
    busy = false;
  }
  if (noted === mine) of("note").close();
  tell_lost("", "");
  await page.reload();
  announce(word("saved"));
}

// As on the page, Escape leaves a field first: it does not throw away what was written.
for (const [name, before] of [["item", () => item], ["note", () => noted.note]]) {
  of(name).addEventListener("cancel", (event) => {
    const same = of(`${name}-text`).value === (before()?.text ?? "");
    if (busy || same || !document.activeElement.matches("input, textarea")) return;
    event.preventDefault();
    of(`${name}-cancel`).focus();
  });
}

// ---- the history of a mark

export async function show_history() {
  const { id, question } = page.place(), asked = page.key(), at = document.activeElement;
  const { entries } = await call("GET", `${at_question(id, question)}/history`);
  if (asked !== page.key() || at !== document.activeElement) return; // it would open over what is begun since
  of("changes").replaceChildren(...entries.map((each) => make(
    "li", {},
    make("strong", {}, each.points !== null ? word("marked", number_text(each.points)) : word(each.marker ? "cleared" : "forpeople")),
    make("span", { class: "soft small" }, ` ${[each.marker || each.state, each.again ? word("again") : "", each.restored ? word("restored") : "", moment(each.at)].filter(Boolean).join(", ")}`),
    each.comment ? make("p", { class: "plain" }, each.comment) : null,
    each.reason ? make("p", { class: "plain soft" }, each.reason) : null,
  )));
  if (!entries.length) of("changes").append(make("li", { class: "soft" }, word("nohistory")));
  of("history").showModal();
}
