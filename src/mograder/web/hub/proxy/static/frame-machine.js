// Says in the bar that the notebook's machine will be shut down, with a button that moves the notebook.

import { styled } from "./frame-part.js";
import { reason, word } from "./words.js";

const STEPS = [120, 60, 45, 30, 20, 15, 10, 5, 2, 1]; // minutes: a new number is spoken, so not each of them
const CHECK_MS = 5000;

styled("frame-machine.css");

const stop = document.getElementById("stop"), again = document.querySelector("#ended a");
const mine = document.querySelector("#bar .tag") === null; // another person's notebook is moved by that person
const place = document.createElement("p"), text = document.createElement("span"), move = document.createElement("button");
place.id = "machine";
text.role = "status";
move.textContent = word("move");
place.append(text);

let until = null, clock = 0, trouble = "";

export function tell({ leaving, seconds, elsewhere }) {
  if (move.ariaDisabled === "true") return; // it is being moved
  clearInterval(clock);
  if (!leaving) {
    trouble = "";
    return place.remove();
  }
  until = seconds === null ? null : Date.now() + seconds * 1000;
  if (!mine || !elsewhere) move.remove();
  else if (!move.isConnected) place.append(move); // a button that is put in again loses the focus
  if (!place.isConnected) document.getElementById("bar").append(place);
  count();
}

function count() {
  say();
  if (until !== null) clock = setInterval(say, CHECK_MS);
}

function say() {
  const when = until === null ? word("leavingSoon") : word("leaving", about((until - Date.now()) / 60000));
  const words = `${when} ${trouble}`.trim();
  if (text.textContent !== words) text.textContent = words;
}

function about(minutes) {
  const step = STEPS.find((each) => minutes >= each);
  if (step === undefined) return word("moment");
  return step === 1 ? word("minute") : word("minutes", step);
}

move.addEventListener("click", async () => {
  if (move.ariaDisabled === "true") return;
  move.ariaDisabled = "true";
  text.textContent = word("moving");
  clearInterval(clock);
  const answer = await fetch(stop.dataset.action, { method: "POST", headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.ok) return location.assign(again.href);
  trouble = word("unmoved", "", answer ? await reason(answer) : word("unreachable"));
  move.ariaDisabled = "false";
  count();
});
