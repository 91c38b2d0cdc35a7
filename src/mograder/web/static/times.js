// Times in the reader's own zone and language; without this they stand there in UTC.

const shown = { weekday: "short", day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };

export function tell_times(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    time.textContent = moment.toLocaleString(undefined, shown);
    time.title = moment.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
  }
}

// Fields that ask for a time ask for it in the reader's zone, and say so.
function ask_here() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const field of document.querySelectorAll("input[data-utc]")) {
    const moment = new Date(field.dataset.utc);
    if (Number.isNaN(moment.valueOf())) continue;
    field.value = new Date(moment - moment.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  }
  for (const field of document.querySelectorAll("input[name=timezone]")) field.value = zone;
  for (const label of document.querySelectorAll("[data-zone]")) label.textContent = zone;
}

tell_times(document);
ask_here();
