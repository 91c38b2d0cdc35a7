// Single letters are keys where nothing is being written; the list of them is the page's own table.

import { announce, of } from "./marking-dom.js";
import { word } from "./words.js";

const WRITTEN = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";
const STORED = "mograder-marking-letters";

// `acts` by name; `digit` is told a number key, `onward` Ctrl+Enter, `leave` Escape in a field.
export function listen_to_keys({ acts, digit, onward, leave }) {
  const table = new Map([...document.querySelectorAll("[data-act]")].map((each) => [each.dataset.keys, acts[each.dataset.act]]));
  const letters = of("letters");
  try { letters.checked = localStorage.getItem(STORED) !== "off"; } catch { /* then they are on */ }
  letters.addEventListener("change", () => {
    try { localStorage.setItem(STORED, letters.checked ? "on" : "off"); } catch { /* for this page only */ }
    announce(word(letters.checked ? "keyson" : "keysoff"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
    const writing = event.target.closest?.(WRITTEN);
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return did(event, onward);
    if (event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && writing) return did(event, leave);
    if (writing || !letters.checked) return;
    const act = /^[1-9]$/.test(event.key) ? () => digit(Number(event.key)) : table.get(event.key);
    // Held down, a key would undo what it did; only the ways go on.
    if (act && (!event.repeat || act === acts.next || act === acts.previous)) did(event, act);
  });
}

function did(event, act) {
  event.preventDefault();
  act();
}

// Within a dialog: the keys of its own buttons, unless something is being written.
export function dialog_keys(dialog, acts) {
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.target.closest(WRITTEN) || !of("letters").checked || !acts[event.key]) return;
    did(event, acts[event.key]);
  });
}
