// A form that is pressed twice is sent once: the second answer, "there is one already", would take the place of the first.

const LEAVING_MS = 10000; // an answer that is given up leaves the page as it is

let sent = null, at = 0;

addEventListener("submit", (event) => { // here scripts with their own answer have stopped it already
  const { target: form, timeStamp } = event;
  if (event.defaultPrevented || form.getAttribute("method") !== "post" || form.hasAttribute("target")) return;
  if (sent === form && timeStamp - at < LEAVING_MS) return event.preventDefault();
  sent = form;
  at = timeStamp;
});

addEventListener("pageshow", () => (sent = null));
