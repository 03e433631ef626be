"""The workspace as the command line finds it: the folder, its archive, who is at the keyboard, what the prompts are."""

import getpass
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backtesting.errors import StorageError

if TYPE_CHECKING:
    from agents.archive.store import Archive

DATABASE = "touchstone.db"


def home() -> Path:
    """`TOUCHSTONE_HOME`, or `.touchstone` in the current folder."""
    return Path(os.environ.get("TOUCHSTONE_HOME") or ".touchstone")


@contextmanager
def opened(*, create: bool = False) -> Iterator["Archive"]:
    """The archive of the workspace, closed at the end.

    Raises:
        StorageError: there is no workspace yet (and `create` is not asked for), or it cannot be used.
    """
    folder = home()
    if create:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the workspace {folder} cannot be made: {error.strerror}",
                next_step="choose another with TOUCHSTONE_HOME",
            ) from error
    elif not (folder / DATABASE).exists():
        raise StorageError(
            f"there is no workspace in {folder.absolute()}",
            next_step="start one: touchstone evolve --market sample:sp500, or set TOUCHSTONE_HOME",
        )
    # Brings the database with it, which a command that finds no workspace starts sooner without.
    from agents.archive.store import Archive

    archive = Archive.open(folder / DATABASE, create=create)
    try:
        yield archive
    finally:
        archive.close()


def exists() -> bool:
    """Whether there is a workspace."""
    return (home() / DATABASE).exists()


def folders() -> tuple[Path, ...]:
    """Where prompts are looked for: the workspace's own first."""
    # Brings the template engine with it, which most commands do without.
    from generator.templates import prompt_folders

    return prompt_folders(home())


def price_file() -> Path | None:
    """The workspace's own price list, which goes before the shipped one, or None."""
    file = home() / "prices.json"
    return file if file.is_file() else None


def command() -> str:
    """What to type for `touchstone`: the name where the shell finds this one by it, else the path that was used."""
    used = Path(sys.argv[0])
    found = shutil.which("touchstone")
    if found is not None and used.exists() and Path(found).samefile(used):
        return "touchstone"
    try:
        return str(used.relative_to(Path.cwd())) if used.is_absolute() else str(used)
    except ValueError:
        return str(used)


def person() -> str:
    """Who is at the keyboard, for reviews: `TOUCHSTONE_REVIEWER`, or the name of the account."""
    return os.environ.get("TOUCHSTONE_REVIEWER") or getpass.getuser()
