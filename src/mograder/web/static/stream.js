// Listens for the hub's news while the page is visible.

const COURSE_WIDE_MS = 8000; // All pages hear of a change in the course at once; each waits for a random time.

export const spread = (parts) => (parts?.includes?.("course") ? Math.random() * COURSE_WIDE_MS : 0);

// `heard` gets the parts that changed; `back` is called when news may have been missed.
export function listen(address, heard, back) {
  let source = null;
  const hush = () => {
    source?.close();
    source = null;
  };
  const open = () => {
    if (!address || source || document.visibilityState !== "visible") return; // without an address nothing is listened to
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
  // A browser opens six connections to a host, so hidden pages keep none.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return hush();
    back();
    open();
  });
  addEventListener("pagehide", hush);
  open();
}
