"""The shipped incumbents: strategies that a trader would recognise, each with its source, as YAML beside this module.

They are agents like any other; a candidate has to add something to them. The portfolios among them need several
assets, so they are no agents of the registry, which knows no market: a run on a panel takes them beside the agents.
"""

from importlib.resources import files

from agents.strategy.spec import PortfolioSpec, Spec, load_spec
from backtesting.errors import InvalidConfig

DEFAULT = "golden_cross"


def shipped_incumbents() -> tuple[Spec, ...]:
    """The shipped incumbents for any market, by name.

    Raises:
        InvalidConfig: a shipped file is not a legal spec; the installation is damaged.
    """
    return tuple(spec for spec in _all() if not isinstance(spec, PortfolioSpec))


def panel_incumbents() -> tuple[Spec, ...]:
    """What is ordinary on a panel beside these: shipped portfolios, by name. Raises as `shipped_incumbents`."""
    return tuple(spec for spec in _all() if isinstance(spec, PortfolioSpec))


def _all() -> tuple[Spec, ...]:
    folder = files("agents.strategy").joinpath("incumbents")
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return tuple(_loaded(entry.name, entry.read_bytes()) for entry in sorted(found, key=lambda entry: entry.name))


def shipped_incumbent(name: str) -> Spec:
    """One shipped incumbent.

    Raises:
        InvalidConfig: there is none of that name, or its file is damaged.
    """
    by_name = {spec.name: spec for spec in _all()}
    if name not in by_name:
        raise InvalidConfig(f'there is no shipped incumbent "{name}"', next_step=f"choose one of {', '.join(by_name)}")
    return by_name[name]


def _loaded(file_name: str, content: bytes) -> Spec:
    spec = load_spec(content, origin=file_name)
    if isinstance(spec, list):
        raise InvalidConfig(f"the shipped incumbent is not legal: {spec[0]}", next_step="install the package afresh")
    return spec
