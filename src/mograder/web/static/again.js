// A page about work that goes on: it is asked for again after `data-again` seconds, also one that
// answered a form, as a GET; but not while a form of its own is at work (work.js, home.js).

const seconds = Number(document.querySelector("main").dataset.again);
if (seconds > 0) setTimeout(again, seconds * 1000);

function again() {
  if (document.querySelector("form [aria-disabled=true]")) setTimeout(again, 500);
  else location.replace(location.pathname + location.search);
}
