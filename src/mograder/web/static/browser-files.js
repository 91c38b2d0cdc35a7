// The files of the frame: marimo, Python and packages. The browser keeps none of what a frame of an
// opaque origin loads, so this page loads them, where the browser keeps them, and hands them in.
//
// The frame asks for a file by its path. All files there are public, and the frame can load each of
// them by itself; no other address is loaded for it.

const PATH = /^[a-z]+-[0-9a-f]{32}(?:\/[A-Za-z0-9_@~+-][A-Za-z0-9_@~+.!-]{0,254}){1,6}$/;

export function filesOf(root) {
  const held = new Map(); // path -> promise of a blob

  const load = async (path) => {
    const answer = await fetch(root + path, { credentials: "omit", redirect: "error" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.blob();
  };
  const get = (path) => {
    if (typeof path !== "string" || !PATH.test(path)) return Promise.reject(new Error("404"));
    if (!held.has(path)) {
      const loading = load(path);
      loading.catch(() => held.delete(path));
      held.set(path, loading);
    }
    return held.get(path);
  };

  return {
    // Begins to load what the frame will ask for.
    begin: (paths) => paths.forEach((path) => void get(path).catch(() => undefined)),
    // Answers all that is asked for on a port of the frame.
    serve(port) {
      port.onmessage = async ({ data }) => {
        const answer = { id: data?.id };
        try {
          answer.blob = await get(data?.path);
        } catch (error) {
          answer.problem = String(error.message);
        }
        port.postMessage(answer);
      };
    },
  };
}
