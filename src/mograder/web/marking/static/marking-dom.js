// Small helpers to build parts of the page; text is always text.

import { short_time } from "./words.js";

export const of = (id) => document.getElementById(id);

// make("p", { class: "soft", hidden: true, onclick: act }, "text", node, …)
export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((each) => each !== null && each !== undefined && each !== ""));
  return made;
}

// Markup that the hub has rendered and cleaned.
export function markup(html, name = "div", style = "text") {
  const made = make(name, { class: style });
  made.innerHTML = html;
  return made;
}

export const number_text = (value) => (value === null || value === undefined ? "" : String(Math.round(value * 1000) / 1000));

// The number that a field holds: null if it is empty, NaN if it holds another text.
export function number_in(field) {
  const text = field.value.trim().replace(",", ".").replace("−", "-");
  if (!text) return null;
  return /^[+-]?(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : NaN;
}

export function moment(text) {
  const then = new Date(text);
  if (Number.isNaN(then.valueOf())) return text;
  return short_time(then);
}

// Something that can be read later by a screen reader, and is not shown.
export function announce(text) {
  const news = of("news");
  news.textContent = "";
  setTimeout(() => (news.textContent = text), 50);
}
