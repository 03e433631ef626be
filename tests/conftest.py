"""What the machine that runs the tests sets for itself must not decide what they see: colour is each test's own."""

import os

for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
    os.environ.pop(name, None)
