"""The command `touchstone`: one file a command group, loaded only when it is called."""
