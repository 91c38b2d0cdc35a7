// A page that stays true while it is open: the hub tells which parts have changed, nothing polls.

import { listen, spread } from "./stream.js";
import { ask_here, tell_times } from "./times.js";

const SOON_MS = 200;

let due = 0, asked = 0;

export function keep_true(address) {
  listen(address, soon, refresh);
}

function soon(parts) {
  if (due) return;
  due = setTimeout(refresh, spread(parts) || SOON_MS);
}

// Takes the live parts from a fresh copy of this very page, where they differ. What a script has filled
// in or told below a form stays, as does what was opened, and a button whose press is at work; a form that
// somebody is at, or that is at work (work.js), is left alone, and the focus stays where it was.
export async function refresh() {
  clearTimeout(due);
  due = 0;
  const mine = ++asked;
  const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } }).catch(() => null);
  const typing = document.activeElement?.closest("form") || document.querySelector("details[open] form");
  const ours = answer?.headers.has("x-request-id"); // a front that answers in the hub's place tells nothing
  const out = answer?.redirected || (ours && answer.status === 403); // signed out, or off the list
  if (out && !typing) return location.reload(); // to the page that says so
  if (out || !answer?.ok) return;
  const text = await answer.text();
  if (mine !== asked) return; // the page was asked for again: this answer is older, however late it comes
  const fresh = new DOMParser().parseFromString(text, "text/html");
  if (ours && document.querySelector("main").dataset.events && !fresh.querySelector("main[data-events]")) {
    if (!typing) location.reload(); // a reader who is signed out gets another page at this address
    return;
  }
  tell_times(fresh);
  ask_here(fresh);
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (!other) continue;
    if (part.matches(":active")) soon(); // a click on what is replaced before it is let go does nothing
    else replace(part, other);
  }
}

export const form_to = (root, action) => [...root.querySelectorAll("form")].find((each) => each.getAttribute("action") === action);

export function replace(part, other) {
  for (const filled of part.querySelectorAll("[data-filled]")) {
    other.querySelector(`#${CSS.escape(filled.id)}`)?.replaceWith(filled.cloneNode(true));
  }
  part.hidden = other.hidden;
  const folds = [...part.querySelectorAll("details")], fresh = [...other.querySelectorAll("details")];
  const typing = folds.some((each) => each.open && each.querySelector("form"));
  if (typing || part.querySelector("form[data-work] [aria-disabled=true]")) return;
  for (const each of folds) {
    const at = fresh.findIndex((one) => one.firstElementChild.textContent === each.firstElementChild.textContent);
    if (at >= 0) fresh.splice(at, 1)[0].open = each.open;
  }
  for (const { form } of part.querySelectorAll("form [aria-disabled=true]")) {
    form_to(other, form.getAttribute("action"))?.querySelector("button").setAttribute("aria-disabled", "true");
  }
  for (const line of part.querySelectorAll("[data-of]")) {
    const form = form_to(other, line.dataset.of);
    (form?.closest(".buttons, .acts") ?? form)?.after(line);
  }
  if (other.innerHTML === part.innerHTML) return;
  const at = document.activeElement;
  if (!part.contains(at) || at === part) return part.replaceChildren(...other.childNodes);
  const name = (each) => each.getAttribute("href") ?? each.textContent;
  const alike = () => [...part.querySelectorAll("a[href], button, summary")].filter((each) => name(each) === name(at));
  const place = alike().indexOf(at);
  part.replaceChildren(...other.childNodes);
  (alike()[place] ?? part).focus({ preventScroll: true });
}
