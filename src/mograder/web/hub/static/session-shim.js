// What a session's page needs to live in an opaque origin.
//
// The hub serves every notebook page under `Content-Security-Policy: sandbox` without
// allow-same-origin, so that a notebook's own JavaScript cannot act as the person who looks at
// it. Such a page has no storage, no cookie, no service worker, and its <base> points to
// /s/<capability>/. This script is put right after <head>, before anything of marimo's runs, and
// gives marimo and its widgets harmless stand-ins. It protects nothing: the hub does. Each part
// is on its own, and one that fails leaves the others working.
(() => {
  "use strict";
  if (self.origin !== "null") return; // an ordinary origin lacks nothing

  // The document's own address as it was at load: marimo rewrites it with history.replaceState,
  // and the sandbox lets any script do so. Relative links of a notebook are meant from here.
  const pageUrl = location.href.split("#")[0];
  const sessionBase = document.baseURI;

  const part = (name, install) => {
    try {
      install();
    } catch (error) {
      console.debug("mograder: the page works without " + name, error);
    }
  };

  const define = (owner, name, value) =>
    Object.defineProperty(owner, name, { value, configurable: true, writable: true });

  // ---- storage: kept in memory, gone with the page ------------------------------------------

  const memoryStorage = () => {
    const items = new Map();
    const methods = {
      getItem: (key) => items.get(String(key)) ?? null,
      setItem: (key, value) => void items.set(String(key), String(value)),
      removeItem: (key) => void items.delete(String(key)),
      clear: () => items.clear(),
      key: (index) => [...items.keys()][index] ?? null,
    };
    // Storage can also be used like a plain object: storage.name = "value", Object.keys(storage).
    return new Proxy(methods, {
      get: (target, key) => {
        if (key === "length") return items.size;
        if (typeof key === "symbol" || key in target) return target[key];
        return items.get(key);
      },
      set: (_, key, value) => (items.set(String(key), String(value)), true),
      has: (target, key) => key in target || items.has(key),
      deleteProperty: (_, key) => (items.delete(key), true),
      ownKeys: () => [...items.keys()],
      getOwnPropertyDescriptor: (_, key) =>
        items.has(key)
          ? { value: items.get(key), writable: true, enumerable: true, configurable: true }
          : undefined,
    });
  };

  for (const name of ["localStorage", "sessionStorage"]) {
    part(name, () => define(window, name, memoryStorage()));
  }

  part("cookies", () => {
    Object.defineProperty(document, "cookie", {
      get: () => "",
      set: () => undefined,
      configurable: true,
    });
  });

  // A database that refuses to open, the way private browsing once did: libraries expect that.
  part("indexedDB", () => {
    const refused = () => {
      const request = new EventTarget();
      const error = new DOMException("No database in a session page", "InvalidStateError");
      Object.assign(request, { error, result: undefined, readyState: "done" });
      setTimeout(() => {
        const event = new Event("error");
        request.onerror?.(event);
        request.dispatchEvent(event);
      });
      return request;
    };
    define(window, "indexedDB", {
      open: refused,
      deleteDatabase: refused,
      databases: async () => [],
      cmp: (a, b) => (a < b ? -1 : a > b ? 1 : 0),
    });
  });

  part("caches", () => {
    const cache = {
      match: async () => undefined,
      matchAll: async () => [],
      put: async () => undefined,
      add: async () => undefined,
      addAll: async () => undefined,
      delete: async () => false,
      keys: async () => [],
    };
    define(window, "caches", {
      open: async () => cache,
      match: async () => undefined,
      has: async () => false,
      delete: async () => false,
      keys: async () => [],
    });
  });

  // marimo looks for this property before it registers a worker; the hub does the worker's job
  // (it names the notebook on requests for public/*).
  part("service workers", () => {
    delete Navigator.prototype.serviceWorker;
  });

  // ---- frames: heights arrive as messages, since no frame may be measured --------------------

  part("frame heights", () => {
    const tallest = 20000;
    const frames = (root) => {
      const found = [...root.querySelectorAll("iframe")];
      for (const element of root.querySelectorAll("*")) {
        if (element.shadowRoot) found.push(...frames(element.shadowRoot));
      }
      return found;
    };
    addEventListener("message", (event) => {
      const height = event.data?.mograderFrameHeight;
      if (typeof height !== "number" || !(height > 0)) return;
      for (const frame of frames(document)) {
        if (frame.contentWindow === event.source) {
          frame.style.height = Math.min(height, tallest) + "px";
        }
      }
    });
    // marimo's page declares this later, and calls it from onload attributes; it would reach
    // into the frame's document and throw. A declared function can be assigned, not redefined.
    addEventListener("DOMContentLoaded", () => {
      window.__resizeIframe = () => undefined;
    });
  });

  // ---- clipboard: what this page copied can be pasted in it ----------------------------------

  part("clipboard", () => {
    const clipboard = navigator.clipboard;
    if (!clipboard) return;
    let own = null; // the last ClipboardItems this page wrote
    const native = {};
    for (const name of ["read", "readText", "write", "writeText"]) {
      native[name] = clipboard[name]?.bind(clipboard);
    }
    define(clipboard, "write", async (items) => {
      own = [...items];
      await native.write?.(items).catch(() => undefined);
    });
    define(clipboard, "writeText", async (text) => {
      const blob = new Blob([text], { type: "text/plain" });
      own = window.ClipboardItem ? [new ClipboardItem({ "text/plain": blob })] : null;
      await native.writeText(text);
    });
    define(clipboard, "read", async () => {
      try {
        return await native.read();
      } catch (error) {
        if (own) return own;
        throw error;
      }
    });
    define(clipboard, "readText", async () => {
      try {
        return await native.readText();
      } catch (error) {
        const item = own?.find((each) => each.types.includes("text/plain"));
        if (item) return (await item.getType("text/plain")).text();
        throw error;
      }
    });
  });

  // ---- links and downloads -------------------------------------------------------------------

  const linkOf = (event) =>
    event
      .composedPath()
      .find((node) => node instanceof HTMLAnchorElement && node.hasAttribute("href"));

  // A click on a[download] would navigate away: the browser ignores "download" for an address of
  // another origin, and every address is that here. Fetched and saved as a blob, it keeps its name.
  const save = async (href, name) => {
    const answer = await fetch(href);
    if (!answer.ok) throw new Error("status " + answer.status);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };

  const fileName = (link) => {
    if (link.download) return link.download;
    const last = new URL(link.href).pathname.split("/").pop() || "download";
    try {
      return decodeURIComponent(last);
    } catch {
      return last;
    }
  };

  part("downloads", () => {
    addEventListener(
      "click",
      (event) => {
        const link = linkOf(event);
        if (!link?.hasAttribute("download") || !link.href.startsWith(sessionBase)) return;
        event.preventDefault();
        event.stopPropagation();
        save(link.href, fileName(link)).catch((error) => {
          console.error("mograder: the download failed", error);
          alert("The download failed. Please try again.");
        });
      },
      true,
    );
  });

  part("links", () => {
    const absolute = /^(?:#|\/\/|[a-z][a-z0-9+.-]*:)/i;
    const repair = (event) => {
      const link = linkOf(event);
      if (!link || link.hasAttribute("download")) return;
      const href = link.getAttribute("href");
      if (absolute.test(href) || href.includes("@file/")) return;
      link.setAttribute("href", new URL(href, pageUrl).href);
    };
    // Before anything is done with a link: so that copying its address and middle clicks work too.
    for (const kind of ["pointerdown", "focusin", "click", "auxclick", "contextmenu"]) {
      addEventListener(kind, repair, true);
    }
    // "#section" alone would lead to <base>#section, away from the page.
    addEventListener(
      "click",
      (event) => {
        const href = linkOf(event)?.getAttribute("href") ?? "";
        if (!href.startsWith("#") || event.defaultPrevented) return;
        event.preventDefault();
        location.hash = href;
      },
      false,
    );
  });
})();
