// The page's own words, which stand in its template and nowhere else, ready to be translated.

export function word(name, item = "", why = "") {
  const text = document.querySelector("#words").dataset[name];
  return text.replace("{item}", () => item).replace("{why}", () => why);
}

export async function reason(answer) {
  const problem = await answer.json().catch(() => null);
  return problem?.detail ?? word("status", "", answer.status);
}
