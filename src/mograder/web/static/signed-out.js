// Others may use this browser next: what its last person typed and no notebook has is removed from it.

for (const key of Object.keys(localStorage)) if (key.startsWith("mograder-unsaved:")) localStorage.removeItem(key);
localStorage.setItem("mograder-bye", Date.now()); // other tabs hear of it (frame.js)
