// The first script in the frame: it takes the notebook's text from the page around it, starts marimo
// with it, and tells that page each text that marimo saves and each result of a check.
//
// The frame has an opaque origin: it sees neither the token nor the drafts of the page around it.
// All that it says may come from the notebook's own code, so that page treats it as such.
(() => {
  "use strict";
  const own = document.currentScript;
  const tell = (kind, more, ports) => parent.postMessage({ mograder: kind, ...more }, "*", ports);
  const script = (text) => "data:text/javascript," + encodeURIComponent(text);

  // --- files -------------------------------------------------------------------------------------
  // The page around the frame hands in the files, since the browser keeps those that it loads, but
  // none that a frame of an opaque origin loads. Also runs in the workers, so it stands by itself.
  const handedIn = (root, opened) => {
    const asked = new Map();
    const port = opened.then((port) => {
      port.onmessage = ({ data: { id, blob, problem } }) => {
        const { resolve, reject } = asked.get(id);
        asked.delete(id);
        if (blob) resolve(blob);
        else reject(new TypeError(`This file cannot be loaded: ${problem}`));
      };
      return port;
    });
    let last = 0;
    const file = async (path) => {
      const through = await port;
      return new Promise((resolve, reject) => {
        const id = ++last;
        asked.set(id, { resolve, reject });
        through.postMessage({ id, path });
      });
    };
    const plain = self.fetch.bind(self);
    self.fetch = async (given, options) => {
      const url = given instanceof Request ? given.url : String(given);
      if (!url.startsWith(root)) return plain(given, options);
      const answer = new Response(await file(url.slice(root.length)));
      return Object.defineProperty(answer, "url", { value: url });
    };
    return file;
  };
  const filesRoot = new URL("../", document.baseURI).href;
  // One end of a channel to the page around; it is given the other.
  const channel = () => {
    const { port1, port2 } = new MessageChannel();
    tell("files", {}, [port1]);
    return port2;
  };
  const file = handedIn(filesRoot, Promise.resolve(channel()));

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
  const inWorker = (handedIn, root) => {
    let given = { files: {}, checks: "" };
    let python;
    let run;
    let prepared = false;
    const opened = new Promise((resolve) => {
      self.addEventListener("message", ({ data, ports }) => {
        if (data?.mograder !== "files") return;
        given = data;
        resolve(ports[0]);
      });
    });
    const file = handedIn(root, opened);
    // marimo's script imports Pyodide's own by this. A script that is handed in does not know its
    // address, which is therefore written into it.
    self.mograderImport = async (url) => {
      if (!String(url).startsWith(root)) return import(url);
      const text = await (await file(url.slice(root.length))).text();
      const placed = text.replaceAll("import.meta.url", JSON.stringify(url));
      return import(URL.createObjectURL(new Blob([placed], { type: "text/javascript" })));
    };
    // What a zip holds comes beside it, as by `mograder https fetch`: a release of several files is
    // listed as its zip alone. A file that is there already wins, and hidden ones are left out.
    const unpack = `
import os, zipfile
with zipfile.ZipFile(name) as archive:
    for each in archive.namelist():
        parts = each.split("/")
        hidden = "__MACOSX" in parts or any(part.startswith(".") for part in parts)
        if not hidden and not os.path.exists(each):
            archive.extract(each)
`;
    const place = (files) => {
      for (const [name, bytes] of Object.entries(files)) python.FS.writeFile(name, bytes);
      for (const name of Object.keys(files).filter((each) => /\.zip$/i.test(each)).sort()) {
        const globals = python.toPy({ name });
        try {
          run(unpack, { globals });
        } catch (error) {
          // The notebook starts all the same, and says which file it misses.
          console.warn(`${name} cannot be unpacked: ${error}`);
        }
        globals.destroy();
      }
    };
    const prepare = () => {
      if (prepared) return;
      prepared = true;
      place(given.files);
      const path = given.checks;
      if (!path) return;
      // The page around submits; a form of the notebook would ask for the token in this frame.
      run(`import os; os.environ.update(MOGRADER_SIDECAR_PATH="${path}", MOGRADER_DASHBOARD="1")`);
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
  const prelude = `(${inWorker})(${handedIn}, ${JSON.stringify(filesRoot)});`;
  let opened = { text: "", files: {} };
  let scripts = {};
  const filesFor = (name) => {
    if (name.startsWith("save-worker-")) {
      return { files: { "notebook.py": new TextEncoder().encode(opened.text) }, checks: "" };
    }
    if (name.startsWith("worker-")) {
      return { files: opened.files, checks: "/tmp/mograder-checks.jsonl" };
    }
    return null;
  };
  const Plain = window.Worker;
  window.Worker = class extends Plain {
    constructor(url, options) {
      // marimo's own address for an opaque origin is a script that imports the worker.
      const name = /\/assets\/([\w-]+\.js)/.exec(decodeURIComponent(String(url)))?.[1] ?? "";
      const given = filesFor(name);
      if (!given || !Object.hasOwn(scripts, name)) {
        super(url, options);
        return;
      }
      super(script(prelude + scripts[name]), { ...options, type: "module" });
      this.postMessage({ mograder: "files", ...given }, [channel()]);
      this.addEventListener("message", ({ data: said }) => {
        if (said?.mograder === "results") tell("results", { text: String(said.text) });
      });
    }
  };

  // --- marimo's scripts and styles ---------------------------------------------------------------
  const address = (text, type) => URL.createObjectURL(new Blob([text], { type }));
  const install = (pack) => {
    const assets = new URL("assets/", document.baseURI).href;
    self.mograderAssets = `${assets}index.js`;
    scripts = pack.scripts;
    const imports = {};
    for (const [name, text] of Object.entries(scripts)) {
      const place = address(text, "text/javascript");
      // By the name that the pack gives it, and by the address that marimo computes.
      imports[`marimo/${name}`] = place;
      imports[assets + name] = place;
    }
    const nothing = address("", "text/javascript");
    for (const [name, text] of Object.entries(pack.styles)) {
      const style = document.createElement("style");
      // marimo copies the styles with such a name into its elements' shadow trees.
      style.dataset.viteDevId = name;
      style.textContent = text;
      document.head.append(style);
      imports[assets + name] = nothing;
    }
    const map = document.createElement("script");
    map.type = "importmap";
    map.textContent = JSON.stringify({ imports });
    document.head.append(map);
  };

  // --- the start ---------------------------------------------------------------------------------
  let started = false;
  const start = async ({ text, files }) => {
    if (started) return;
    started = true;
    opened = { text, files: files ?? {} };
    document.querySelector("marimo-code").textContent = encodeURIComponent(text);
    try {
      install(JSON.parse(await (await file(own.dataset.pack)).text()));
      await import(`marimo/${own.dataset.main}`);
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
