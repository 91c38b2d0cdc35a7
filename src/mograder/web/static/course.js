// The instructors' pages: they stay true while they are open, and a folder can be dropped on Publish.

import { keep_true } from "./live.js";
import { ask, progress, signed_out } from "./progress.js";
import { reason, word } from "./words.js";

keep_true(document.querySelector("main").dataset.events);

const form = document.querySelector("#publish");
if (form) accept(form);

function accept(form) {
  const field = form.querySelector("#files");
  const told = form.querySelector("#dropped");
  const warning = told.textContent;
  const name = form.querySelector("#name");
  const news = form.querySelector("#news");
  const most = Number(form.dataset.mostFiles);
  let dropped = [];
  list();

  function list() {
    field.required = dropped.length === 0;
    told.textContent = dropped.length ? `${dropped.length}: ${dropped.map(([path]) => path).slice(0, 12).join(", ")}${dropped.length > 12 ? ", …" : ""}` : `${told.dataset.words} ${warning}`;
  }

  function fail(what, error) {
    news.className = "news-line verdict bad";
    news.textContent = word(what, "", error.message);
  }

  form.addEventListener("dragover", (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", async (event) => {
    event.preventDefault();
    form.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    dropped = [];
    list();
    news.textContent = "";
    try {
      dropped = (await Promise.all(entries.map((entry) => files_of(entry, "", most)))).flat();
    } catch (error) {
      return fail("unreadable", error);
    }
    const folder = entries.length === 1 && entries[0].isDirectory ? entries[0].name : "";
    if (folder) dropped = dropped.map(([path, file]) => [path.slice(folder.length + 1), file]);
    // Never what an editor or the system left there: the hub would refuse it.
    dropped = dropped.filter(([path]) => !path.split("/").some((part) => part.startsWith(".") || part === "__pycache__") && path !== "files.json");
    const notebooks = dropped.map(([path]) => path).filter((path) => !path.includes("/") && path.endsWith(".py"));
    name.value = folder && notebooks.includes(`${folder}.py`) ? folder : notebooks.length === 1 ? notebooks[0].slice(0, -3) : folder;
    list();
  });
  field.addEventListener("change", () => {
    dropped = [];
    field.required = true;
    told.textContent = warning;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    const files = dropped.length ? dropped : [...field.files].map((file) => [file.name, file]);
    const notebooks = files.map(([path]) => path).filter((path) => !path.includes("/") && path.endsWith(".py"));
    const item = name.value.trim() || (notebooks.length === 1 ? notebooks[0].slice(0, -3) : "");
    send(form, item, files, news).catch((error) => fail("unpublished", error)).finally(() => button.removeAttribute("aria-disabled"));
  });
}

async function send(form, item, files, news) {
  if (!item) throw new Error(word("nameless"));
  const { mostMb, mostFiles } = form.dataset;
  const mb = files.reduce((sum, [, file]) => sum + file.size, 0) / 2 ** 20;
  if (files.length > mostFiles) throw new Error(word("many", "", mostFiles));
  if (mb > mostMb) throw new Error(word("large", mb.toFixed(1), mostMb));
  const body = new FormData();
  for (const [path, file] of files) body.append("files", file, path);
  news.className = "news-line soft";
  news.textContent = word("sending");
  const kind = form.querySelector("#type").value;
  const address = form.dataset.publish + encodeURIComponent(item) + (kind ? `?type=${kind}` : "");
  const answer = await ask(address, { method: "POST", body, headers: { Accept: "application/x-ndjson" } });
  if (signed_out(answer)) throw new Error(word("signin"));
  if (!answer.ok) throw new Error(await reason(answer));
  for await (const event of progress(answer)) {
    if (event.event === "progress") news.textContent = event.message;
    else if (event.event === "error") throw new Error(event.detail);
    else return location.assign(form.dataset.done + encodeURIComponent(item));
  }
  throw new Error(word("broken"));
}

// A folder's files with their paths; reading stops once there are too many.
async function files_of(entry, above, most) {
  const path = above + entry.name;
  if (entry.isFile) return [[path, await new Promise((done, failed) => entry.file(done, failed))]];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length || found.length > most) return found;
    for (const each of some) found.push(...(await files_of(each, `${path}/`, most)));
  }
}
