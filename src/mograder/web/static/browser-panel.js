// The panel beside the notebook: results of the checks, and how the submitted work stands. All of it
// is put there as text; a feedback document is downloaded, never shown in this page.

const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};

const action = (text, act) => {
  const made = element("button", text);
  made.onclick = act;
  return made;
};

// The last line of each label counts.
function latest(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    try {
      const { label, status, details } = JSON.parse(line);
      if (typeof label !== "string" || typeof status !== "string") continue;
      found.set(label.slice(0, 200), { status, details: Array.isArray(details) ? details : [] });
    } catch {
      // An incomplete line.
    }
    if (found.size >= 500) break;
  }
  return found;
}

const WORDS = { success: "passed", partial: "passed in part", danger: "failed", warn: "waits for your answer" };

let opener; // the button that opened the panel

function open(panel, button, shows) {
  opener = button;
  panel.dataset.shows = shows;
  panel.hidden = false;
  panel.focus();
}

export function close(panel) {
  if (panel.hidden) return;
  panel.hidden = true;
  opener?.focus();
}

let results = new Map();

// Takes the results of the checks; shows them if the panel has those before.
export function takeChecks(button, panel, text) {
  results = latest(text);
  const passed = [...results.values()].filter((each) => each.status === "success").length;
  button.hidden = results.size === 0;
  button.textContent = `Checks: ${passed} of ${results.size} passed`;
  if (!panel.hidden && panel.dataset.shows === "checks") listChecks(panel);
}

export function showChecks(button, panel) {
  listChecks(panel);
  open(panel, button, "checks");
}

function listChecks(panel) {
  const list = element("ul");
  for (const [label, { status, details }] of results) {
    const line = element("li", `${label}: ${WORDS[status] ?? "unknown"}`);
    const messages = details.slice(0, 25).map((each) => element("li", String(each).slice(0, 500)));
    if (messages.length) line.append(element("ul", "", ...messages));
    list.append(line);
  }
  const note = element("p", "What the notebook's own checks say here. Marks are decided on the server.");
  panel.querySelector("div").replaceChildren(element("h2", "Checks"), list, note);
}

export async function showStanding(button, panel, about) {
  panel.querySelector("div").replaceChildren(element("h2", "Status"), element("p", "Asking the server…"));
  open(panel, button, "status");
  await drawStanding(panel, about);
}

// Draws the status anew if the panel shows it.
export async function drawStanding(panel, about) {
  if (panel.hidden || panel.dataset.shows !== "status") return;
  const { server, item, work, released, earlier, save, notebook, token } = await about();
  const parts = [element("h2", "Status")];
  try {
    const status = await server.status(item);
    parts.push(...(await lines(status, work)));
    if (status.feedback_available) {
      const told = element("p");
      told.role = "status";
      const get = async () => save("feedback.html", await server.feedback(item), "text/html");
      const tell = (error) => (told.textContent = `It was not downloaded: ${error.message}`);
      parts.push(action("Download the feedback", () => void get().catch(tell)), told);
    }
  } catch (error) {
    parts.push(element("p", `The server does not tell: ${error.message}`));
  }
  if (work.pending) parts.push(element("p", "One submission waits for the connection."));
  if (work.receipts?.length) {
    parts.push(element("h2", "Receipts of this browser"));
    for (const receipt of work.receipts) {
      const text = `${new Date(receipt.received).toLocaleString()}${receipt.late ? ", late" : ""}`;
      const get = () => save(`receipt-${receipt.sequence}.json`, JSON.stringify(receipt, null, 2), "application/json");
      parts.push(element("p", `${text} `, action("Download", get)));
    }
  }
  if (work.at) {
    const get = () => save(`released-${notebook}`, released, "text/x-python");
    parts.push(element("p", "", action("Save the notebook as it is handed out now", get)));
  }
  if (earlier.length) {
    parts.push(element("h2", "Other versions of your work"));
    for (const each of earlier) {
      const get = () => save(notebook, each.text, "text/x-python");
      parts.push(element("p", `${new Date(each.at).toLocaleString()} `, action("Download", get)));
    }
  }
  if (token) {
    const why = "Keep it as you keep a password. You need it to sign in again, or elsewhere: the course's code gives out each name only once.";
    parts.push(element("details", "", element("summary", "Your token"), element("pre", token), element("p", why)));
  }
  if (panel.dataset.shows === "status") panel.querySelector("div").replaceChildren(...parts);
}

// Says whether the text on the page is the submitted one; set where the status tells of a submission.
export let tellWhich = async () => {};

async function lines(status, work) {
  const parts = [];
  const { receipt } = status;
  if (!receipt) parts.push(element("p", "Nothing was submitted yet."));
  else {
    const when = new Date(receipt.received).toLocaleString();
    const line = element("p");
    tellWhich = async (text) => {
      const own = await isOf(receipt.sha256, text);
      const which = own ? ": this text" : ": another version than the text here";
      line.textContent = `Submitted ${when}${status.late ? ", late" : ""}${own === null ? "" : which}.`;
    };
    await tellWhich(work.text);
    parts.push(line);
  }
  if (status.due) parts.push(element("p", `Due ${new Date(status.due).toLocaleString()}.`));
  if (!status.can_submit) parts.push(element("p", status.why_not));
  if (status.graded) parts.push(element("p", `Mark: ${status.grade}`));
  if (status.feedback) parts.push(element("pre", status.feedback));
  return parts;
}

// Whether a digest is that of a text: with its own line ends, or those of editors on Windows.
// Null where the page has no such function, which is so without HTTPS.
export async function isOf(digest, text) {
  if (!crypto.subtle) return null;
  for (const each of [text, text.replace(/\r?\n/g, "\r\n")]) {
    const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(each));
    const hex = Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0"));
    if (hex.join("") === digest) return true;
  }
  return false;
}
