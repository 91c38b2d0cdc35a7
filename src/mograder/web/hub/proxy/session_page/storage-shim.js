// Stand-ins for storage where a page has none: kept in memory, gone with the page. An opaque origin
// has none, nor has a frame of another site in a browser that blocks third-party storage.
//
// The hub puts this script at the beginning of a session's page and of each HTML file that one of
// its frames loads; session-shim.js puts it into frames whose content is an attribute (srcdoc).
// Each document has a storage of its own. ASCII only: it stands before a page's <meta charset>.
(() => {
  "use strict";
  try {
    if (self.localStorage) return;
  } catch {
    // The stand-ins follow.
  }

  const part = (name, install) => {
    try {
      install();
    } catch (error) {
      console.debug("mograder: the page works without " + name, error);
    }
  };

  const define = (owner, name, value) =>
    Object.defineProperty(owner, name, { value, configurable: true, writable: true });

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
})();
