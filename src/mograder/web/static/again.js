// A page about work that goes on: it is asked for again after `data-again` seconds, also one that
// answered a form, as a GET.

const seconds = Number(document.querySelector("main").dataset.again);
if (seconds > 0) setTimeout(() => location.replace(location.pathname + location.search), seconds * 1000);
