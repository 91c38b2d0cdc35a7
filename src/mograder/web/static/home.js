// The first page without reloads: it stays true, Stop answers in place, and so does Validate.

import { form_to, keep_true, refresh } from "./live.js";
import { ask, line_below, progress, signed_out, tell } from "./progress.js";
import { tell_times } from "./times.js";
import { reason, word } from "./words.js";

const said = document.querySelector("#said");

keep_true(document.querySelector("main").dataset.events);

document.addEventListener("submit", (event) => {
  const form = event.target;
  const act = form.dataset.stop ? stop : form.dataset.validate ? validate : null;
  if (!act) return;
  event.preventDefault();
  const button = form.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  const now = () => form_to(document, form.getAttribute("action")); // news may have put another form in its place
  act(form).finally(() => now()?.querySelector("button").removeAttribute("aria-disabled"));
});

async function stop(form) {
  const news = line_below(form);
  tell(news, "soft", word("stopping", form.dataset.stop));
  try {
    const answer = await ask(form.action, { method: "POST", headers: { Accept: "application/json" } });
    if (signed_out(answer)) return form.submit();
    if (!answer.ok) throw new Error(await reason(answer));
    document.querySelector("#sessions").focus();
    news.remove();
    await refresh();
    said.textContent = word("stopped", form.dataset.stop);
  } catch (error) {
    tell(news, "verdict bad", word("unstopped", form.dataset.stop, error.message));
  }
}

async function validate(form) {
  const name = form.dataset.validate;
  said.textContent = word("validating", name);
  fill(form, paragraph("soft", word("asking")));
  try {
    const answer = await ask(form.action, { method: "POST", headers: { Accept: "application/x-ndjson" } });
    if (signed_out(answer)) return form.submit();
    if (!answer.ok) throw new Error(await reason(answer));
    for await (const event of progress(answer)) {
      if (event.event === "progress") fill(form, paragraph("soft", `${event.message}…`));
      else if (event.event === "error") throw new Error(event.detail);
      else return await show(form, name);
    }
    throw new Error(word("broken"));
  } catch (error) {
    fill(form, paragraph("verdict bad", word("unvalidated", name, error.message)));
    slot_of(form).removeAttribute("data-filled"); // the next refresh takes it away
    said.textContent = word("unvalidated", name, error.message);
  }
}

async function show(form, name) {
  const answer = await ask(form.dataset.result, { headers: { Accept: "text/html" } });
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  const result = found.querySelector("#result");
  if (!result) throw new Error(word("gone"));
  tell_times(result);
  const close = document.createElement("button");
  close.type = "button";
  close.className = "act";
  close.textContent = word("close");
  close.dataset.close = "";
  fill(form, ...result.childNodes, close);
  slot_of(form).classList.add("open");
  said.textContent = `${name}: ${slot_of(form).querySelector(".verdict p").textContent}`;
}

document.addEventListener("click", (event) => {
  if (!("close" in event.target.dataset)) return;
  const slot = event.target.closest("[data-filled]");
  const row = slot.closest("li");
  slot.removeAttribute("data-filled");
  slot.classList.remove("open");
  slot.replaceChildren();
  row.querySelector(".act")?.focus();
  refresh();
});

function slot_of(form) {
  return document.getElementById(form.dataset.slot);
}

// What stands here now is the script's: a refresh of the page leaves it alone.
function fill(form, ...nodes) {
  const slot = slot_of(form);
  slot.dataset.filled = "";
  slot.classList.remove("open");
  slot.replaceChildren(...nodes);
}

function paragraph(style, text) {
  const made = document.createElement("p");
  made.className = style;
  made.textContent = text;
  return made;
}
