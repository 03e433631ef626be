"""Makes docs/img/demo.svg: what `touchstone demo` prints, run afresh in an empty workspace.

python docs/picture.py
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

TARGET = Path(__file__).parent / "img" / "demo.svg"
WIDTH = 124


def main() -> None:
    """Run the demo and draw its standard output."""
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "TOUCHSTONE_HOME": home, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
        command = [str(Path(sys.executable).parent / "touchstone"), "demo"]
        shown = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)  # noqa: S603
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text.from_ansi("$ make demo\n" + shown.stdout.decode()))
    picture = console.export_svg(title="make demo", theme=MONOKAI)
    # The fonts would be fetched from a foreign host; the reader's own will do.
    TARGET.write_text(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
