"""How people and programs reach Touchstone: the command line."""
