"""code_version: which code judged. A review is bound to it, so that a verdict does not outlive the judge."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from backtesting.hashing import content_id

PACKAGES = ("backtesting", "agents")
# How something is shown decides nothing.
WITHOUT = "interfaces"


def code_version() -> str:
    """Content id of the source of the packages that decide: the referee and the agents, in file order."""
    return source_version(PACKAGES)


def source_version(packages: Sequence[str]) -> str:
    """Content id of the source of these packages, their interfaces left out, in file order."""
    return _source_version(tuple(packages))


@cache
def _source_version(packages: tuple[str, ...]) -> str:
    sources: dict[str, str] = {}
    for package in packages:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(f"the package {package} has no source")
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root)
            if WITHOUT not in name.parts:
                sources[f"{package}/{name.as_posix()}"] = path.read_text(encoding="utf-8")
    return content_id(sources)
