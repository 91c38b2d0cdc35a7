// Forms that start work of seconds or minutes (`data-work`): what it does is told below the button, then
// the next page is shown: the form's own, or the one that the answer names.

import { ask, line_below, progress, signed_out, tell } from "./progress.js";
import { reason, word } from "./words.js";

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.work === undefined) return;
  event.preventDefault();
  const button = form.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  const news = line_below(form);
  tell(news, "soft", word("asking"));
  work(form, news).catch((error) => {
    tell(news, "verdict bad", error.message);
    button.removeAttribute("aria-disabled");
  });
});

for (const form of document.querySelectorAll("form[data-begin]")) form.requestSubmit();

async function work(form, news) {
  const body = new URLSearchParams(new FormData(form));
  const answer = await ask(form.action, { method: "POST", body, headers: { Accept: "application/x-ndjson" } });
  if (signed_out(answer)) return form.submit(); // nothing was done; the answer to a form is the sign-in page
  if (!answer.ok) throw new Error(await reason(answer));
  let next = "";
  for await (const event of progress(answer)) { // to its end: a request that is left looks like a failure
    if (event.event === "progress") tell(news, "soft", `${event.message}…`);
    else if (event.status === 401) return form.submit();
    else if (event.event === "error") throw new Error(event.detail);
    else next = form.dataset.work || event.url;
  }
  if (!next) throw new Error(word("broken"));
  location.assign(next);
}
