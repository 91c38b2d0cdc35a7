// The page's own words, which stand in its template; only browser*.js and session-shim.js have some.

export function word(name, item = "", why = "") {
  const text = document.querySelector("#words").dataset[name];
  return text.replace("{item}", () => item).replace("{why}", () => why);
}

export async function reason(answer, name = "status") {
  const problem = await answer.json().catch(() => null);
  return problem?.detail ?? word(name, "", answer.status);
}

const DAY = 86400000;
const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());
const days_from = (date, now) => Math.round((midnight(date) - midnight(now)) / DAY); // a change of clocks is no day

// Words are in the language of the page that they stand in, dates and hours as the reader writes them.
export function relative(options) {
  const page = document.documentElement.lang;
  const own = navigator.languages.filter((each) => each.split("-")[0] === page);
  return new Intl.RelativeTimeFormat([...own, page], { numeric: "auto", ...options });
}

// A time in the reader's own zone, as short as it stays clear: "18:00", "Wed 18:00".
// `ahead` is for a time that is awaited: "today 18:00", "Wed 18:00, in 2 days".
export function short_time(date, ahead = false, now = new Date()) {
  const days = days_from(date, now), far = Math.abs(days) > 6;
  const clock = { hour: "2-digit", minute: "2-digit" };
  const day = relative();
  const count = ahead && days > 1 && days < 100 ? `, ${day.format(days, "day")}` : "";
  if (days === 0 && !ahead) return date.toLocaleTimeString(undefined, clock);
  if (Math.abs(days) < 2) return `${day.format(days, "day")} ${date.toLocaleTimeString(undefined, clock)}`;
  const year = date.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
  return date.toLocaleString(undefined, far ? { day: "numeric", month: "short", ...year, ...clock } : { weekday: "short", ...clock }) + count;
}

// A Unix time, as short as that.
export const moment = (seconds, ahead = false) => short_time(new Date(seconds * 1000), ahead);
