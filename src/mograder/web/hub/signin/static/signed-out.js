// Others may use this browser next: what its last person typed and no notebook has is removed from it.

const hub = location.pathname.replace(/login$/, ""); // others may be below this host
for (const key of Object.keys(localStorage)) if (key.startsWith(`mograder-unsaved:${hub}unsaved/`)) localStorage.removeItem(key);
localStorage.setItem("mograder-bye", `${hub}standing/`); // other tabs hear of it (frame.js)
localStorage.removeItem("mograder-bye"); // else the next one would be no change
