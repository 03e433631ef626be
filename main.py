"""The simple way to run it: fetch prices, evaluate the agents, select the best, say what it would trade next.

    python main.py                        the settings of config.json, or of config.example.json
    python main.py --config my.json

This selects among trusted agents on one backtest. New candidates are proposed and judged by `touchstone evolve`.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.data_fetch.data_fetch import fetch_recent_bars
from agents.execution.paper import paper_orders
from agents.manager.agent_manager import MetaAgentManager
from agents.strategy.incumbents import panel_incumbents
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import Backtest
from backtesting.costs import COSTS
from backtesting.errors import InvalidConfig, TouchstoneError
from generator import generate_updated_agent

HERE = Path(__file__).resolve().parent


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(_Section):
    """Which prices: a Yahoo symbol or a market address, and how many calendar days of them."""

    symbol: str = "sample:sp500"
    days: Annotated[int, Field(ge=1)] = 3650


class Manager(_Section):
    """By which metric an agent is selected, and under which costs."""

    metric: str = "sharpe_ratio"
    costs: str = "liquid-index"


class Generator(_Section):
    """Whether one new candidate takes part, and which model proposes it; null: a variation of the incumbents."""

    add_candidate: bool = False
    llm: str | None = None


class Execution(_Section):
    """The account that paper orders are made for; on a market of several symbols `held_units` is a number by symbol."""

    equity: Annotated[float, Field(gt=0)] = 100_000.0
    held_units: float | dict[str, float] = 0.0


class Settings(_Section):
    """The whole file. `evolve` is read by `touchstone evolve --config` and only let through here."""

    data: Data = Data()
    manager: Manager = Manager()
    generator: Generator = Generator()
    execution: Execution = Execution()
    evolve: dict[str, Any] = Field(default_factory=dict)


def main(arguments: list[str] | None = None) -> int:
    """Run once; gives the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description="Evaluate the agents on recent prices and select the best.")
    parser.add_argument("--config", type=Path, help="JSON settings; config.json, else config.example.json")
    options = parser.parse_args(arguments)
    try:
        return run(load_settings(options.config))
    except TouchstoneError as error:
        logging.error("%s", error)
        return error.exit_code


def load_settings(path: Path | None) -> Settings:
    """The settings in a file; InvalidConfig names the field that is wrong."""
    own = HERE / "config.json"
    file = path or (own if own.is_file() else HERE / "config.example.json")
    try:
        return Settings.model_validate_json(file.read_bytes())
    except OSError as error:
        why = str(error.strerror)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        why = f"unknown setting {where!r}" if unknown else f"{where}: {first['msg']}" if where else first["msg"]
    raise InvalidConfig(f"{file} cannot be used: {why}", next_step="compare it with config.example.json")


def run(settings: Settings) -> int:
    """Fetch, evaluate, select, and hand the next orders to paper execution."""
    costs = COSTS.get(settings.manager.costs)
    if costs is None:
        raise InvalidConfig(
            f"manager.costs is {settings.manager.costs!r}", next_step=f"choose one of {', '.join(COSTS)}"
        )
    manager = MetaAgentManager(metric=settings.manager.metric, backtest=Backtest(costs))
    bars = fetch_recent_bars(days=settings.data.days, symbol=settings.data.symbol)
    if bars is None:
        logging.error("No prices, so nothing was evaluated; without a network, set data.symbol to sample:sp500")
        return 4
    if bars.n_assets > 1:
        for spec in panel_incumbents():
            manager.update_agent(TradingStrategy(spec))
    if settings.generator.add_candidate:
        manager.update_agent(generate_updated_agent(bars, llm=settings.generator.llm))
    best_agent = manager.select_best_agent(bars)
    if not isinstance(best_agent, TradingStrategy):
        return 8
    live_signals = best_agent.generate_signals(bars)
    for asset in range(bars.n_assets):
        logging.info("Signal: %s", live_signals.at(-1, asset))
    orders = paper_orders(live_signals, settings.execution.equity, settings.execution.held_units)
    for order in orders:
        logging.info("Paper order: %s", order)
    if not orders:
        logging.info("No order: %s wants no change.", best_agent.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
