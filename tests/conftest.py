"""What the machine that runs the tests sets for itself must not decide what they see: colour is each test's own.

Nor must how busy it is: no example of a property has to be done within a time. Nor which test comes first: a process
says once that it begins to compile, and has said it here.
"""

import os

from hypothesis import settings

from backtesting.kernel import start_numba

settings.register_profile("touchstone", deadline=None)
settings.load_profile("touchstone")

for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
    os.environ.pop(name, None)

start_numba()
