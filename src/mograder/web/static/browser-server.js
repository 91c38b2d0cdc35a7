// Requests to the assignment server, with the token of the person who signed in.

export class Refused extends Error {
  constructor(status, answer) {
    super(answer?.error ?? `The server answered ${status}.`);
    this.status = status;
    this.answer = answer ?? {};
  }
}

export class Unreachable extends Error {}

// Whether the server has decided: 5xx, 429 and 408 (a slow line) pass, and so does what another program answers in its
// place.
export const isDecided = (error) =>
  error instanceof Refused && error.answer.error && ![408, 429].includes(error.status) && error.status < 500;

export const passes = (error) => error instanceof Unreachable || (error instanceof Refused && !isDecided(error));

export function serverOf(root, person) {
  const ask = async (path, { method = "GET", headers = {}, body, kind = "json", cache = "no-store" } = {}) => {
    const sent = { ...headers };
    if (person?.token) sent.Authorization = `Bearer ${person.token}`;
    let answer;
    let content;
    try {
      answer = await fetch(root + path, { method, headers: sent, body, cache });
      if (answer.ok && kind === "bytes") content = new Uint8Array(await answer.arrayBuffer());
      else content = await answer.text();
    } catch (error) {
      throw new Unreachable(String(error));
    }
    if (!answer.ok || kind === "json") {
      try {
        content = JSON.parse(content);
      } catch {
        content = undefined;
      }
    }
    if (!answer.ok) throw new Refused(answer.status, content);
    // Such as the page of a front that asks for a login.
    if (content === undefined && answer.status !== 204) throw new Unreachable("The answer is not the server's.");
    return content;
  };

  const of = (item, rest) => `/assignments/${encodeURIComponent(item)}/${rest}`;
  const mine = () => `user=${encodeURIComponent(person.user)}`;

  return {
    me: () => ask("/me"),
    register: (user, code, key) =>
      ask("/register", {
        method: "POST",
        body: JSON.stringify({ user, enrollment_code: code, retry_key: key }),
      }),
    assignments: () => ask("/assignments"),
    // The browser keeps files, and asks each time whether they are the newest.
    file: (item, name) =>
      ask(of(item, `files/${encodeURIComponent(name)}`), { kind: "bytes", cache: "no-cache" }),
    async draft(item) {
      const found = await ask(of(item, `draft?${mine()}`));
      return found.tag === null ? null : found;
    },
    saveDraft: (item, text, base) =>
      ask(of(item, `draft?${mine()}`), {
        method: "PUT",
        headers: base ? { "If-Match": `"${base}"` } : { "If-None-Match": "*" },
        body: new TextEncoder().encode(text),
      }),
    submit: (item, text, late) =>
      ask(of(item, `submit?${mine()}${late ? "&late=replace" : ""}`), {
        method: "POST",
        headers: { "Content-Type": "application/octet-stream" },
        body: new TextEncoder().encode(text),
      }),
    status: (item) => ask(of(item, `status?${mine()}&detail=1`)),
    feedback: (item) =>
      ask(of(item, `feedback/${encodeURIComponent(person.user)}`), { kind: "bytes" }),
  };
}
