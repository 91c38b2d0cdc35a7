// The frame in which the notebook runs. Everything that it says may come from the notebook's own
// code: messages are taken from this frame only, by their kind, and within bounds.

const MOST_RESULTS = 512 * 1024;
const SAVE_MS = 3000;

export function openFrame(place, { title, text, files, keeper, editing, edited, tooLarge, checked, failed }) {
  const { files: root, frame: address, protocol, sandbox, most } = document.body.dataset;
  const frame = document.createElement("iframe");
  frame.id = "notebook";
  frame.title = title;
  frame.setAttribute("sandbox", sandbox);
  frame.setAttribute("referrerpolicy", "no-referrer");
  frame.src = root + address;
  let saved;

  addEventListener("message", ({ source, origin, data, ports }) => {
    if (source !== frame.contentWindow || origin !== "null") return;
    const said = typeof data?.text === "string" ? data.text : "";
    if (data?.mograder === "ready") {
      if (String(data.protocol) !== protocol) failed("export it again (mograder https export-web)");
      // "*": an opaque origin cannot be named; the frame may load our own files only.
      else frame.contentWindow.postMessage({ mograder: "open", text: text(), files }, "*");
    } else if (data?.mograder === "files" && ports.length === 1) {
      keeper.serve(ports[0]);
    } else if (data?.mograder === "editing") {
      editing();
    } else if (data?.mograder === "text" && said.length > Number(most)) {
      tooLarge();
    } else if (data?.mograder === "text" && said) {
      edited(said);
      saved?.();
    } else if (data?.mograder === "results" && said.length <= MOST_RESULTS) {
      checked(said);
    } else if (data?.mograder === "failed") {
      failed(said.slice(0, 500));
    }
  });
  place.append(frame);

  return {
    // Asks marimo to save what is being typed, and returns when it did, or soon after.
    save: () =>
      new Promise((resolve) => {
        saved = resolve;
        setTimeout(resolve, SAVE_MS);
        frame.contentWindow.postMessage({ mograder: "save" }, "*");
      }),
  };
}
