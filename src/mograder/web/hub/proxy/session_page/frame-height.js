// Tells the page around this frame how high the content is. A frame of a session page is of
// another (opaque) origin, so the page may not measure it; the shim listens for this message.
(() => {
  "use strict";
  if (window.parent === window || typeof ResizeObserver !== "function") return;
  let told = 0;
  const tell = () => {
    const height = document.documentElement.scrollHeight;
    if (height === told) return;
    told = height;
    window.parent.postMessage({ mograderFrameHeight: height }, "*");
  };
  const observer = new ResizeObserver(tell);
  observer.observe(document.documentElement);
  if (document.body) observer.observe(document.body);
  tell();
})();
