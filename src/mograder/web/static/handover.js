// Goes on to the notebook's own address. Coming back by the browser's button finds the form used,
// so the page is loaded again and gets a new code.
const form = document.getElementById("handover");
const [navigation] = performance.getEntriesByType("navigation");

addEventListener("pageshow", (event) => {
  if (event.persisted || navigation?.type === "back_forward") history.go(-1);
  else form.requestSubmit();
});
