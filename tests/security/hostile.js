// What a hostile notebook's page tries against the hub when somebody opens it. It is a widget's
// module (anywidget), which runs in the middle of marimo's own page; results go to window.ATTEMPTS.
(async () => {
  const results = {};
  const origin = document.URL.split("/s/")[0];
  const at = (path) => origin + path;
  const attempt = async (name, action) => {
    try {
      results[name] = String(await action());
    } catch (error) {
      results[name] = "ERR " + error.name;
    }
  };
  const read = (path, options) => fetch(at(path), options).then((answer) => answer.text());
  const send = (path, options) =>
    fetch(at(path), { method: "POST", ...options }).then((a) => a.type + " " + a.status);
  const socket = (path) =>
    new Promise((resolve) => {
      const ws = new WebSocket(at(path).replace(/^http/, "ws"));
      ws.onopen = () => resolve("open");
      ws.onerror = () => resolve("refused");
    });
  const framed = (path) =>
    new Promise((resolve) => {
      const frame = document.createElement("iframe");
      frame.onload = () => {
        try {
          resolve(frame.contentDocument ? frame.contentDocument.body.innerText : "unreadable");
        } catch (error) {
          resolve("unreadable");
        }
      };
      frame.src = at(path);
      document.documentElement.append(frame);
      setTimeout(() => resolve("unreadable"), 3000);
    });
  const formed = (path) =>
    new Promise((resolve) => {
      const frame = document.createElement("iframe");
      frame.name = "f" + Math.random();
      const form = document.createElement("form");
      form.method = "post";
      form.action = at(path);
      form.target = frame.name;
      document.documentElement.append(frame, form);
      frame.onload = () => resolve("sent");
      form.submit();
      setTimeout(() => resolve("sent"), 2000);
    });

  results.origin = self.origin;
  await attempt("cookie", () => document.cookie);
  await attempt("cookie written", () => {
    document.cookie = "mograder_session=evil; Path=/";
    return document.cookie;
  });
  for (const path of ["/assignments", "/sessions", "/", "/edit/user/alice/ITEM/", "/api/openapi.json"]) {
    await attempt("read " + path, () => read(path, { credentials: "include" }));
    await attempt("no-cors " + path, () =>
      read(path, { credentials: "include", mode: "no-cors" }),
    );
  }
  const files = new FormData();
  files.append("files", new Blob(["import marimo\napp = marimo.App()\n"]), "ITEM.py");
  await attempt("publish", () => send("/publish/ITEM", { credentials: "include", body: files }));
  await attempt("publish no-cors", () =>
    send("/publish/ITEM", { credentials: "include", mode: "no-cors", body: files }),
  );
  for (const path of ["/stop-edit/alice/ITEM", "/start-edit-deep/ITEM", "/logout"]) {
    await attempt("post " + path, () => send(path, { credentials: "include", mode: "no-cors" }));
    await attempt("beacon " + path, () => navigator.sendBeacon(at(path), ""));
    await attempt("form " + path, () => formed(path));
  }
  await attempt("frame /", () => framed("/"));
  await attempt("frame session", () => framed("/edit/user/alice/ITEM/"));
  await attempt("ws alice", () => socket("/edit/user/alice/ITEM/ws?session_id=s_zzzzzz"));
  await attempt("ws up", () => socket("/s/../edit/user/alice/ITEM/ws?session_id=s_zzzzzz"));
  await attempt("worker", async () => {
    const made = await navigator.serviceWorker.register(at("/edit/user/alice/ITEM/public-files-sw.js"));
    if (made instanceof ServiceWorkerRegistration) return "registered";
    throw new TypeError("the page's stand-in, which registers nothing");
  });
  await attempt("page around", () => parent.document.body.innerText);
  await attempt("storage around", () => parent.localStorage.length);
  await attempt("top", () => {
    top.location.href = at("/logout");
    return "moved";
  });
  await attempt("popup", () => {
    const other = window.open(at("/"), "_blank");
    return new Promise((resolve) =>
      setTimeout(() => {
        try {
          resolve(other.document.body.innerText);
        } catch (error) {
          resolve("unreadable");
        }
      }, 2000),
    );
  });
  window.ATTEMPTS = results;
})();

export default { render({ el }) { el.textContent = "busy"; } };
