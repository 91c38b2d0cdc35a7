// The page in a platform's frame: its link works once, so after a click only the words stay.

const link = document.querySelector("#link a");

link.addEventListener("click", () => {
  // After the click, so that the browser still follows the link.
  setTimeout(() => {
    document.querySelector("#before").textContent = "This opened in a new tab.";
    document.querySelector("#link").hidden = true;
    document.querySelector("#after").textContent = "To open it again, reload this page.";
  });
});
