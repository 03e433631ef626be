"""Pages for a browser: one file each, without script and without anything that is loaded."""
