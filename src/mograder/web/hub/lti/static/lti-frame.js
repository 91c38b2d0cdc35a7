// The page in a platform's frame: its link works once, so after a click only the words stay.

const link = document.querySelector("#link a");

link.addEventListener("click", () => {
  // After the click, so that the browser still follows the link.
  setTimeout(() => {
    document.querySelector("#link").hidden = true;
    for (const part of document.querySelectorAll("[data-opened]")) part.textContent = part.dataset.opened;
  });
});
