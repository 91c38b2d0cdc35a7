// What a session's page needs to live in an opaque origin.
//
// The hub serves every notebook page under `Content-Security-Policy: sandbox` without
// allow-same-origin, so that a notebook's own JavaScript cannot act as the person who looks at
// it. Such a page has no storage, no cookie, no service worker, and its <base> points to
// /s/<capability>/. This script is put right after <head>, before anything of marimo's runs, and
// gives marimo and its widgets harmless stand-ins; those for storage are in storage-shim.js, the
// script element before this one. It protects nothing: the hub does. Each part
// is on its own, and one that fails leaves the others working.
(() => {
  "use strict";
  if (self.origin !== "null") return; // an ordinary origin lacks nothing

  // The address of the tab that shows this page: relative links of a notebook are meant from there.
  const pageUrl = new URL(document.currentScript.dataset.page, location.href).href;
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

  // ---- what such an origin lacks beside storage -----------------------------------------------

  // marimo's page registers a worker that names the notebook on requests for public/*; the hub
  // does that itself. Without the property marimo warns in the console that public/ may not work.
  part("service workers", () => {
    const registration = {
      active: { postMessage: () => undefined },
      update: async () => registration,
      unregister: async () => true,
    };
    const workers = Object.assign(new EventTarget(), {
      controller: null,
      ready: Promise.resolve(registration),
      register: async () => registration,
      getRegistration: async () => undefined,
      getRegistrations: async () => [],
    });
    Object.defineProperty(Navigator.prototype, "serviceWorker", {
      get: () => workers,
      configurable: true,
    });
  });

  // A frame whose content is an attribute (srcdoc) is of an opaque origin as well, and comes by
  // no server that could write into it. One with an address gets the same script from the hub.
  part("storage in frames", () => {
    const script = "<scr" + "ipt>" + document.currentScript.previousElementSibling.text + "</scr" + "ipt>";
    const beginning = /^\s*(?:<!doctype[^>]*>)?/i;
    const equipped = (html) => String(html).replace(beginning, (start) => start + script);
    const prototype = HTMLIFrameElement.prototype;
    const { get, set } = Object.getOwnPropertyDescriptor(prototype, "srcdoc");
    Object.defineProperty(prototype, "srcdoc", {
      get,
      set(html) {
        set.call(this, equipped(html));
      },
      configurable: true,
      enumerable: true,
    });
    const setAttribute = prototype.setAttribute;
    define(prototype, "setAttribute", function (name, value) {
      const isDocument = String(name).toLowerCase() === "srcdoc";
      setAttribute.call(this, name, isDocument ? equipped(value) : value);
    });
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

  const report = (error) => {
    console.error("mograder: the download failed", error);
    alert("The download failed. Please try again.");
  };

  const saved = (link) => save(link.href, fileName(link)).catch(report);

  const isDownload = (link) =>
    link?.hasAttribute("download") && link.href.startsWith(sessionBase);

  // Withholds what the browser would do after a click, and calls `then` unless a listener of the
  // page withholds it too: such a listener downloads by itself. marimo's button does, and a lazy
  // one, mo.download(data=callable), has href="" until the kernel has computed the file.
  const unlessAnswered = (event, then) => {
    let answered = false;
    event.preventDefault();
    define(event, "preventDefault", () => {
      answered = true;
    });
    Object.defineProperty(event, "defaultPrevented", { get: () => answered, configurable: true });
    setTimeout(() => {
      if (!answered) then();
    });
  };

  part("downloads", () => {
    addEventListener(
      "click",
      (event) => {
        const link = linkOf(event);
        if (!isDownload(link) || event.defaultPrevented) return;
        unlessAnswered(event, () => saved(link));
      },
      true,
    );
    // marimo downloads by the click() of a link that is in no document: no listener hears that.
    const click = HTMLElement.prototype.click;
    define(HTMLAnchorElement.prototype, "click", function () {
      if (isDownload(this) && !this.isConnected) saved(this);
      else click.call(this);
    });
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
