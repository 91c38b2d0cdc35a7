// Handing in from the bar: what is missing is said first, beside the notebook, in one step.

import { styled } from "./frame-part.js";
import { word } from "./words.js";

const HEAR_MS = 1500, SAVE_MS = 2000; // marimo saves a second after the last key

styled("frame-panel.css");

function element(tag, text, act) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (act) made.addEventListener("click", act);
  return made;
}

// Returns whether the notebook was handed in: at once where nothing is missing, else if the student says so.
export async function hand_in(button, panel, { post, say, open_panel, take_over, is_unsaved }) {
  const { doing, submit } = button.dataset;
  const all_the_same = async (words) => {
    say("");
    const sure = await is_sure(words, panel, open_panel);
    if (sure) say(doing);
    return sure;
  };
  await take_over(HEAR_MS);
  for (let left = SAVE_MS / 100; is_unsaved() && left; left--) await new Promise((done) => setTimeout(done, 100));
  if (is_unsaved() && !(await all_the_same([word("typed")]))) return false;
  const { words, late, closed } = await (await post(button)).json();
  if (closed) throw new Error(closed);
  if (!words) return true;
  if (!(await all_the_same(words))) return false;
  await post(button, undefined, late ? `${submit}?late=replace` : submit);
  return true;
}

function is_sure(words, panel, open) {
  return new Promise((done) => {
    const list = document.createElement("ul");
    for (const each of words) list.append(element("li", each));
    const acts = document.createElement("p");
    const close = panel.querySelector("#close");
    const leave = (sure) => () => {
      done(sure);
      close.click(); // takes the focus back to the bar
    };
    const now = element("button", word("handInNow"), leave(true));
    now.className = "main";
    acts.append(now, element("button", word("handInLater"), leave(false)));
    acts.className = "choices";
    panel.lastElementChild.replaceChildren(element("h2", word("handIn")), list, acts);
    close.addEventListener("click", () => done(false), { once: true });
    open();
  });
}
