// The page that waits for a session: asks for it, tells what happens, then goes there.

const main = document.querySelector("main");
const news = document.querySelector("#news");
const elapsed = document.querySelector("#elapsed");
const problem = document.querySelector("#problem");
const front = document.querySelector("#front");
const again = document.querySelector("#again");
const { start, home, probe } = main.dataset;
const QUIET_MS = 3000;

again.addEventListener("click", () => begin());
begin();

async function begin() {
  show("waiting");
  const began = Date.now();
  const clock = setInterval(() => tell_elapsed(began), 500);
  try {
    if (probe && !(await lets_through(probe))) {
      show("front");
      return;
    }
    const done = await ask();
    news.textContent = "Opening…";
    location.replace(`${home}/${done.url}`);
  } catch (error) {
    fail(error.message);
  } finally {
    clearInterval(clock);
  }
}

// Session pages load without the login cookie, so the web server in front must not ask for it.
async function lets_through(address) {
  const answer = await fetch(address, { credentials: "omit", cache: "no-store", redirect: "manual" }).catch(() => null);
  return answer?.status === 204;
}

async function ask() {
  const answer = await fetch(start, { method: "POST", headers: { Accept: "application/x-ndjson" } }).catch(() => null);
  if (!answer) throw new Error("the hub cannot be reached. Check your network.");
  if (!answer.ok) throw new Error(await reason(answer));
  for await (const event of events(answer.body)) {
    if (event.event === "progress") tell(event.message);
    else if (event.event === "done") return event;
    else throw new Error(event.detail);
  }
  throw new Error("the connection to the hub broke off.");
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
    if (done) return;
  }
}

async function reason(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).detail;
  } catch {
    return answer.status === 403 ? "you are not signed in any more. Reload this page." : `the hub answered ${answer.status}.`;
  }
}

function tell(message) {
  if (message && news.textContent !== message) news.textContent = message;
}

function tell_elapsed(began) {
  const waited = Date.now() - began;
  elapsed.textContent = waited < QUIET_MS ? "" : `${Math.round(waited / 1000)} seconds`;
}

function fail(message) {
  problem.querySelector("p").textContent = message.startsWith("Not available") ? message : `Error: ${message}`;
  show("failed");
}

function show(state) {
  main.classList.toggle("failed", state !== "waiting");
  document.querySelector("#waiting").hidden = state !== "waiting";
  problem.hidden = state !== "failed";
  front.hidden = state !== "front";
  again.hidden = state === "waiting";
  if (state === "waiting") {
    elapsed.textContent = "";
  } else {
    again.focus();
  }
}
