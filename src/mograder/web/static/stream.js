// Listens for the hub's news while the page is visible.

const AGAIN_MS = 8000; // to twice that
const COURSE_WIDE_MS = 8000; // All pages hear of a change in the course at once; each waits for a random time.

export const spread = (parts) => (parts?.includes?.("course") ? Math.random() * COURSE_WIDE_MS : 0);

// `heard` gets the parts that changed; `back` is called when news may have been missed.
export function listen(address, heard, back) {
  let source = null, missed = false, again = 0;
  const hush = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };
  const open = () => {
    if (!address || source || document.visibilityState !== "visible") return; // without an address nothing is listened to
    source = new EventSource(address);
    source.addEventListener("open", () => {
      if (missed) heard(["course"]);
      missed = true;
    });
    source.addEventListener("change", (event) => heard(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      if (source?.readyState !== EventSource.CLOSED) return;
      hush(); // the browser has given up: a front answers in the hub's place
      back();
      missed = true;
      again = setTimeout(open, AGAIN_MS * (1 + Math.random()));
    });
    source.addEventListener("end", hush);
  };
  // A browser opens six connections to a host, so hidden pages keep none.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return hush();
    back();
    missed = false;
    open();
  });
  addEventListener("pagehide", hush);
  open();
}
