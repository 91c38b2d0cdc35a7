import { word } from "./words.js";

// The answer to a request; the page's own words, not the browser's, where none comes.
export async function ask(address, options) {
  const answer = await fetch(address, options).catch(() => null);
  if (!answer) throw new Error(word("unreachable"));
  return answer;
}

// The line below a form that tells what its press does or has done.
export function line_below(form) {
  const group = form.closest(".buttons, .acts") ?? form;
  const found = group.nextElementSibling;
  if (found?.classList.contains("news-line")) return found;
  const made = document.createElement("p");
  made.setAttribute("role", "status");
  made.dataset.of = form.getAttribute("action"); // live.js keeps it there
  group.after(made);
  return made;
}

export function tell(news, style, message) {
  news.className = `news-line ${style}`;
  news.textContent = message;
}

// The lines of a job's progress, the last one being its result or its failure.
export async function* progress(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
    if (done) return;
  }
}

// Whether the hub, or a front, asks for a login; the hub's other refusals are JSON.
export function signed_out({ status, headers }) {
  return status === 401 || (status === 403 && !headers.get("content-type")?.includes("json"));
}
