// The page around a notebook that runs in the browser alone: it signs in, keeps the text in this
// browser and on the server, and submits it. The notebook's code runs in the frame, which sees none
// of that: the frame gets the text and the item's files, and says what was edited and checked.

import { filesOf } from "./browser-files.js";
import { openFrame } from "./browser-frame.js";
import { close, drawStanding, isOf, showChecks, showStanding, takeChecks, tellWhich } from "./browser-panel.js";
import { Refused, Unreachable, isDecided, passes, serverOf } from "./browser-server.js";
import { openStore } from "./browser-store.js";

const RETRY_MS = 15_000;
const { item, notebook, root, open, files: place, first, most } = document.body.dataset;
const $ = (id) => document.getElementById(id);
const say = (text, until = "") => {
  $("said").textContent = text;
  $("said").dataset.until = until;
};
const clock = (moment) => new Date(moment).toLocaleString();

let store;
let person;
let server;
let work; // { text, at, base, dirty, pending, receipts, submitted }
let released; // the item's files by name, with the notebook as it is handed out
let standing; // the server's last answer on what was submitted
let frame;
let choosing;
let unanswered; // the text of a draft whose answer did not come: the server may have it
let pushing;
let sending;
let unkept = false;

// What this browser cannot keep, as on a full disk, goes to the server all the same.
async function keep() {
  try {
    await store.keepWork(person.user, item, work);
    unkept = false;
  } catch (error) {
    unkept = true;
    say(`This browser cannot keep your work: ${error}. Download it.`);
  }
}

const SIGN_IN = "Your sign-in is no longer valid: load this page again to sign in.";
const rest = () => (unkept ? "This browser cannot keep it. Download it." : "It is kept in this browser.");

function showSaved() {
  if (!work.at || unsaved) return;
  const places = [!unkept && "in this browser", !work.dirty && "on the server"].filter(Boolean);
  const when = new Date(work.at).toLocaleTimeString();
  $("saved").textContent = places.length ? `Saved ${places.join(" and ")}, ${when}` : "Not saved";
}

// --- drafts --------------------------------------------------------------------------------------

let writing = Promise.resolve();
let unsaved = false;

function editing() {
  unsaved = true;
  $("saved").textContent = "Not saved yet…";
}

function tooLarge() {
  editing();
  const why = `A notebook may have at most ${most / 1e6} MB, so what you typed last is not saved.`;
  say(`${why} Remove data or pictures from its cells.`, "saved");
}

function edited(text) {
  unsaved = false;
  if ($("said").dataset.until === "saved") say("");
  if (text === work.text) return showSaved();
  if ($("said").dataset.until === "edited") say("");
  void tellWhich(text);
  work = { ...work, text, at: Date.now(), dirty: true };
  // One write after the other: an older text never comes last.
  writing = writing.then(keep).then(showSaved);
  void writing.then(push);
}

function push() {
  pushing ??= pushAll().finally(() => (pushing = undefined));
  return pushing;
}

async function pushAll() {
  if (choosing || !work.dirty) return;
  try {
    while (work.dirty && !choosing) {
      // Sent again before a newer one: the server takes the same text once, and tells its tag.
      const text = (unanswered ??= work.text);
      const answer = await server.saveDraft(item, text, work.base);
      unanswered = undefined;
      work = { ...work, base: answer.tag, dirty: work.text !== text };
      await keep();
    }
    online();
  } catch (error) {
    if (isDecided(error)) unanswered = undefined;
    if (error.status === 412) await chooseFromServer();
    else if (error instanceof Unreachable) offline();
    else if (error.status === 401) say(`${SIGN_IN} ${rest()}`, "online");
    else say(`The server did not take the draft: ${error.message} ${rest()}`, "online");
  } finally {
    showSaved();
  }
}

// Newer work of this person, from another browser or computer, is never replaced in silence: this
// sees it before anything is typed here.
async function look() {
  await push();
  const { base } = work;
  standing = await server.status(item);
  if (!work.dirty) online();
  const { draft } = standing;
  if (!choosing && !pushing && unanswered === undefined && draft?.tag && draft.tag !== base && work.base === base) {
    await chooseFromServer();
  }
}

const lastSubmitted = () => standing?.receipt?.received ?? null;

function offline() {
  const sent = "Your work is kept in this browser and sent when the connection is back.";
  say(`No connection. ${unkept ? rest() : sent}`, "online");
}

// The server has answered, and has the draft.
function online() {
  if ($("said").dataset.until === "online") say("");
}

async function chooseFromServer() {
  const theirs = await server.draft(item);
  standing = await server.status(item);
  if (choosing) return;
  if (theirs === null) {
    work = { ...work, base: null };
    return;
  }
  if (theirs.text === work.text) {
    // A submission that waits was made before what was submitted elsewhere was seen.
    const submitted = work.pending ? work.submitted : lastSubmitted();
    work = { ...work, base: theirs.tag, dirty: false, submitted };
    await keep();
    return;
  }
  void choose(theirs);
}

// What this browser cannot keep is downloaded at once.
async function setAside(other) {
  try {
    await store.keepEarlier(person.user, item, other);
  } catch {
    save(`other-${notebook}`, other.text, "text/x-python");
  }
}

// Returns when one of the two was chosen; the other is kept as an earlier one.
async function choose(theirs) {
  choosing = true;
  const { receipt } = standing ?? {};
  const same = receipt?.sha256 === theirs.sha256 || (await isOf(receipt?.sha256, theirs.text));
  const counts = receipt && !same && receipt.received !== work.submitted;
  $("versions").textContent =
    `This browser saved ${clock(work.at)}; the server has a version ${same ? "submitted" : "saved"} ` +
    `${clock(theirs.saved)}, from another browser or computer.` +
    (counts ? ` What was submitted elsewhere ${clock(receipt.received)} counts.` : "");
  $("choice").hidden = false;
  $("place").hidden = true;
  return new Promise((resolve) => {
    const decide = async (mine) => {
      const other = mine ? { text: theirs.text, at: theirs.saved } : { text: work.text, at: work.at };
      await setAside(other);
      if (!mine && work.pending) await setAside(work.pending);
      work = { ...work, base: theirs.tag, dirty: mine, submitted: lastSubmitted() };
      if (!mine) work = { ...work, text: theirs.text, at: Date.parse(theirs.saved), pending: undefined };
      await keep();
      choosing = false;
      $("choice").hidden = true;
      $("place").hidden = false;
      void drawStanding($("panel"), about);
      // A notebook that runs already shows the other text: start it again.
      if (!mine && frame) location.reload();
      again();
      resolve();
    };
    $("keep-mine").onclick = () => decide(true);
    $("keep-theirs").onclick = () => decide(false);
  });
}

// --- submitting ----------------------------------------------------------------------------------

async function submit() {
  $("submit").disabled = true;
  say("Submitting…");
  try {
    await frame.save();
    // As while Python starts, which marimo needs to save.
    if (unsaved && !confirm("What you typed last is not saved yet. Submit what was saved before?")) {
      return say("Not submitted.");
    }
    await writing;
    work = { ...work, pending: { text: work.text, at: Date.now() } };
    await keep();
    await send();
  } finally {
    $("submit").disabled = false;
  }
}

// A submission that is under way stays in the store until the server has answered; the server takes
// the same bytes once, so that sending it again is safe. One is sent at a time, and then a newer one.
function send() {
  sending ??= sendAll().finally(() => (sending = undefined));
  return sending;
}

async function sendAll() {
  let last;
  while (work.pending && work.pending !== last) {
    last = work.pending;
    await sendOne(last);
  }
}

function drop(pending) {
  if (work.pending === pending) work = { ...work, pending: undefined };
  return keep();
}

async function sendOne(pending, late = false) {
  let sent = false; // what the questions before it are answered decides nothing
  try {
    await look();
    if (choosing) say("Not submitted yet: choose a version.");
    if (choosing || work.pending !== pending) return;
    if (!(await mayReplace(pending))) {
      await drop(pending);
      say("Not submitted: the one from elsewhere still counts.");
      return;
    }
    sent = true;
    const answer = await server.submit(item, pending.text, late);
    const receipts = [answer.receipt, ...(work.receipts ?? [])].slice(0, 50);
    work = { ...work, receipts, submitted: answer.receipt.received };
    await drop(pending);
    const kept = unkept ? "Status has the receipt." : "Receipt kept.";
    say(`Submitted, ${clock(answer.receipt.received)}${answer.late ? ", late" : ""}. ${kept}`, "edited");
    void drawStanding($("panel"), about);
  } catch (error) {
    if (error instanceof Unreachable) {
      say("Not submitted yet: no connection. It is sent as soon as the connection is back.");
      return;
    }
    // Not decided: it waits until this person has signed in again.
    if (error.status === 401) return say(`Not submitted yet. ${SIGN_IN} ${rest()}`);
    if (error instanceof Refused && error.answer.reason === "late-would-replace" && !late) {
      if (confirm(`${error.message}\n\nReplace it by this late one?`)) return sendOne(pending, true);
    }
    if (sent && isDecided(error)) await drop(pending);
    say(`Not submitted: ${error.message}`);
  }
}

// A program that keeps no drafts may have submitted.
async function mayReplace(pending) {
  const { receipt } = standing;
  if (!receipt || receipt.received === work.submitted) return true;
  if (await isOf(receipt.sha256, pending.text)) return true;
  const yes = confirm(
    `Another version was submitted elsewhere, ${clock(receipt.received)}, and counts. Replace it?`,
  );
  if (yes) work = { ...work, submitted: receipt.received };
  return yes;
}

function again() {
  void ($("said").dataset.until === "online" ? look().catch(() => {}) : push());
  void send();
}

// What the panel tells of: as it is when it is drawn.
const about = async () => {
  const earlier = await store.earlier(person.user, item);
  return { server, item, work, released: released[notebook], earlier, save, notebook, token: person.token };
};

// --- signing in ----------------------------------------------------------------------------------

function retryKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
}

const REGISTERING = `mograder registering${root}`;
const WRONG_TOKEN =
  "The server does not take this token. Copy the whole line again, or ask your instructor for a new one.";

async function signIn() {
  const value = (id) => $(id)?.value.trim() ?? "";
  let token = value("token");
  if (open !== undefined) return { user: value("name"), token: "" };
  if (!token && !(value("name") && value("code"))) throw new Error("Give your token, or your name and the course's code.");
  if (!token) {
    // The same key again after a lost answer gets the same token, also when the page was loaded again.
    const key = (sessionStorage[REGISTERING] ??= retryKey());
    token = (await serverOf(root, null).register(value("name"), value("code"), key)).token;
  }
  // The browser would not send it, which looks like a server that is away.
  if (!/^[!-~]+$/.test(token)) throw new Error("The token holds characters that no token has. Copy it again.");
  const me = await serverOf(root, { token })
    .me()
    .catch((error) => {
      throw error.status === 401 && error.answer.error ? new Error(WRONG_TOKEN) : error;
    });
  if (me.role !== "student") throw new Error("This is the instructor's token. Use a student's.");
  return { user: me.user, token };
}

function askToSignIn() {
  $("sign-in").hidden = false;
  return new Promise((resolve) => {
    $("sign-in").onsubmit = async (event) => {
      event.preventDefault();
      $("refused").textContent = "";
      try {
        const found = await signIn();
        await store.keepPerson(found);
        sessionStorage.removeItem(REGISTERING);
        $("sign-in").reset();
        $("sign-in").hidden = true;
        resolve(found);
      } catch (error) {
        $("refused").textContent =
          error instanceof Unreachable ? "The server cannot be reached. Try again." : error.message;
      }
    };
  });
}

async function signOut() {
  const left = work.pending ? "A submission" : work.dirty && "Your newest text";
  const { token } = person;
  const told = [
    left && `${left} is not on the server yet. It stays in this browser, and is sent once you sign in here again.`,
    token && `You need your token to sign in again, and this browser forgets it. “Status” shows it, too, to copy:\n${token}`,
  ].filter(Boolean);
  if (told.length && !confirm([...told, "Sign out?"].join("\n\n"))) return;
  await store.keepPerson(undefined);
  location.reload();
}

// --- the start -----------------------------------------------------------------------------------

// The item's files: from the server, or those of the last visit.
async function releaseFiles() {
  const listed = await server.assignments();
  const entry = listed.find((each) => each.name === item);
  const names = (entry?.files ?? []).map((each) => each.filename);
  const pairs = await Promise.all(
    [...new Set([...names, notebook])].map(async (name) => [name, await server.file(item, name)]),
  );
  return Object.fromEntries(pairs);
}

// Takes the server's text in place of one that the server has, too. A submission of an older text that
// waits is not sent then: it would count in the place of the newer work.
async function take({ text, saved, tag }) {
  let { pending, submitted } = work;
  if (pending && text !== work.text && text !== pending.text) {
    await setAside(pending);
    pending = undefined;
    say(
      "What waited here to be submitted was set aside, and is not sent: this newer text came from another browser " +
        "or computer. “Status” offers the other for download.",
    );
  }
  if (!pending) submitted = undefined;
  work = { ...work, text, at: Date.parse(saved), base: tag, dirty: false, pending, submitted };
}

// A server that was restored from a backup counts its drafts' versions from an earlier number. A tag
// begins with that number.
const isNewer = (tag, base) => parseInt(tag, 10) > parseInt(base, 10);

async function begin() {
  work = (await store.work(person.user, item)) ?? {};
  released = await store.files(person.user, item);
  let theirs;
  try {
    released = await releaseFiles();
    // Where there is no room for them, there may still be some for the text.
    await store.keepFiles(person.user, item, released).catch(() => {});
    theirs = await server.draft(item);
    standing = await server.status(item);
    say("");
  } catch (error) {
    if (error.status === 401 && error.answer.error) {
      await store.keepPerson(undefined);
      person = await askToSignIn();
      server = serverOf(root, person);
      return begin();
    }
    if (!passes(error) || !released) throw error;
    offline();
  }
  const release = new TextDecoder().decode(released[notebook]);
  // A text that was never edited here nor taken from the server is the release, also a newer one.
  if (!work.at && !work.base) work = { ...work, text: release, base: null, dirty: false };
  if (theirs && theirs.tag !== work.base) {
    const mine = work.dirty || (work.base && !isNewer(theirs.tag, work.base));
    if (mine && theirs.text !== work.text) await choose(theirs);
    else await take(theirs);
  }
  if (standing && work.submitted === undefined) work = { ...work, submitted: lastSubmitted() };
  await keep();
  showSaved();
}

// Two tabs would replace each other's text in this browser's store. A closed tab frees the lock.
function onlyTab() {
  if (!navigator.locks) return undefined; // the address is not secure
  const told = setTimeout(
    () => say("This notebook is open in another tab of this browser. Close that tab to go on here."),
    500,
  );
  return new Promise((resolve) => {
    void navigator.locks.request(`mograder${root} ${person.user} ${item}`, () => {
      clearTimeout(told);
      resolve();
      return new Promise(() => {});
    });
  });
}

function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function listen() {
  $("submit").onclick = () => void submit();
  $("download").onclick = () => save(notebook, work.text, "text/x-python");
  $("sign-out").onclick = () => void signOut();
  // What it says until the connection is back is still looked after.
  $("said").onclick = () => ($("said").textContent = "");
  $("close").onclick = () => close($("panel"));
  $("panel").onkeydown = ({ key }) => {
    if (key === "Escape") close($("panel"));
  };
  $("checks").onclick = () => showChecks($("checks"), $("panel"));
  $("standing").onclick = () => showStanding($("standing"), $("panel"), about);
  addEventListener("online", again);
  addEventListener("beforeunload", (event) => {
    if (unsaved || (unkept && work.dirty)) event.preventDefault();
  });
  setInterval(again, RETRY_MS);
  document.addEventListener("visibilitychange", () => {
    // A tab that is left may never come back.
    if (document.hidden) void frame?.save();
    else void look().catch(() => {});
  });
}

async function main() {
  const keeper = filesOf(place);
  // While the person signs in.
  keeper.begin(first.split(" "));
  store = await openStore(root).catch(() => {
    throw new Error(
      "This browser keeps no data of this page, so your work would be lost. Allow it to keep data of this address " +
        "(cookies), or use another browser, and load this page again.",
    );
  });
  person = (await store.person()) ?? (await askToSignIn());
  server = serverOf(root, person);
  await onlyTab();
  say("Loading…");
  await begin();
  listen();
  document.querySelector(".acts").hidden = false;
  const { [notebook]: _, ...files } = released;
  frame = openFrame($("place"), {
    title: item,
    // The newest: marimo loads its frame again when Python is restarted.
    text: () => work.text,
    files,
    keeper,
    editing,
    edited,
    tooLarge,
    checked: (text) => takeChecks($("checks"), $("panel"), text),
    failed: (text) => say(`The notebook does not start: ${text}. Load this page again.`),
  });
  again();
}

main().catch((error) => {
  const why = error instanceof Unreachable ? "The server cannot be reached." : String(error.message);
  say(passes(error) ? `${why} Load this page again.` : why);
});
