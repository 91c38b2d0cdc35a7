// What this browser keeps: who signed in, and for each person and item the current text, what waits
// to be submitted, the receipts, earlier texts that another version took the place of, and the item's
// files, apart from the text, which is written at each edit.

const EARLIER = 20;

const asked = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const done = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });

export async function openStore(root) {
  // Two courses below one host have different roots.
  const request = indexedDB.open(`mograder${root}`, 1);
  request.onupgradeneeded = () => {
    for (const name of ["people", "work", "earlier"]) request.result.createObjectStore(name);
  };
  const database = await asked(request);
  navigator.storage?.persist?.();

  const get = (store, key) => asked(database.transaction(store).objectStore(store).get(key));
  const put = (store, key, value) => {
    // "strict": it is on the disk when it is said to be saved.
    const transaction = database.transaction(store, "readwrite", { durability: "strict" });
    if (value === undefined) transaction.objectStore(store).delete(key);
    else transaction.objectStore(store).put(value, key);
    return done(transaction);
  };

  return {
    person: () => get("people", "now"),
    keepPerson: (person) => put("people", "now", person),
    work: (user, item) => get("work", [user, item]),
    keepWork: (user, item, work) => put("work", [user, item], work),
    files: (user, item) => get("work", [user, item, "files"]),
    keepFiles: (user, item, files) => put("work", [user, item, "files"], files),
    earlier: async (user, item) => (await get("earlier", [user, item])) ?? [],
    async keepEarlier(user, item, entry) {
      const all = await this.earlier(user, item);
      if (all.some((each) => each.text === entry.text)) return;
      await put("earlier", [user, item], [entry, ...all].slice(0, EARLIER));
    },
  };
}
