// Handing in from the bar: what is missing is said first, beside the notebook, in one step.

import { styled } from "./frame-part.js";
import { ask } from "./progress.js";
import { reason, word } from "./words.js";

styled("frame-panel.css");

function element(tag, text, act) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (act) made.addEventListener("click", act);
  return made;
}

// Returns the address to hand in at, or null if the student rather does not.
export async function hand_in(button, panel, say, open) {
  const where = await decide(button.dataset, panel, () => {
    say("");
    open();
  });
  if (where) say(button.dataset.doing);
  return where;
}

async function decide({ check, action }, panel, opened) {
  const answer = await ask(check, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (!answer.ok) throw new Error(await reason(answer));
  const { words, late, closed } = await answer.json();
  if (closed) throw new Error(closed);
  if (!words.length) return action;
  return new Promise((done) => {
    const list = document.createElement("ul");
    for (const each of words) list.append(element("li", each));
    const acts = document.createElement("p");
    const close = panel.querySelector("#close");
    const leave = (where) => () => {
      done(where);
      close.click(); // takes the focus back to the bar
    };
    const now = element("button", word("handInNow"), leave(late ? `${action}?late=replace` : action));
    now.className = "main";
    acts.append(now, element("button", word("handInLater"), leave(null)));
    acts.className = "choices";
    panel.lastElementChild.replaceChildren(element("h2", word("handIn")), list, acts);
    close.addEventListener("click", () => done(null), { once: true });
    opened();
  });
}
