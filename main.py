"""The simple way to run it: fetch prices, evaluate the agents, select the best, say what it would trade next.

    python main.py                        the settings of config.json, or of config.example.json
    python main.py --config my.json

This selects among trusted agents on one backtest. New candidates are proposed and judged by `touchstone evolve`.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from agents.data_fetch.data_fetch import fetch_market_data
from agents.execution.paper import paper_orders
from agents.manager.agent_manager import MetaAgentManager
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import Backtest
from backtesting.costs import COSTS
from backtesting.errors import InvalidConfig, TouchstoneError
from generator import generate_updated_agent

HERE = Path(__file__).resolve().parent
SECTIONS = ("data", "manager", "generator", "execution", "evolve")


def main(arguments: list[str] | None = None) -> int:
    """Run once; gives the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description="Evaluate the agents on recent prices and select the best.")
    parser.add_argument("--config", type=Path, help="JSON settings; config.json, else config.example.json")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
        return run(config)
    except TouchstoneError as error:
        logging.error("%s", error)
        return error.exit_code


def load_config(path: Path | None) -> dict[str, dict[str, Any]]:
    """The settings by section; unknown sections are refused."""
    own = HERE / "config.json"
    file = path or (own if own.is_file() else HERE / "config.example.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidConfig(
            f"{file} cannot be read: {error}", next_step="compare it with config.example.json"
        ) from None
    unknown = set(config) - set(SECTIONS) if isinstance(config, dict) else {"(not an object)"}
    if unknown:
        raise InvalidConfig(
            f"{file}: unknown section {sorted(unknown)[0]!r}", next_step=f"known are {', '.join(SECTIONS)}"
        )
    return dict(config)


def run(config: dict[str, dict[str, Any]]) -> int:
    """Fetch, evaluate, select, and hand the next orders to paper execution."""
    data, manage, propose = config.get("data", {}), config.get("manager", {}), config.get("generator", {})
    historical_data = fetch_market_data(days=data.get("days", 365), symbol=data.get("symbol", "CL=F"))
    if historical_data is None:
        logging.error("No prices, so nothing was evaluated; offline, try a sample: --config with symbol sample:sp500")
        return 4
    costs = manage.get("costs", "liquid-index")
    if costs not in COSTS:
        raise InvalidConfig(f"manager.costs is {costs!r}", next_step=f"choose one of {', '.join(COSTS)}")
    manager = MetaAgentManager(metric=manage.get("metric", "sharpe_ratio"), backtest=Backtest(COSTS[costs]))
    if propose.get("add_candidate", False):
        manager.update_agent(generate_updated_agent(data.get("symbol", "sample:sp500"), llm=propose.get("llm")))
    best_agent = manager.select_best_agent(historical_data)
    if not isinstance(best_agent, TradingStrategy):
        return 8
    live_signals = best_agent.generate_signals(historical_data)
    logging.info("Signal: %s", live_signals.at(-1))
    account = config.get("execution", {})
    orders = paper_orders(live_signals, account.get("equity", 100_000.0), account.get("held_units", 0.0))
    for order in orders:
        logging.info("Paper order: %s", order)
    if not orders:
        logging.info("No order: %s wants no change.", best_agent.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
