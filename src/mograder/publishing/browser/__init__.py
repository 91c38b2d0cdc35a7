"""Pages that run a notebook in the browser alone (docs/how-to/in-the-browser-alone.md)."""
