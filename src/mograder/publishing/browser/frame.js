// The first script in the frame: it takes the notebook's text from the page around it, starts marimo
// with it, and tells that page each text that marimo saves and each result of a check.
//
// The frame has an opaque origin: it sees neither the token nor the drafts of the page around it.
// All that it says may come from the notebook's own code, so that page treats it as such.
(() => {
  "use strict";
  const own = document.currentScript;
  const tell = (kind, more) => parent.postMessage({ mograder: kind, ...more }, "*");
  const script = (text) => "data:text/javascript," + encodeURIComponent(text);

  // --- patience ----------------------------------------------------------------------------------
  // marimo gives up on its workers after 20 seconds and does not save again until the next edit. A
  // slow computer needs longer to start Python.
  const MARIMO_MS = 20_000;
  const PATIENT_MS = 300_000;
  const plainTimeout = window.setTimeout;
  window.setTimeout = (act, delay, ...given) =>
    plainTimeout(act, delay === MARIMO_MS ? PATIENT_MS : delay, ...given);

  // --- what marimo saves -------------------------------------------------------------------------
  // marimo stores the whole notebook under this key whenever it saves.
  const storage = window.localStorage;
  const setItem = (key, value) => {
    storage.setItem(key, value);
    if (key !== "marimo:file") return;
    let text = String(value);
    try {
      const inner = JSON.parse(text);
      if (typeof inner === "string") text = inner;
    } catch {
      // It is the text itself.
    }
    tell("text", { text });
  };
  const watched = new Proxy(storage, {
    get: (target, key) => (key === "setItem" ? setItem : target[key]),
  });
  Object.defineProperty(window, "localStorage", { value: watched, configurable: true });

  // Typing, pasting and the like, which marimo saves a second later.
  for (const kind of ["input", "paste"]) {
    document.addEventListener(
      kind,
      ({ target }) => {
        if (target.closest?.(".cm-editor")) tell("editing");
      },
      true,
    );
  }

  // --- the worker in which the notebook runs -----------------------------------------------------
  // It gets the item's other files before the notebook starts, and reports what the checks append.
  const inWorker = () => {
    let files = {};
    let python;
    let wrote = false;
    self.addEventListener("message", ({ data }) => {
      if (data?.mograder === "files") files = data.files;
    });
    const prepare = () => {
      if (wrote) return;
      wrote = true;
      for (const [name, bytes] of Object.entries(files)) python.FS.writeFile(name, bytes);
      const path = "/tmp/mograder-checks.jsonl";
      run(`import os; os.environ["MOGRADER_SIDECAR_PATH"] = "${path}"`);
      let size = 0;
      setInterval(() => {
        if (!python.FS.analyzePath(path).exists) return;
        const now = python.FS.stat(path).size;
        if (now === size) return;
        size = now;
        const text = python.FS.readFile(path, { encoding: "utf8" }).slice(-262144);
        self.postMessage({ mograder: "results", text });
      }, 500);
    };
    let run;
    Object.defineProperty(self, "pyodide", {
      configurable: true,
      get: () => python,
      set: (value) => {
        python = value;
        run = value.runPython.bind(value);
        // marimo's first call comes after it has made the notebook's directory.
        value.runPython = (...given) => (prepare(), run(...given));
      },
    });
  };
  const prelude = script(`(${inWorker})()`);
  const given = { files: {} };
  const Plain = window.Worker;
  window.Worker = class extends Plain {
    constructor(url, options) {
      const address = String(url);
      const main = /\/worker-[^/]*\.js/.test(decodeURIComponent(address));
      if (!main) {
        super(url, options);
        return;
      }
      const target = address.startsWith("data:") ? decodeURIComponent(address) : address;
      const inner = target.startsWith("data:") ? JSON.parse(target.slice(target.indexOf('"'))) : target;
      const both = `import ${JSON.stringify(prelude)}; import ${JSON.stringify(inner)};`;
      super(script(both), { ...options, type: "module" });
      this.postMessage({ mograder: "files", files: given.files });
      this.addEventListener("message", ({ data }) => {
        if (data?.mograder === "results") tell("results", { text: String(data.text) });
      });
    }
  };

  // --- the start ---------------------------------------------------------------------------------
  let started = false;
  const start = async ({ text, files }) => {
    if (started) return;
    started = true;
    given.files = files ?? {};
    const main = new URL(own.dataset.main, document.baseURI).href;
    document.querySelector("marimo-code").textContent = encodeURIComponent(text);
    try {
      await import(main);
    } catch (error) {
      tell("failed", { text: String(error) });
    }
  };
  const save = () => {
    const key = { key: "s", code: "KeyS", ctrlKey: true, bubbles: true, cancelable: true };
    (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("keydown", key));
  };
  window.addEventListener("message", ({ source, data }) => {
    if (source !== parent) return;
    if (data?.mograder === "open") void start(data);
    if (data?.mograder === "save") save();
  });
  document.addEventListener("DOMContentLoaded", () => {
    tell("ready", { protocol: Number(own.dataset.protocol) });
  });
})();
