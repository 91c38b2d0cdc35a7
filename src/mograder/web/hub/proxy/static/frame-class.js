// Help and messages, in the bar above a notebook. What the hub sends is shown as text.

import { styled } from "./frame-part.js";
import { reason, word } from "./words.js";

const bar = document.getElementById("bar"), at = document.body.dataset, button = document.getElementById("ask");
const KEY = `mograder-dismissed:${at.standing.split("?")[0]}`; // others may use this browser, or be below this host
const MOST_KEPT = 50;

styled("frame-class.css");

const make = (tag, given = {}, ...inside) => {
  const made = Object.assign(document.createElement(tag), given);
  made.append(...inside);
  return made;
};

// ---- the request for help

const line = make("p", { className: "class-line" });
const told = make("span", { role: "status" });
const stop = make("button", { type: "button" });
line.append(told, stop);

function tell_help(help, order) {
  if (!at.help) return;
  if (button) button.hidden = Boolean(help);
  if (!help) return line.remove();
  form.remove();
  const about = help.label ? word("about", help.label) : "";
  const words = help.state === "waiting" ? word("waiting", about) : word(help.state, help.helper, about);
  if (!line.isConnected) bar.append(line);
  if (told.textContent !== words) told.textContent = words;
  stop.textContent = word(help.state === "together" ? "end" : "withdraw");
  if (help.shared) order("together");
}

async function send(method, body) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  const answer = await fetch(at.help, { method, headers, body: body && JSON.stringify(body) }).catch(() => null);
  if (!answer) throw new Error(word("unreachable"));
  if (!answer.ok) throw new Error(await reason(answer));
  return answer.json();
}

stop.addEventListener("click", async () => {
  try {
    await send("DELETE");
    line.remove();
    if (button) {
      button.hidden = false;
      button.focus();
    }
  } catch (error) {
    told.textContent = word("unasked", "", error.message);
  }
});

// ---- the form

const what = make("select", { id: "help-what" });
const more = make("input", { id: "help-more", autocomplete: "off" });
const form = make(
  "form",
  { id: "help-form" },
  make("label", { htmlFor: "help-what" }, at.help ? word("what") : "", what),
  make("label", { htmlFor: "help-more" }, at.help ? word("more") : "", more),
  make("button", { textContent: at.help ? word("send") : "" }),
  make("button", { type: "button", textContent: at.help ? word("cancel") : "", onclick: () => close_form() }),
);
const problem = make("p", { role: "alert" });
let look_again = () => {};

export async function open_form(ask) {
  look_again = ask;
  if (form.isConnected) return close_form();
  try {
    const { labels, most } = await send("GET");
    what.replaceChildren(...labels.map((label) => new Option(label)), new Option(word("nothing"), ""));
    more.maxLength = most;
    problem.remove();
  } catch (error) {
    problem.textContent = word("unasked", "", error.message);
    return bar.append(problem);
  }
  bar.append(form);
  button.ariaExpanded = "true";
  what.focus();
}

function close_form() {
  form.remove();
  problem.remove();
  button.ariaExpanded = "false";
  button.focus();
}

form.addEventListener("keydown", (event) => event.key === "Escape" && close_form());
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { asked } = await send("POST", { label: what.value, text: more.value });
    more.value = "";
    close_form();
    tell_help(asked, () => {});
    stop.focus();
    look_again();
  } catch (error) {
    problem.textContent = word("unasked", "", error.message);
    form.append(problem);
  }
});

// ---- messages

const shown = new Map();

function dismissed() {
  try {
    return new Set(JSON.parse(localStorage.getItem(KEY) ?? "[]"));
  } catch {
    return new Set();
  }
}

function dismiss(id) {
  const kept = [...dismissed(), id].slice(-MOST_KEPT);
  remove(id); // first: what is stored may be full
  localStorage.setItem(KEY, JSON.stringify(kept));
}

function remove(id) {
  const { place, timer } = shown.get(id);
  clearTimeout(timer);
  place.remove();
  shown.delete(id);
}

// A course that begins anew counts its messages from 1 again.
const id_of = ({ number, sent }) => `${number} ${sent}`;

function tell_messages(messages) {
  const away = dismissed(), now = new Set(messages.map(id_of));
  for (const id of [...shown.keys()]) if (!now.has(id)) remove(id);
  for (const message of messages) {
    const { text, sender, seconds, alone } = message, id = id_of(message);
    if (shown.has(id) || away.has(id)) continue;
    const words = make("span", { role: "status" });
    const place = make("p", { className: "class-line" }, words, make("button", { type: "button", textContent: word("dismiss"), onclick: () => dismiss(id) }));
    bar.append(place);
    // Only now: a status speaks of what changes in it.
    words.append(make("strong", { textContent: word("message", sender, alone ? word("alone") : "") }), ` ${text}`);
    shown.set(id, { place, timer: setTimeout(remove, seconds * 1000, id) });
  }
}

export function tell({ help = null, messages = [] }, order) {
  tell_help(help, order);
  tell_messages(messages);
}
