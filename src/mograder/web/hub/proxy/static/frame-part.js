// What the parts of the bar share that are loaded when they are needed.

import { fold } from "./frame.js";

// The stylesheet of a part; it lies beside this script.
export function styled(name) {
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL(name, import.meta.url).href });
  document.head.append(link);
  return link;
}

// A line that comes is seen, such as a message, or who works in the notebook.
const bar = document.getElementById("bar");
new MutationObserver((changes) => changes.some(({ addedNodes }) => addedNodes.length) && fold(false)).observe(bar, { childList: true });
