// Hears from the hub what has changed, while somebody looks at the page.

// `heard` is told the parts that changed, `back` that the page was not told everything.
export function listen(address, heard, back) {
  let source = null;
  const hush = () => {
    source?.close();
    source = null;
  };
  const open = () => {
    if (!address || source || document.visibilityState !== "visible") return; // none: only looks when it comes back
    source = new EventSource(address);
    let before = false;
    source.addEventListener("open", () => {
      if (before) heard(["course"]);
      before = true;
    });
    source.addEventListener("change", (event) => heard(JSON.parse(event.data)));
    source.addEventListener("error", () => source?.readyState === EventSource.CLOSED && back());
    source.addEventListener("end", hush);
  };
  // A browser opens six connections to a host: pages that nobody looks at keep none.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return hush();
    back();
    open();
  });
  addEventListener("pagehide", hush);
  open();
}
