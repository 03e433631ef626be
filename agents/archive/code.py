"""code_version: which code judged. A review is bound to it, so that a verdict does not outlive the judge."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from backtesting.hashing import content_id

PACKAGES = ("backtesting", "agents")


@cache
def code_version() -> str:
    """Content id of the source of the packages that decide: the referee and the agents, in file order."""
    sources: dict[str, str] = {}
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(f"the package {package} has no source")
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*.py")):
            sources[f"{package}/{path.relative_to(root).as_posix()}"] = path.read_text(encoding="utf-8")
    return content_id(sources)
