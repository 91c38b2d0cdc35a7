// Speaks with the page around a notebook's page: the hub's own, with the bar (static/frame.js).
//
// Everything here is a service and protects nothing: a notebook's own script may send the same
// messages, so the page around believes none of them. It asks the hub. Runs in every kind of origin,
// right after <head>, before anything of marimo's; each part is on its own, and one that fails
// leaves the others working.
(() => {
  "use strict";
  const around = window.parent;
  if (around === window) return;
  const { root, page, viewer } = document.currentScript.dataset;
  const rootUrl = new URL(root, location.href).href;
  // The address of the tab: relative links of a notebook are meant from there.
  const pageUrl = new URL(page, location.href).href;
  const hub = new URL(pageUrl).origin;

  const tell = (kind, rest) => around.postMessage({ mograder: kind, ...rest }, hub);

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

  // ---- what the address bar and the tab show -------------------------------------------------

  let title = "";
  const tellTitle = () => {
    if (document.title && document.title !== title) tell("title", { text: (title = document.title) });
  };
  const tellAddress = () => tell("address", { search: location.search, hash: location.hash });

  part("its title", () => {
    addEventListener("DOMContentLoaded", () => {
      tellTitle();
      const kinds = { childList: true, subtree: true, characterData: true };
      new MutationObserver(tellTitle).observe(document.head, kinds);
    });
  });

  part("telling when its cells are there", () => {
    const look = setInterval(() => {
      if (!cells().length) return;
      clearInterval(look);
      tell("shown");
    }, 300);
  });

  part("one way to stop", () => {
    // marimo's own button ends the kernel with a frightening question; the bar has *Stop*.
    const style = document.createElement("style");
    style.textContent = "[data-testid=shutdown-button] { display: none !important; }";
    document.head.append(style);
  });

  part("writing after a double-click", () => {
    // marimo opens the cell's editor and leaves the focus beside it, where keys are commands.
    addEventListener("dblclick", ({ target }) => {
      const cell = target.closest?.("[data-cell-id]");
      let left = 20;
      const enter = () => {
        const editor = cell.querySelector(".cm-content");
        const inside = cell.contains(document.activeElement) && document.activeElement.closest("input, textarea, .cm-editor");
        if (inside || left-- < 1) return;
        if (editor?.offsetParent) editor.focus();
        setTimeout(enter, 100);
      };
      if (cell && !target.closest("input, textarea, button, .cm-editor")) enter();
    });
  });

  part("the name beside the cursor", () => {
    // What marimo shows to others who edit the notebook at the same time, else "Anonymous".
    if (viewer) localStorage.setItem("marimo:rtc:username", JSON.stringify(viewer));
  });

  part("its address", () => {
    for (const name of ["pushState", "replaceState"]) {
      const native = history[name].bind(history);
      define(history, name, (...given) => {
        native(...given);
        tellAddress();
      });
    }
    addEventListener("popstate", tellAddress);
    addEventListener("hashchange", tellAddress);
  });

  // ---- the session: its socket closes, it refuses, it saves, it lacks a network --------------

  const unreachable =
    /name resolution|Name or service not known|nodename nor servname|Network is unreachable|NameResolutionError|getaddrinfo failed|Could not (?:resolve host|establish connection)|couldn't connect to 'https?:/i;
  const longest = 200000; // characters of a message that are looked through

  // Work that is not saved is handed to the page around, which keeps it in the browser: the newest
  // body of marimo's own save, from its request or, where marimo sends none because its connection
  // is closed, from the state of its page, with the codes that were saved last as `base`. Only if the
  // page around asks for it: in one's own notebook.
  const work = { wanted: false, saved: null, told: "", source: null, due: 0, again: 0 };
  const most = 2000000; // characters
  const soon = 300; // milliseconds after a key
  const later = 1000; // between two searches for the state of marimo's page
  const hangs = 4000; // without an answer to a save: the page around asks the hub

  const codesOf = (body) => {
    try {
      return JSON.stringify(JSON.parse(body).codes);
    } catch {
      return null;
    }
  };

  const savedBy = ([what, how]) => {
    const address = what instanceof Request ? what.url : String(what);
    if (!work.wanted || !ours(address) || !/\/api\/kernel\/save$/.test(new URL(address, document.baseURI).pathname)) return null;
    const body = what instanceof Request ? what.clone().text() : Promise.resolve(how?.body);
    return body.then((text) => (typeof text === "string" ? text : ""), () => "");
  };

  const unsaved = (body) => {
    if (!work.wanted || body === work.told) return;
    work.told = body;
    const based = withBase(body);
    const sent = based.length > most ? body : based;
    tell("unsaved", { body: sent.length <= most ? sent : null }); // null: too long to be kept
  };

  const withBase = (body) => {
    try {
      return JSON.stringify({ ...JSON.parse(body), base: JSON.parse(work.saved) ?? undefined });
    } catch {
      return body;
    }
  };

  const isSaved = (body) => {
    work.saved = codesOf(body);
    if (!handOver()) unsaved("");
  };

  // marimo's notebook as its page holds it: a value of the atoms that React's components use.
  const look = () => {
    if (work.source) return work.source[1].get(work.source[2]);
    if (performance.now() < work.again) return null;
    work.again = performance.now() + later;
    for (const element of document.querySelectorAll("body > *")) {
      const key = Object.keys(element).find((name) => name.startsWith("__reactContainer$"));
      const root = key && element[key].stateNode?.current;
      const left = root ? [root] : [];
      for (let count = 0; left.length && count < 200000; count++) {
        const fiber = left.pop();
        if (fiber.sibling) left.push(fiber.sibling);
        if (fiber.child) left.push(fiber.child);
        for (let hook = fiber.memoizedState; hook?.next !== undefined; hook = hook.next) {
          const value = hook.memoizedState;
          if (!Array.isArray(value) || !value[0]?.cellData || !value[0].cellIds?.inOrderIds) continue;
          if (typeof value[1]?.get === "function" && value[2]) return (work.source = value)[0];
        }
      }
    }
    return null;
  };

  const bodyNow = () => {
    try {
      const now = look();
      const cells = now?.cellIds.inOrderIds.map((id) => now.cellData[id]) ?? [];
      if (!cells.length || cells.some((cell) => typeof cell?.code !== "string")) return null;
      const [codes, names, configs] = ["code", "name", "config"].map((name) => cells.map((cell) => cell[name]));
      return JSON.stringify({ codes, names, configs });
    } catch {
      return null;
    }
  };

  // Returns whether the page's state could be read.
  const handOver = () => {
    const body = work.wanted ? bodyNow() : null;
    if (body === null) return false;
    if (work.saved !== null) unsaved(codesOf(body) === work.saved ? "" : body);
    return true;
  };

  // Notes what marimo's page began with, before anything is typed.
  const before = () => {
    if (work.wanted && work.saved === null) work.saved = codesOf(bodyNow() ?? "");
  };

  part("keeping what is not saved", () => {
    const after = () => {
      clearTimeout(work.due);
      if (work.wanted) work.due = setTimeout(handOver, soon);
    };
    for (const kind of ["keydown", "pointerdown", "paste", "drop"]) addEventListener(kind, before, true);
    for (const kind of ["keyup", "input", "pointerup", "paste", "drop"]) addEventListener(kind, after, true);
    addEventListener("beforeunload", handOver);
  });

  const kernels = new Set(); // marimo's open connections to its kernel
  let hasNotebook = false;

  part("knowing how its session is", () => {
    const Native = window.WebSocket;
    class Watched extends Native {
      constructor(...given) {
        super(...given);
        if (!ours(this.url)) return;
        const isKernels = new URL(this.url).pathname.endsWith("/ws");
        // marimo sends the notebook once. A page whose line broke before it came stays empty, and
        // is told only that it has connected again; a page that is loaded again gets it.
        const check = ({ data }) => {
          if (hasNotebook) return;
          const [, op] = /^\{"op": ?"([a-z-]+)"/.exec(data) ?? [];
          if (op === "kernel-ready") hasNotebook = true;
          else if (op === "alert" && data.includes('"Reconnected"')) location.reload();
        };
        if (isKernels) this.addEventListener("message", check);
        this.addEventListener("open", () => {
          if (isKernels && kernels.add(this)) tell("joined", { is: true });
        });
        this.addEventListener("close", () => {
          handOver();
          kernels.delete(this);
          if (isKernels) tell("joined", { is: kernels.size > 0 });
          tell("lost");
        });
        this.addEventListener("message", ({ data }) => {
          before();
          if (typeof data !== "string" || data.length > longest || !unreachable.test(data)) return;
          // Only a cell's output counts, not its code.
          if (data.includes('"cell-op"')) tell("offline");
        });
      }
    }
    define(window, "WebSocket", Watched);
  });

  part("knowing what its session answers", () => {
    const native = window.fetch.bind(window);
    define(window, "fetch", async (...request) => {
      const save = savedBy(request);
      const late = save && setTimeout(tell, hangs, "lost");
      const answer = await native(...request).finally(() => clearTimeout(late)).catch(async (error) => {
        if (save) unsaved(await save);
        throw error;
      });
      if (save) (answer.ok ? isSaved : unsaved)(await save);
      if (!ours(answer.url)) return answer;
      // A restarted marimo refuses the token of the one before; loading the page again helps.
      if (answer.status === 401) tell("refused");
      else if (answer.headers.get("x-mograder-session") === "gone") tell("gone");
      else if (answer.ok && answer.url.startsWith(rootUrl + "api/kernel/save")) tell("saved");
      else if (answer.status === 403 && answer.url.startsWith(rootUrl + "api/kernel/rename")) tell("kept-name");
      return answer;
    });
  });

  // ---- links: what leaves the notebook opens in a tab of its own ------------------------------

  part("links", () => {
    const here = /^(?:#|blob:|data:|javascript:|mailto:)/i;
    const xlink = "http://www.w3.org/1999/xlink";
    const stays = (target) => !target || /^_(?:self|top|parent)$/i.test(target);
    // HTML's links and those in drawings (SVG), which may have an older kind of address.
    const prepare = (link) => {
      const old = !link.hasAttribute("href") && link.hasAttributeNS(xlink, "href");
      const href = old ? link.getAttributeNS(xlink, "href") : link.getAttribute("href");
      if (!href || link.hasAttribute("download") || here.test(href)) return;
      // A cell's file is below the session's address; the hub sends it as a download to a tab.
      const isFile = href.includes("@file/");
      const to = new URL(href, isFile ? document.baseURI : pageUrl);
      if (to.href.startsWith(rootUrl) && !isFile) return;
      if (old) link.setAttributeNS(xlink, "href", to.href);
      else link.setAttribute("href", to.href);
      if (!stays(link.getAttribute("target"))) return;
      link.setAttribute("target", "_blank");
      link.setAttribute("rel", `${link.getAttribute("rel") ?? ""} noopener`.trim());
    };
    const leave = (event) => {
      const link = event.composedPath().find((node) => node.localName === "a");
      if (link) prepare(link);
    };
    for (const kind of ["pointerdown", "click", "auxclick"]) addEventListener(kind, leave, true);
    // A click on a link outside the document raises no event here; Altair's charts make such clicks.
    const prototype = HTMLAnchorElement.prototype;
    for (const name of ["click", "dispatchEvent"]) {
      const native = prototype[name];
      define(prototype, name, function (...given) {
        if (!this.isConnected) prepare(this);
        return native.apply(this, given);
      });
    }
    addEventListener(
      "submit",
      ({ target, submitter }) => {
        const action = submitter?.getAttribute("formaction") ?? target.getAttribute("action");
        if (!action || here.test(action)) return;
        const to = new URL(action, pageUrl).href;
        if (to.startsWith(rootUrl)) return;
        const named = submitter?.hasAttribute("formtarget") ? submitter : target;
        const attribute = named === target ? "target" : "formtarget";
        if (stays(named.getAttribute(attribute))) named.setAttribute(attribute, "_blank");
      },
      true,
    );
  });

  // ---- printing: the notebook, not the window that shows a part of it -------------------------

  part("printing", () => {
    addEventListener("keydown", (event) => {
      const { ctrlKey, metaKey, shiftKey, altKey, key } = event;
      if (!(ctrlKey || metaKey) || shiftKey || altKey || key.toLowerCase() !== "p") return;
      event.preventDefault();
      print();
    });
  });

  // ---- what the page around asks --------------------------------------------------------------

  const cells = () => [...document.querySelectorAll("[data-cell-id][id^='cell-']")];

  const show = (name, index) => {
    const named = name && name !== "_" && cells().find((cell) => cell.dataset.cellName === name);
    const cell = named || cells()[index];
    if (!cell) return;
    cell.scrollIntoView({ block: "center" });
    (cell.querySelector(".cm-content") ?? cell).focus({ preventScroll: true });
  };

  // Another person will type here as well: marimo's page must be loaded again to learn of it, once
  // what was typed is saved (marimo saves a second after each change).
  const QUIET_MS = 2500, PATIENCE_MS = 15000;
  let typed = 0, joining = 0, quiet = false;
  addEventListener("keydown", () => (typed = performance.now()), true);
  const shared = () => [...document.scripts].some(({ textContent }) => /"rtc_v2":\s*true/.test(textContent));
  const join = () => {
    const now = performance.now();
    joining ||= now;
    const before = quiet; // keys that a busy page has not seen yet arrive before the next look
    quiet = now - typed > QUIET_MS;
    if ((before && quiet) || now - joining > PATIENCE_MS) location.reload();
    else setTimeout(join, 250);
  };

  // A cell that its owner puts back. marimo's page hears of it as of another page's change, and saves it
  // as if it had been typed; other cells keep what is typed in them. Where the page's state cannot be
  // read, or the cell is not as it was saved, nothing is done.
  const PUT_MS = 8000;
  const putCell = ({ index, before: old, after }) => {
    const codeOf = (id) => look()?.cellData[id]?.code;
    const ids = look()?.cellIds.inOrderIds ?? [];
    const same = ids.filter((id) => codeOf(id)?.trim() === old.trim());
    const cellId = same.includes(ids[index]) ? ids[index] : same.length === 1 ? same[0] : null;
    const [kernel] = kernels;
    if (!work.wanted || cellId === null || !kernel || shared()) return null;
    const op = "notebook-document-transaction";
    const transaction = { changes: [{ type: "set-code", cellId, code: after }], source: "mograder" };
    const message = JSON.stringify({ op, data: { op, transaction } });
    kernel.dispatchEvent(new MessageEvent("message", { data: message }));
    return () => JSON.parse(work.saved ?? "null")?.[look()?.cellIds.inOrderIds.indexOf(cellId)]?.trim() === after.trim();
  };
  const answerPut = async (asked) => {
    if (!kernels.size) return; // another page has taken over: the first answer counts, and is that page's
    let done = false;
    try {
      const isSaved = putCell(asked);
      const end = performance.now() + PUT_MS; // a hidden page is woken once a second
      while (isSaved && !(done = isSaved()) && performance.now() < end) {
        await new Promise((next) => setTimeout(next, 100));
      }
    } catch (error) {
      console.debug("mograder: the cell could not be put back here", error);
    }
    tell("cell-put", { mark: asked.mark, done });
  };

  addEventListener("message", ({ source, origin, data }) => {
    if (source !== around || origin !== hub || typeof data !== "object" || data === null) return;
    if (data.mograder === "hello") {
      work.wanted = data.keep === true;
      before();
      title = "";
      tellTitle();
      // The frame's own address has no fragment, since the hub is not told of the tab's.
      if (data.hash && !location.hash) location.replace(location.href + data.hash);
    } else if (data.mograder === "hand-over") {
      handOver();
      tell("handed-over");
    } else if (data.mograder === "cell") show(data.name, data.index);
    else if (data.mograder === "put-cell") answerPut(data);
    else if (data.mograder === "print") print();
    else if (data.mograder === "together" && !joining && !shared()) join();
  });
})();
