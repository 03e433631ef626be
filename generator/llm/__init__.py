"""Model clients behind one protocol: `client` says what a call is, each other module is one way to make it."""
