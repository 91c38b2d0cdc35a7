// Tells why a session ended, over the page that has lost it, and leads back to it.
//
// marimo's page only knows that its WebSocket closed, and tries again for a while. The hub knows
// more: so whenever a socket of the session closes, or a request of the page is told that there
// is no session, this asks. A hub that is being restarted does not answer, or a front does in its
// place, and then nothing is said: marimo reconnects by itself. Runs in either kind of origin,
// before anything of marimo's.
(() => {
  "use strict";
  const { root, ask, again } = document.currentScript.dataset;
  const rootUrl = new URL(root, location.href).href;
  const nativeFetch = window.fetch.bind(window);

  const part = (name, install) => {
    try {
      install();
    } catch (error) {
      console.debug("mograder: the page works without " + name, error);
    }
  };

  const define = (owner, name, value) =>
    Object.defineProperty(owner, name, { value, configurable: true, writable: true });

  const ours = (address) => {
    try {
      return new URL(address, document.baseURI).href.replace(/^ws/, "http").startsWith(rootUrl);
    } catch {
      return false;
    }
  };

  // ---- asking --------------------------------------------------------------------------------

  const pauses = [0, 1000, 2000, 4000, 8000, 15000, 30000]; // milliseconds; the last one repeats
  const enough = 12; // answers that all is well, while the page stays without a socket
  const open = new Set();
  let timer = 0;
  let round = 0;
  let wells = 0;
  let told = false;

  const stop = () => {
    clearTimeout(timer);
    timer = 0;
  };

  const later = () => {
    stop();
    if (told || wells >= enough) return;
    timer = setTimeout(inquire, pauses[Math.min(round, pauses.length - 1)]);
    round += 1;
  };

  const soon = () => {
    if (told || open.size) return;
    round = wells = 0;
    later();
  };

  const inquire = async () => {
    timer = 0;
    const answer = await nativeFetch(ask, { cache: "no-store" })
      .then((response) => (response.ok ? response.json() : null))
      .catch(() => null);
    if (answer?.state === "ended" || answer?.state === "signed-out") tell(answer);
    else if (!open.size) {
      if (answer?.state === "running") wells += 1;
      later();
    }
  };

  part("knowing when its session ends", () => {
    const Native = window.WebSocket;
    class Watched extends Native {
      constructor(...given) {
        super(...given);
        if (!ours(this.url)) return;
        this.addEventListener("open", () => {
          open.add(this);
          stop();
        });
        this.addEventListener("close", () => {
          open.delete(this);
          // One of several attempts to connect must not begin the pauses anew.
          if (!timer) soon();
        });
      }
    }
    define(window, "WebSocket", Watched);
  });

  // Back at a page that had lost its session a while ago.
  addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && (timer || wells >= enough)) soon();
  });

  // marimo's page reconnects to a restarted server with the old server's token, says
  // "Reconnected", and has every request refused with 401. Loading the page again gets the new
  // token. Not twice in a row: a 401 right after a reload has another reason.
  part("reloading after a restart", () => {
    const patience = 10000;
    const navigation = performance.getEntriesByType("navigation")[0];
    const justReloaded = () => navigation?.type === "reload" && performance.now() < patience;
    let reloading = false;
    define(window, "fetch", async (...request) => {
      const answer = await nativeFetch(...request);
      if (!ours(answer.url)) return answer;
      if (answer.status === 401 && !reloading && !justReloaded()) {
        reloading = true;
        location.reload();
      }
      if (answer.headers.get("x-mograder-session") === "gone" && !told) inquire();
      return answer;
    });
  });

  // ---- telling -------------------------------------------------------------------------------

  const style = `
    :host { all: initial; }
    .ended {
      position: fixed; inset: 0 0 auto 0; z-index: 2147483647; box-sizing: border-box;
      display: flex; flex-wrap: wrap; gap: 12px 20px; align-items: center; justify-content: center;
      max-height: 60vh; overflow: auto; padding: 14px 20px;
      font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
      color: #1d2522; background: #fdf1dc; border-bottom: 2px solid #8a5300;
      box-shadow: 0 4px 24px rgb(0 0 0 / 25%); color-scheme: light dark;
    }
    .words { flex: 1 1 20rem; max-width: 46rem; overflow-wrap: anywhere; }
    strong { display: block; font-weight: 650; }
    p { margin: 2px 0 0; font-size: 15px; }
    a {
      flex: none; padding: 9px 18px; border-radius: 8px; font-weight: 600; text-decoration: none;
      color: #ffffff; background: #1f6f5c;
    }
    a:hover { background: #185a4a; text-decoration: underline; }
    a:focus-visible { outline: 3px solid #0b63ce; outline-offset: 2px; }
    @media (prefers-color-scheme: dark) {
      .ended { color: #f3ede2; background: #33291a; border-bottom-color: #f0bd6b; }
      a { color: #0d1f1a; background: #6cc5ab; }
      a:hover { background: #8ad6bf; }
      a:focus-visible { outline-color: #8ab8ff; }
    }
    @media (max-width: 34rem) { .ended { padding: 12px 16px; } a { flex: 1; text-align: center; } }
    @media print { .ended { display: none; } }
  `;

  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  const tell = (answer) => {
    if (told || !document.body) return;
    told = true;
    stop();
    // In a shadow, so that neither marimo's styles nor a notebook's reach it by accident. First
    // in the page, so that the keyboard finds it first; the focus stays where somebody types.
    const host = document.createElement("mograder-ended");
    const shadow = host.attachShadow({ mode: "open" });
    const place = element("div", { className: "ended" });
    place.setAttribute("role", "alert");
    shadow.append(element("style", { textContent: style }), place);
    document.body.prepend(host);
    const words = element("div", { className: "words" });
    words.append(
      element("strong", { textContent: answer.title }),
      element("p", { textContent: answer.text }),
    );
    const label = again.includes("/user/") ? "Open it again" : "Back to the course";
    // Only now: an alert speaks of what changes in it.
    place.append(words, element("a", { href: again, textContent: label }));
  };
})();
