// The result of a validation beside the notebook: read when it is there, with a way to each cell.

import { styled } from "./frame-part.js";
import { ask, progress } from "./progress.js";
import { tell_times } from "./times.js";
import { word } from "./words.js";

const style = styled("frame-panel.css");
const ready = new Promise((done) => (style.onload = style.onerror = done));

// Reads a validation to its end, then its page; `say` is told the news, `point` a cell to show.
export async function read(answer, where, say, point) {
  for await (const news of progress(answer)) {
    if (news.event === "progress") say(`${news.message}…`);
    else if (news.event === "error") throw new Error(news.detail);
    else return found(where, point);
  }
  throw new Error(word("broken"));
}

async function found(where, point) {
  const answer = await ask(where, { headers: { Accept: "text/html" } });
  const result = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#result");
  if (!result) throw new Error(word("broken"));
  tell_times(result);
  await ready;
  for (const place of result.querySelectorAll("[data-cell]")) {
    const go = document.createElement("button");
    go.textContent = word("cell");
    go.addEventListener("click", () => point(place.dataset.cell, Number(place.dataset.index)));
    place.append(" ", go);
  }
  return [...result.childNodes];
}
