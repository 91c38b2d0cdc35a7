// Requests to the API of marking. A hub that is away is told from one that refuses.

import { word } from "./words.js";

const PATIENCE_MS = 30000; // a connection may end without a word; what is read may be large and take longer
const AWAY = new Set([429, 500, 502, 503, 504]);

// The hub answered, and did not do what it was asked.
export class Refused extends Error {
  constructor(status, message, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

// No answer of the hub: the same request may succeed later.
export class Away extends Error {}

const data = document.querySelector("main").dataset;

export const at_question = (id, question) => `${data.api}/answers/${id}/questions/${encodeURIComponent(question)}`;
export const at_comments = (question) => `${data.api}/questions/${encodeURIComponent(question)}/comments`;
export const at_api = (path) => data.api + path;

export async function call(method, address, body, more = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const signal = method === "GET" ? null : AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(address, { method, headers, body: sent, cache: "no-store", signal, ...more }).catch(() => null);
  // A front that answers in the hub's place has no number of the request, and tells nothing.
  if (!answer || !answer.headers.has("x-request-id") || AWAY.has(answer.status)) throw new Away(word("away"));
  if (answer.redirected || answer.status === 401) throw new Refused(401, word("signin"));
  if (answer.ok) return answer.status === 204 ? null : answer.json().catch(() => Promise.reject(new Away(word("away"))));
  const told = await answer.json().catch(() => null);
  if (answer.status === 403 && !told) throw new Refused(401, word("signin")); // so the hub answers whom it does not know
  throw new Refused(answer.status, told?.detail ?? word("status", "", answer.status), told);
}
