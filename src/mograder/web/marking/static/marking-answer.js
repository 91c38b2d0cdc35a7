// The answer, with the comments at its lines; the outputs; the automatic part with its reasons.

import { make, markup, moment, number_text, of } from "./marking-dom.js";
import { word } from "./words.js";

const main = document.querySelector("main").dataset;
const TOKENS = /("""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(#.*)|\b(and|as|assert|async|await|break|class|continue|def|del|elif|else|except|False|finally|for|from|global|if|import|in|is|lambda|None|nonlocal|not|or|pass|raise|return|True|try|while|with|yield)\b|\b(\d[\w.]*)/g;
const COLOURS = ["", "s", "c", "k", "m"];
const LONGEST = 40000; // characters of a cell that are coloured

let annotate = () => {};
export const on_annotate = (handler) => (annotate = handler);

export function show_answer(state) {
  const cells = (own) => state.cells.filter((each) => each.own === own).map((cell) => cell_of(cell, state.annotations));
  const others = cells(false);
  of("cells").replaceChildren(...cells(true), ...(state.text ? [make("pre", { tabindex: "0", role: "region", "aria-label": state.label }, state.text)] : []));
  of("other-cells").replaceChildren(...others);
  of("other-count").textContent = others.length;
  of("others").hidden = others.length === 0;
  of("others").open = false;
  of("no-cells").hidden = of("cells").childElementCount > 0;
  show_outputs(state);
  show_automatic(state);
  of("task-line").hidden = !state.task;
  of("task").replaceChildren(markup(state.task));
  const scale = of("scale-line");
  scale.hidden = !state.scale;
  of("scale").replaceChildren(markup(state.scale));
  of("solution-line").hidden = state.solution.length === 0;
  of("solution").replaceChildren(...state.solution.map((cell) => (cell.html ? markup(cell.html, "div", "text written") : code_of(cell))));
}

export function show_annotations(state) {
  const focused = document.activeElement?.dataset?.note;
  for (const each of state.cells) {
    const before = of(`cell-${each.index}`), after = cell_of(each, state.annotations);
    if (before?.querySelector(".folded")?.open) after.querySelector(".folded").open = true;
    before?.replaceWith(after);
  }
  if (focused) document.querySelector(`[data-note="${CSS.escape(focused)}"]`)?.focus();
}

// ---- cells

function cell_of(cell, annotations) {
  const title = cell.name && cell.name !== "_" ? word("named", cell.index + 1, cell.name) : word("cell", cell.index + 1);
  const here = annotations.filter((each) => each.cell === cell.index);
  const placed = here.filter((each) => each.last_line !== null);
  const comment = make("button", { type: "button", class: "act small", onclick: () => annotate({ cell }) }, word("commentcell"), make("span", { class: "unseen" }, ` (${title})`));
  return make(
    "div", { class: "cell", id: `cell-${cell.index}`, role: "group", "aria-label": title },
    make("div", { class: "cell-head small soft" }, make("span", {}, title), comment),
    ...(cell.html ? [markup(cell.html, "div", "text written"), folded(cell, placed)] : [code_of(cell, placed)]),
    ...here.filter((each) => each.last_line === null).map((each) => note_of(each, cell)),
  );
}

// The source of a written answer; it is open where there are comments at its lines.
const folded = (cell, placed) => make("details", { class: "folded", open: placed.length > 0 }, make("summary", { class: "small soft" }, word("source"), make("span", { class: "unseen" }, ` (${word("cell", cell.index + 1)})`)), code_of(cell, placed));

// Code with numbered lines. With `notes` (a list) each number is a button that comments at its line;
// one of them is in the order of the Tab key, and the arrow keys lead to the others.
function code_of(cell, notes = null) {
  const list = make("div", { class: `code ${cell.kind}` });
  lines_of(cell.code, cell.kind === "code").forEach((line, at) => {
    const number = at + 1;
    const text = make("code", {}, ...line);
    list.append(make("div", { class: "code-line", "data-line": number }, notes ? number_button(cell, number, text, at === 0) : make("span", { class: "number", "aria-hidden": "true" }, String(number)), text));
    for (const note of notes ?? []) if (note.last_line === number) list.append(note_of(note, cell));
  });
  for (const note of notes ?? []) mark_lines(list, note.first_line, note.last_line, "noted");
  for (const note of notes ?? []) if (note.last_line > list.querySelectorAll(".code-line").length) list.append(note_of(note, cell));
  if (!notes) return list;
  list.addEventListener("keydown", (event) => move(event, list, cell));
  list.addEventListener("mouseup", (event) => event.shiftKey || choose_dragged(list));
  return list;
}

function number_button(cell, number, text, first) {
  return make("button", {
    type: "button", class: "number", tabindex: first ? "0" : "-1", "data-note": `${cell.index}:${number}`,
    "aria-label": word("line", number, text.textContent.trim() || word("emptyline")),
    onclick: (event) => {
      const list = event.currentTarget.closest(".code");
      if (event.shiftKey) return select(list, Number(list.dataset.from ?? number), number);
      const [from, to] = chosen(list) ?? [number, number];
      annotate(number >= from && number <= to ? { cell, from, to } : { cell, from: number, to: number });
    },
  }, String(number));
}

function move(event, list, cell) {
  const at = Number(event.target.closest?.(".number")?.parentElement.dataset.line);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!at || !step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  const line = list.querySelector(`[data-line="${at + step}"]`);
  if (!line) return neighbour(cell, step);
  if (event.shiftKey) select(list, Number(list.dataset.from ?? at), at + step);
  else select(list, null);
  focus_number(line);
}

function focus_number(line) {
  for (const each of line.parentElement.querySelectorAll("button.number")) each.tabIndex = -1;
  const button = line.querySelector(".number");
  button.tabIndex = 0;
  button.focus();
}

function neighbour(cell, step) {
  const cells = [...document.querySelectorAll(".cell")];
  const other = cells[cells.indexOf(of(`cell-${cell.index}`)) + step];
  const lines = other ? [...other.querySelectorAll(".code-line")] : [];
  const line = step > 0 ? lines[0] : lines.at(-1);
  if (line) focus_number(line);
}

// Marks lines from an anchor to another line as chosen; null takes the choice back.
function select(list, from, to = from) {
  for (const each of list.querySelectorAll(".chosen")) each.classList.remove("chosen");
  if (from === null) {
    delete list.dataset.from;
    delete list.dataset.to;
    return;
  }
  Object.assign(list.dataset, { from, to });
  mark_lines(list, Math.min(from, to), Math.max(from, to), "chosen");
}

function mark_lines(list, first, last, style) {
  for (const line of list.querySelectorAll(".code-line")) {
    if (line.dataset.line >= first && Number(line.dataset.line) <= last) line.classList.add(style);
  }
}

function chosen(list) {
  if (list.dataset.from === undefined) return null;
  const ends = [Number(list.dataset.from), Number(list.dataset.to)];
  return [Math.min(...ends), Math.max(...ends)];
}

// Text chosen with the mouse chooses its lines.
function choose_dragged(list) {
  const range = getSelection();
  if (!range || range.isCollapsed) return;
  const line = (node) => Number((node.nodeType === 1 ? node : node.parentElement)?.closest(".code-line")?.dataset.line);
  const [from, to] = [line(range.anchorNode), line(range.focusNode)];
  if (from && to && list.contains(range.anchorNode) && list.contains(range.focusNode)) select(list, from, to);
}

// The lines that are chosen or in focus, for a comment; the first cell if there are none.
export function place_in_focus(state) {
  const focused = document.activeElement?.closest?.(".cell");
  for (const cell of state.cells) {
    const shown = of(`cell-${cell.index}`);
    const lines = chosen(shown.querySelector(".code"));
    if (lines) return { cell, from: lines[0], to: lines[1] };
    if (shown !== focused) continue;
    const line = Number(document.activeElement.closest(".code-line")?.dataset.line);
    return line ? { cell, from: line, to: line } : { cell };
  }
  const first = state.cells.find((each) => each.own) ?? state.cells[0];
  return first ? { cell: first } : null;
}

export function focus_lines() {
  for (const each of document.querySelectorAll("#cells .folded")) each.open = true;
  document.querySelector("#cells button.number[tabindex='0']")?.focus();
}

function note_of(note, cell) {
  const lines = note.last_line === null ? "" : note.first_line === note.last_line ? word("lineof", note.first_line) : word("linesof", `${note.first_line}–${note.last_line}`);
  return make(
    "div", { class: "margin-note", role: "note" },
    markup(note.html),
    make("p", { class: "small soft" }, [lines, note.by, moment(note.at), note.outdated ? word("outdated") : ""].filter(Boolean).join(" · "), " ",
      make("button", { type: "button", class: "act small", "data-note": note.id, onclick: () => annotate({ cell, note }) }, word("edit"), make("span", { class: "unseen" }, ` (${lines || word("cell", cell.index + 1)})`))),
  );
}

// The lines of a text, each a list of texts and coloured spans.
function lines_of(code, coloured) {
  const lines = [[]];
  const put = (text, style) => text.split("\n").forEach((part, at) => {
    if (at) lines.push([]);
    if (part) lines.at(-1).push(style ? make("span", { class: style }, part) : part);
  });
  let last = 0;
  if (coloured && code.length <= LONGEST) {
    for (const found of code.matchAll(TOKENS)) {
      put(code.slice(last, found.index), "");
      put(found[0], COLOURS[found.findIndex((group, at) => at && group !== undefined)]);
      last = found.index + found[0].length;
    }
  }
  put(code.slice(last), "");
  return lines;
}

// ---- outputs and the automatic part

function show_outputs(state) {
  of("outputs").hidden = !state.outputs;
  const own = state.cells.find((each) => each.own); // the page shows the whole notebook, from there
  const frame = of("frame"), shown = `${state.run} ${state.outputs}`, address = state.outputs ? `${main.home.slice(0, -1)}${state.outputs}#cell-${(own?.index ?? 0) + 1}` : "about:blank";
  if (frame.dataset.shown === shown) return;
  frame.dataset.shown = shown;
  // The frame is made anew: another address in the same one would be a step in the browser's history.
  const fresh = frame.cloneNode();
  if (state.outputs) fresh.src = address;
  frame.replaceWith(fresh);
  fresh.addEventListener("mouseleave", () => {
    if (document.activeElement === fresh) of("place").focus({ preventScroll: true });
  });
}

function show_automatic({ auto, available }) {
  of("auto").hidden = !auto;
  if (!auto) return of("auto-why").replaceChildren();
  const points = auto.points === null ? "" : `${word("earned", number_text(auto.points), number_text(available))} · `;
  of("auto-points").textContent = points + auto.state;
  of("auto-why").replaceChildren(
    ...(auto.reason ? [make("p", { class: "soft" }, auto.reason)] : []),
    make("ul", { class: "findings" }, ...auto.labels.map(label_of)),
  );
}

function label_of(label) {
  const style = label.passed ? "ok" : label.earned > 0 ? "part" : "bad";
  const hidden = label.hidden ? make("span", { class: "tag" }, word("hidden")) : null;
  return make(
    "li", { class: style },
    make("strong", {}, label.label), make("span", { class: "word" }, word("earned", number_text(label.earned), number_text(label.total))), hidden,
    label.reason ? make("p", { class: "small" }, label.reason) : null,
    label.conditions.length ? make("ul", { class: "why" }, ...label.conditions.map((each) => make("li", {}, `${word(each.passed ? "passed" : "failed")}: ${each.message}${each.reason ? ` (${each.reason})` : ""}`))) : null,
  );
}
