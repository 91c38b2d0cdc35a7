// A board that stays current: the hub sends the lines that have changed, ready to be shown.

import { replace } from "./live.js";
import { tell_times } from "./times.js";
import { word } from "./words.js";

const TICK_MS = 10000;
const of = (id) => document.getElementById(id);
const main = document.querySelector("main");
let { news, seen } = main.dataset;
const ahead = main.dataset.now - Date.now() / 1000; // of the hub's clock before the reader's
let source = null;

const part = (tag, html) => {
  const made = document.createElement("template");
  made.innerHTML = html;
  return tag ? Object.assign(document.createElement(tag), { innerHTML: html }) : made.content.firstElementChild;
};

function take({ data, lastEventId }) {
  const { all, lines, gone, heads, queue } = JSON.parse(data);
  seen = lastEventId;
  if (queue !== undefined) put(of("queue"), queue);
  const table = of("lines");
  if (!table) return all && heads && location.reload(); // the release has checks now
  if (heads !== undefined) put(of("heads"), heads, "thead");
  for (const key of gone) of(`s${key}`)?.remove();
  if (all) for (const line of [...table.children]) if (!(line.id.slice(1) in lines)) line.remove();
  for (const html of Object.values(lines)) put_line(table, part("", html));
  sort(table);
  of("students").textContent = table.children.length;
  of("nobody").hidden = table.children.length > 0;
  tick();
}

function put(place, html, tag = "div") {
  const fresh = part(tag, html);
  tell_times(fresh);
  replace(place, fresh);
}

function put_line(table, fresh) {
  const line = of(fresh.id);
  if (!line) return table.append(fresh);
  line.dataset.order = fresh.dataset.order;
  line.className = fresh.className;
  replace(line, fresh);
}

function sort(table) {
  const lines = [...table.children];
  const wanted = [...lines].sort((one, other) => (one.dataset.order < other.dataset.order ? -1 : 1));
  if (wanted.every((line, at) => line === lines[at])) return;
  const focused = table.contains(document.activeElement) ? document.activeElement : null;
  table.append(...wanted);
  focused?.focus({ preventScroll: true });
}

function tick() {
  for (const place of document.querySelectorAll("[data-since]")) {
    const minutes = Math.floor((Date.now() / 1000 + ahead - place.dataset.since) / 60);
    const text = minutes < 1 ? word("moment") : minutes < 100 ? word("minutes", minutes) : word("hours", Math.round(minutes / 60));
    if (place.textContent !== text) place.textContent = text;
  }
}

function open() {
  if (source || document.visibilityState !== "visible") return;
  source = new EventSource(`${news}&seen=${encodeURIComponent(seen)}`);
  source.addEventListener("board", take);
  source.addEventListener("end", hush);
}

function hush() {
  source?.close();
  source = null;
}

// A browser opens six connections to a host, so hidden pages keep none.
document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? open() : hush()));
addEventListener("pagehide", hush);
setInterval(tick, TICK_MS);
tell_times(document);
tick();
open();
