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
  // Another worker writes what marimo saves; it gets the notebook as it was opened, from which marimo
  // takes the header and the app's settings. marimo hands both over by a database otherwise, which
  // an opaque origin lacks.
  const inWorker = () => {
    let given = { files: {}, checks: "" };
    let python;
    let run;
    let prepared = false;
    self.addEventListener("message", ({ data }) => {
      if (data?.mograder === "files") given = data;
    });
    const prepare = () => {
      if (prepared) return;
      prepared = true;
      for (const [name, bytes] of Object.entries(given.files)) python.FS.writeFile(name, bytes);
      const path = given.checks;
      if (!path) return;
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
    Object.defineProperty(self, "pyodide", {
      configurable: true,
      get: () => python,
      set: (value) => {
        python = value;
        run = value.runPython.bind(value);
        // marimo's first call comes after it has made the notebook's directory.
        value.runPython = (...call) => (prepare(), run(...call));
      },
    });
  };
  const prelude = script(`(${inWorker})()`);
  let opened = { text: "", files: {} };
  const filesFor = (address) => {
    if (/\/save-worker-[^/]*\.js/.test(address)) {
      return { files: { "notebook.py": new TextEncoder().encode(opened.text) }, checks: "" };
    }
    if (/\/worker-[^/]*\.js/.test(address)) {
      return { files: opened.files, checks: "/tmp/mograder-checks.jsonl" };
    }
    return null;
  };
  const Plain = window.Worker;
  window.Worker = class extends Plain {
    constructor(url, options) {
      const address = decodeURIComponent(String(url));
      const given = filesFor(address);
      if (!given) {
        super(url, options);
        return;
      }
      // marimo's own address for an opaque origin is a script that imports the worker.
      const data = address.startsWith("data:");
      const inner = data ? JSON.parse(address.slice(address.indexOf('"'))) : address;
      const both = `import ${JSON.stringify(prelude)}; import ${JSON.stringify(inner)};`;
      super(script(both), { ...options, type: "module" });
      this.postMessage({ mograder: "files", ...given });
      this.addEventListener("message", ({ data: said }) => {
        if (said?.mograder === "results") tell("results", { text: String(said.text) });
      });
    }
  };

  // --- the start ---------------------------------------------------------------------------------
  let started = false;
  const start = async ({ text, files }) => {
    if (started) return;
    started = true;
    opened = { text, files: files ?? {} };
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
