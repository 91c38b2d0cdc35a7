// Starts marimo from files that the page around hands in (static/frame-files.js).
//
// The browser keeps nothing that a page of an opaque origin loads, so by itself it would load some 4 MB
// at each opening. The hub has taken the effect from the elements that load marimo's files; this
// script starts marimo from the packs that the page around has, or gives those elements their effect
// back where there are none: a marimo of another form, a browser that lacks what this needs.
(() => {
  "use strict";
  const around = window.parent;
  const hub = new URL(document.currentScript.dataset.page, location.href).origin;
  const PATIENCE_MS = 3000; // the page around answers at once, before it has the files
  const parsed = new Promise((resolve) => addEventListener("DOMContentLoaded", resolve, { once: true }));

  let begun = false, answered = false, asked = null;
  const tell = (rest) => around.postMessage({ mograder: "files", ...rest }, hub);
  const main = () => document.querySelector('script[type="mograder/held"]');
  const links = () => [...document.querySelectorAll("link[data-held]")];

  const plain = () => {
    if (begun) return;
    begun = true;
    for (const link of links()) link.rel = link.dataset.held;
    const held = main();
    const script = document.createElement("script");
    for (const { name, value } of held.attributes) script.setAttribute(name, value);
    script.type = "module";
    held.replaceWith(script);
  };

  const opened = async (pack) => {
    const size = Number(await pack.slice(0, 8).text());
    const index = JSON.parse(await pack.slice(8, 8 + size).text());
    const body = pack.slice(8 + size);
    const files = (group, type) =>
      Object.entries(index[group] ?? {}).map(([name, [from, to]]) => [name, body.slice(from, to, type)]);
    return { index, files };
  };

  // Large files that few notebooks use: the first one that loads one has the page around keep them.
  const watch = (addresses) => {
    const seen = new PerformanceObserver((list) => {
      if (!list.getEntries().some(({ name }) => addresses.has(name))) return;
      seen.disconnect();
      tell({ set: asked, rest: true });
    });
    seen.observe({ type: "resource" });
  };
  const start = async (given, rest) => {
    const script = main().src;
    const assets = new URL(".", script).href;
    self.mograderAssets = assets + "index.js";
    const imports = {};
    const packs = await Promise.all([given, rest].filter(Boolean).map(opened));
    const [{ index, files }] = packs;
    if (!rest) {
      for (const name of index.elsewhere) imports["marimo/" + name] = assets + name;
      watch(new Set(index.elsewhere.map((name) => assets + name)));
    }
    for (const pack of packs) {
      for (const [name, file] of pack.files("scripts", "text/javascript")) {
        // By the name that the pack gives it, and by the address that marimo computes.
        imports["marimo/" + name] = imports[assets + name] = URL.createObjectURL(file);
      }
    }
    const nothing = URL.createObjectURL(new Blob([], { type: "text/javascript" }));
    const first = links().map((link) => link.href);
    const place = (name) => (first.includes(assets + name) ? first.indexOf(assets + name) : first.length);
    const styles = files("styles").sort(([one], [other]) => place(one) - place(other));
    const texts = await Promise.all(styles.map(([, file]) => file.text()));
    styles.forEach(([name], number) => {
      imports[assets + name] = nothing;
      const style = document.createElement("style");
      // marimo copies the styles with such a name into its elements' shadow trees.
      style.dataset.viteDevId = name;
      style.textContent = texts[number];
      main().before(style);
    });
    const others = new Map(files("files", "application/wasm").map(([name, file]) => [assets + name, file]));
    const native = window.fetch;
    const fetch = (...request) => {
      const file = others.get(request[0] instanceof Request ? request[0].url : String(request[0]));
      return file ? Promise.resolve(new Response(file)) : native(...request);
    };
    Object.defineProperty(window, "fetch", { value: fetch, configurable: true, writable: true });
    const map = document.createElement("script");
    map.type = "importmap";
    map.textContent = JSON.stringify({ imports });
    document.head.append(map);
    await import("marimo/" + script.slice(assets.length));
  };

  const ask = () => {
    if (!begun && !answered && asked) tell({ set: asked });
  };

  addEventListener("message", ({ source, origin, data }) => {
    if (source !== around || origin !== hub || begun) return;
    if (data?.mograder === "hello") ask();
    if (data?.mograder !== "files") return;
    answered = true;
    if (data.coming) return;
    if (!(data.start instanceof Blob)) return plain();
    begun = true;
    start(data.start, data.rest).catch((error) => {
      console.debug("mograder: marimo did not start from the files that were handed in", error);
      tell({ failed: true }); // this page is loaded again, without them
    });
  });

  parsed.then(() => {
    asked = /\/_marimo\/([^/]+)\/assets\/[^/]+$/.exec(main()?.src)?.[1];
    if (around === window || !asked || !HTMLScriptElement.supports?.("importmap")) return plain();
    ask();
    setTimeout(() => answered || plain(), PATIENCE_MS);
  });
})();
