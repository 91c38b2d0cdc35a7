// A page that stays true while it is open: the hub tells which parts have changed, nothing polls.

import { listen, spread } from "./stream.js";
import { tell_times } from "./times.js";

const SOON_MS = 200;

let due = 0, asked = 0;

export function keep_true(address) {
  listen(address, soon, refresh);
}

function soon(parts) {
  if (due) return;
  due = setTimeout(refresh, spread(parts) || SOON_MS);
}

// Takes the live parts from a fresh copy of this very page, where they differ. What a script has
// filled in stays, a form that somebody is at is left alone, and the focus stays where it was.
export async function refresh() {
  clearTimeout(due);
  due = 0;
  const mine = ++asked;
  const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const text = await answer.text();
  if (mine !== asked) return; // the page was asked for again: this answer is older, however late it comes
  const fresh = new DOMParser().parseFromString(text, "text/html");
  tell_times(fresh);
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other) replace(part, other);
  }
}

export function replace(part, other) {
  for (const filled of part.querySelectorAll("[data-filled]")) {
    other.querySelector(`#${CSS.escape(filled.id)}`)?.replaceWith(filled.cloneNode(true));
  }
  part.hidden = other.hidden;
  const busy = [...part.querySelectorAll("details[open]")].some((each) => each.querySelector("form"));
  if (busy || other.innerHTML === part.innerHTML) return;
  const name = (each) => each.getAttribute("href") ?? each.textContent;
  const focused = part.contains(document.activeElement) && document.activeElement !== part ? name(document.activeElement) : null;
  part.replaceChildren(...other.childNodes);
  if (focused === null) return;
  const again = [...part.querySelectorAll("a[href], button")].find((each) => name(each) === focused);
  (again ?? part).focus({ preventScroll: true });
}
