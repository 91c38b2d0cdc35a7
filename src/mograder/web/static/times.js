// Times in the reader's own zone, short; without this they stand there in UTC.

import { relative, short_time } from "./words.js";

const MINUTE = 60000, HOUR = 3600000;
const AGAIN_MS = 30000;

// "5 min ago" within an hour, "Wed 18:00" before and after, and always if `at`; the whole time is in the title.
// A time with `seconds` is told with them: they decide whether work is late.
function told(moment, { ahead, at, seconds }, now) {
  if (seconds !== undefined) return moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const away = moment - now, minutes = Math.trunc(away / MINUTE);
  if (at !== undefined || Math.abs(away) >= HOUR) return short_time(moment, ahead !== undefined, now);
  const near = relative({ style: "short" });
  return minutes ? near.format(minutes, "minute") : near.format(0, "second");
}

export function tell_times(root) {
  const now = new Date();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    time.ariaLive = "off"; // what surrounds it, and is spoken, is not spoken again each minute
    const text = told(moment, time.dataset, now);
    if (time.textContent !== text) time.textContent = text;
    time.title = moment.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
  }
}

// Fields that ask for a time ask for it in the reader's zone, and say so.
export function ask_here(root) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const field of root.querySelectorAll("input[data-utc]")) {
    const moment = new Date(field.dataset.utc);
    if (Number.isNaN(moment.valueOf())) continue;
    field.value = new Date(moment - moment.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  }
  for (const field of root.querySelectorAll("input[name=timezone]")) field.value = zone;
  for (const label of root.querySelectorAll("[data-zone]")) label.textContent = zone;
}

tell_times(document);
ask_here(document);
setInterval(() => document.hidden || tell_times(document), AGAIN_MS);
