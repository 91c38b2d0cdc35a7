// The page that waits for a session: asks for it, tells what happens, then goes there.

import { progress } from "./progress.js";
import { reason, word } from "./words.js";

const main = document.querySelector("main");
const news = document.querySelector("#news");
const said = document.querySelector("#said");
const elapsed = document.querySelector("#elapsed");
const busy = document.querySelector("#busy");
const countdown = document.querySelector("#countdown");
const problem = document.querySelector("#problem");
const front = document.querySelector("#front");
const again = document.querySelector("#again");
const { start, home, probe } = main.dataset;
const QUIET_MS = 3000;
const SPOKEN_MS = 10000; // a line can move every second; nobody wants to hear all of that
const BROKEN_OFF_S = 5;
const READ_MS = 6000;

let clock = 0;
let speaking = 0;
let spoken = 0;

again.addEventListener("click", () => begin());
begin();

// A failure that time may mend: the page tries again by itself.
class Later extends Error {
  constructor(message, seconds) {
    super(message);
    this.seconds = seconds;
  }
}

async function begin() {
  show("waiting");
  const began = Date.now();
  clock = setInterval(() => tell_elapsed(began), 500);
  try {
    if (!(await lets_through(probe))) {
      show("front");
      return;
    }
    const done = await ask();
    if (done.note) await read(done.note);
    tell(word("opening"));
    location.replace(`${home}/${done.url}`);
  } catch (error) {
    if (error instanceof Later) wait(error);
    else fail(error.message);
  }
}

// Session pages load without the login cookie, so the web server in front must not ask for it.
async function lets_through(address) {
  const answer = await hear(address, { credentials: "omit", cache: "no-store", redirect: "manual" });
  return answer.status === 204;
}

async function ask() {
  const answer = await hear(start, { method: "POST", headers: { Accept: "application/x-ndjson" } });
  if (!answer.ok) throw new Error(await reason(answer, answer.status === 403 ? "unsigned" : "status"));
  for await (const event of progress(answer)) {
    if (event.event === "progress") tell(event.message);
    else if (event.event === "done") return event;
    else throw event.retry_after > 0 ? new Later(event.detail, event.retry_after) : new Error(event.detail);
  }
  throw new Later(word("broken"), BROKEN_OFF_S);
}

// No answer, a front's own failure, and an answer that names a time, are for now: the hub may be restarting.
async function hear(address, options) {
  const answer = await fetch(address, options).catch(() => null);
  if (!answer) throw new Later(word("unreachable"), BROKEN_OFF_S);
  const seconds = Number(answer.headers.get("retry-after"));
  const fronts = answer.status > 500 && !answer.headers.has("x-request-id");
  if (seconds > 0 || fronts) throw new Later(await reason(answer), seconds || BROKEN_OFF_S);
  return answer;
}

// Shows a message that the next page does not repeat, for some seconds or until a click or a key.
function read(message) {
  tell(message);
  return new Promise((go) => {
    setTimeout(go, READ_MS);
    for (const kind of ["click", "keydown"]) addEventListener(kind, go, { once: true });
  });
}

function tell(message) {
  if (!message || news.textContent === message) return;
  news.textContent = message;
  speak(message);
}

// The newest message, but not one upon the other.
function speak(message) {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    spoken = Date.now();
    said.textContent = message;
  }, Math.max(0, spoken + SPOKEN_MS - Date.now()));
}

function tell_elapsed(began) {
  const waited = Date.now() - began;
  elapsed.textContent = waited < QUIET_MS ? "" : word("elapsed", "", Math.round(waited / 1000));
}

function wait({ message, seconds }) {
  // Everybody was told the same number: not all at the same moment.
  const due = Date.now() + seconds * 1000 * (1 + Math.random() / 5);
  document.querySelector("#busy-why").textContent = word("later", "", message);
  show("busy");
  const count = () => {
    const left = Math.ceil((due - Date.now()) / 1000);
    if (left <= 0) begin();
    else countdown.textContent = word("countdown", "", left);
  };
  count();
  clock = setInterval(count, 250);
}

function fail(message) {
  problem.querySelector("p").textContent = message.startsWith("Not available") ? message : word("error", "", message);
  show("failed");
}

function show(state) {
  clearInterval(clock);
  clearTimeout(speaking);
  main.classList.toggle("failed", state !== "waiting");
  document.querySelector("#waiting").hidden = state !== "waiting";
  document.querySelector("#next").hidden = state !== "waiting";
  busy.hidden = state !== "busy";
  problem.hidden = state !== "failed";
  front.hidden = state !== "front";
  again.textContent = word(state === "busy" ? "now" : "retry");
  const focused = document.activeElement === again;
  again.hidden = state === "waiting";
  if (state === "waiting") {
    elapsed.textContent = said.textContent = "";
    if (focused) main.focus();
  } else if (state !== "busy") {
    again.focus();
  }
}
