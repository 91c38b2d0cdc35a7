// A form that is pressed twice is sent once: the second answer, "there is one already", would take the place of the first.
// With another button or other values it is another request: a form that was answered with a file is still there.

const LEAVING_MS = 10000; // an answer that is given up leaves the page as it is

let sent = null, what = "", at = 0;

addEventListener("submit", (event) => { // here scripts with their own answer have stopped it already
  const { target: form, submitter, timeStamp } = event;
  if (event.defaultPrevented || form.getAttribute("method") !== "post" || form.hasAttribute("target")) return;
  const values = `${new URLSearchParams(new FormData(form, submitter))}`;
  if (sent === form && what === values && timeStamp - at < LEAVING_MS) return event.preventDefault();
  [sent, what, at] = [form, values, timeStamp];
});

addEventListener("pageshow", () => (sent = null));
