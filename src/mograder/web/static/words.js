// The page's own words, which stand in its template and nowhere else, ready to be translated.

export function word(name, item = "", why = "") {
  const text = document.querySelector("#words").dataset[name];
  return text.replace("{item}", () => item).replace("{why}", () => why);
}

export async function reason(answer) {
  const problem = await answer.json().catch(() => null);
  return problem?.detail ?? word("status", "", answer.status);
}

// A Unix time in the reader's own zone and language.
export function moment(seconds) {
  const then = new Date(seconds * 1000);
  const today = then.toDateString() === new Date().toDateString();
  return then.toLocaleString(undefined, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}
