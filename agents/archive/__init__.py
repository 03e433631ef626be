"""The archive: what happened, forever. Records, the database that keeps them, and the workspace lock."""
