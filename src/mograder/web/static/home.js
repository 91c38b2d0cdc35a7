// The first page without reloads: Stop answers in place, times are told in the reader's own zone.

const sessions = document.querySelector("#sessions");
const said = document.querySelector("#said");

tell_times();

// Back from the editor's tab: what was "not started" may be "edited" by now.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") refresh();
});

sessions?.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-stop]");
  if (!form) return;
  event.preventDefault();
  stop(form);
});

function tell_times() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.valueOf())) {
      time.textContent = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    }
  }
}

async function stop(form) {
  const button = form.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  said.textContent = `Stopping ${form.dataset.stop}…`;
  try {
    const answer = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(await reason(answer));
    await refresh();
    said.textContent = `${form.dataset.stop} has stopped. Your work is saved.`;
    sessions.focus();
  } catch (error) {
    button.removeAttribute("aria-disabled");
    said.textContent = `${form.dataset.stop} could not be stopped: ${error.message}`;
  }
}

async function reason(answer) {
  const problem = await answer.json().catch(() => null);
  return problem?.detail ?? `the hub answered ${answer.status}`;
}

// Takes the live parts from a fresh copy of this very page, where they differ; what holds the
// reader's focus is left alone, unless it is the panel in which Stop was just pressed.
async function refresh() {
  const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    const busy = part !== sessions && part.contains(document.activeElement);
    if (other && !busy && other.innerHTML !== part.innerHTML) part.replaceChildren(...other.childNodes);
  }
  tell_times();
}
