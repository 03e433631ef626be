"""`touchstone backtest`: what a spec would have done. The open window by default; the sealed one has a price.

On a panel it says how each symbol is traded, and where the profit came from. Many specs are run together, with six
numbers each (population.py).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import numpy as np
import typer

from agents.archive.records import SealedOpening, Trial, series_key
from agents.data_fetch.data_fetch import fetch_report
from agents.data_fetch.quality import QualityReport
from agents.strategy.spec import EnsembleSpec, PortfolioSpec, Spec, check_for_bars, rule_text, warmup_bars
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.bars import Bars, FloatArray
from backtesting.benchmark import held_returns
from backtesting.costs import COSTS
from backtesting.errors import DataError, UsageError
from backtesting.hashing import content_id
from backtesting.result import BacktestResult
from backtesting.splits import Split, Window, plan_split
from generator.interfaces.cli import workspace
from generator.interfaces.cli.compiling import said_once
from generator.interfaces.cli.conditions import costs_named, terms_named
from generator.interfaces.cli.output import Output, number, percent
from generator.interfaces.cli.population import (
    Conditions,
    Looks,
    count_trials,
    distinct,
    parts_of,
    show_looks,
    usable_cores,
    workers_named,
)
from generator.interfaces.cli.report import show_metrics
from generator.interfaces.cli.specs import FoundSpec, legal_spec, show_errors, spec_named, specs_in

app = typer.Typer(add_completion=False)

EXAMPLES = """Examples:

  touchstone backtest golden_cross --market sample:sp500

  touchstone backtest my_rule.yaml --market csv:prices.csv --costs futures --trades 20

  touchstone backtest my_rule.yaml --market csv:es.csv --costs my_costs.yaml --terms es_contract.yaml

  touchstone backtest my_portfolio.yaml --market synthetic:planted-panel

  touchstone backtest population.jsonl --market sample:sp500 --parts 5
"""

TOP = 20
"""How many of many specs are listed."""

LEAST_BARS = 2
"""Bars that have to be left after the warm-up: one to decide on and one to trade on."""

SHOWN_SYMBOLS = 3
"""How many symbols are shown at each end of the list by profit."""


@app.command(epilog=EXAMPLES)
def main(
    file: Annotated[
        str,
        typer.Argument(
            help="A YAML or JSON spec, the name of a shipped incumbent; or many: a .jsonl file with one spec a line,"
            " or a folder."
        ),
    ],
    market: Annotated[str, typer.Option(help="Market address, e.g. sample:sp500 or csv:PATH.")],
    window: Annotated[
        str, typer.Option(help="open, or all: all shows sealed bars, is recorded, and breaks the seal for later runs.")
    ] = "open",
    costs: Annotated[
        str, typer.Option(help=f"Cost model: {', '.join(COSTS)}, or a YAML or JSON file with the numbers.")
    ] = "liquid-index",
    terms: Annotated[
        str | None,
        typer.Option(
            help="YAML or JSON file: fill, multiplier, lot, roll_every, roll, funding, delisted_after, haircut."
        ),
    ] = None,
    capital: Annotated[float, typer.Option(help="Account at the start.", min=1.0)] = 1_000_000.0,
    trades: Annotated[int, typer.Option(help="How many of the last trades to list.", min=0)] = 5,
    only: Annotated[str | None, typer.Option(help="Of many specs: the name of the one to report in full.")] = None,
    top: Annotated[int | None, typer.Option(help="Of many specs: how many to list (20).", min=1)] = None,
    parts: Annotated[
        int | None, typer.Option(help="Of many specs: also trade this many equal parts of the window.", min=1, max=1000)
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(help="Of many specs: threads (all cores), processes:NUMBER, or ray for a Ray cluster."),
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")] = False,
) -> None:
    """Trade a spec on a market, with costs, decided at the close and filled at the next open; or thousands of them."""
    output = Output.from_environment(json_lines=json_lines)
    model, conventions = costs_named(costs), terms_named(terms)
    if window not in ("open", "all"):
        raise UsageError(f"unknown window {window!r}", next_step="choose open or all")
    found = specs_in(file)
    if found is None and (only, top, parts, workers) != (None, None, None, None):
        raise UsageError(
            f"{file} is one spec, and --only, --top, --parts and --workers are for many",
            next_step="leave them out, or name a .jsonl file or a folder",
        )
    if found is not None and only is None:
        _trade_many(
            found, market, window, Conditions(costs, model, conventions, capital), output,
            n_shown=top or TOP, n_parts=parts or 1, workers=workers or usable_cores(),
        )  # fmt: skip
        return
    spec = legal_spec(file, output) if found is None or only is None else spec_named(only, found, file)
    bars, quality = fetch_report(market, cache_dir=workspace.home() / "snapshots")
    split = _split(bars, window, output)
    seen, shared = _shown(bars, split, window)
    errors = check_for_bars(spec, bars, max_warmup=shared.stop - LEAST_BARS)
    if errors:
        show_errors(file, errors, output)
        raise typer.Exit(3)
    _tell_flags(quality, output)
    # Alone, a rule may need more bars first than the rules of a run, which all share one window.
    span = Window(max(shared.start, warmup_bars(spec)), shared.stop)
    if window == "all":
        # Before anything is computed: a look that was not recorded would be a look for free.
        _break_seal(bars, split.sealed if split else span, [spec.spec_id], output)
    with said_once(output):
        signals = TradingStrategy(spec).generate_signals(seen)
        market_held = held_returns(seen, span)
        result = simulate(signals, model, window=span, capital=capital, terms=conventions, benchmark=market_held)
    count_trial(bars, spec, result, window)
    _show(spec, result, output, window, costs, trades, seen, market_held)
    if split is not None and span.start > shared.start:
        output.line(
            f"The window begins at bar {span.start}, after the warm-up of this rule; for all rules of a run it begins"
            f" at bar {shared.start}."
        )


def _trade_many(
    found: Sequence[FoundSpec], market: str, window: str, conditions: Conditions, output: Output, *,
    n_shown: int, n_parts: int, workers: str,
) -> None:  # fmt: skip
    executor, threads = workers_named(workers)
    bars, quality = fetch_report(market, cache_dir=workspace.home() / "snapshots")
    _tell_flags(quality, output)
    split = plan_split(bars)
    seen, span = _shown(bars, split, window)
    specs, places, n_illegal = distinct(found, bars, output)
    looks = Looks(specs, places, seen, parts_of(span, n_parts), conditions)
    if window == "all":
        _break_seal(bars, split.sealed, [spec.spec_id for spec in specs], output)
    with said_once(output):
        metrics = looks.evaluate(executor, threads)
    count_trials(looks, metrics, window, output)
    show_looks(looks, metrics, output, window=window, n_shown=n_shown)
    if n_illegal:
        raise typer.Exit(3)


def _tell_flags(quality: QualityReport, output: Output) -> None:
    for flag in quality.flags:
        if flag.severity != "info":
            output.note(f"data: {flag}")


def _split(bars: Bars, window: str, output: Output) -> Split | None:
    """The open and the sealed window; None for a history that is too short for both and is wanted as a whole."""
    try:
        return plan_split(bars)
    except DataError as short:
        if window == "open":
            raise DataError(
                short.what, next_step="ask for a longer history, or look at all there is with --window all"
            ) from None
        output.note(f"{short.what}: all of it is traded after the warm-up, and nothing is left to judge a rule on")
        return None


def _shown(bars: Bars, split: Split | None, window: str) -> tuple[Bars, Window]:
    """The bars that may be looked at, and the window of them that counts."""
    if split is None:
        return bars, Window(0, bars.n_bars)
    if window == "open":
        return bars.upto(split.open.stop), split.open
    return bars, Window(split.open.start, bars.n_bars)


def _show(
    spec: Spec,
    result: BacktestResult,
    output: Output,
    window: str,
    costs: str,
    n_trades: int,
    bars: Bars,
    market_held: FloatArray,
) -> None:
    last = result.trades[-n_trades:] if n_trades else ()
    held = float(np.prod(1.0 + market_held) - 1.0)
    output.event(
        "backtest",
        name=spec.name,
        spec_id=spec.spec_id,
        market=result.source,
        bars_id=result.bars_id,
        window=window,
        first=str(result.sessions[0]),
        last=str(result.sessions[-1]),
        first_bar=result.window.start,
        warmup_bars=warmup_bars(spec),
        periods_per_year=bars.periods_per_year,
        costs=result.costs.as_dict(),
        terms=asdict(result.terms),
        symbols=list(bars.symbols),
        unfilled=result.unfilled,
        profit_by_symbol=_profits(result, bars),
        capital=result.capital,
        final_equity=float(result.equity[-1]),
        costs_paid=result.costs_paid,
        metrics=dict(result.metrics),
        benchmark={"kind": "hold" if bars.n_assets == 1 else "hold_equal_shares", "total_return": held},
    )
    output.line(rule_text(spec))
    if bars.n_assets > 1:
        output.line(_on_a_panel(spec, bars))
    output.line(
        f"{result.source}, {window} window {result.sessions[0]}..{result.sessions[-1]}, costs {costs}:"
        f" {result.capital:,.2f} became {result.equity[-1]:,.2f}, costs paid {result.costs_paid:,.2f}"
    )
    show_metrics(result.metrics, output, spec.name)
    what = bars.symbols[0] if bars.n_assets == 1 else "equal shares of the symbols with a price"
    output.line(
        f"alpha, beta, information ratio and captures: against holding {what} from close to close, free of costs, which"
        f" returned {percent(held)}."
    )
    if result.unfilled > 0.0:
        output.line(f"Orders for {result.unfilled:,.2f} were dropped: more than the market takes in a bar.")
    _show_symbols(result, bars, output)
    rows = []
    for trade in last:
        entry, leave = trade.entry_bar - result.window.start, trade.exit_bar - result.window.start
        rows.append(
            (
                *((bars.symbols[trade.asset],) if bars.n_assets > 1 else ()),
                str(result.sessions[entry]),
                str(result.sessions[leave]),
                "long" if trade.side > 0 else "short",
                number(trade.entry_price),
                number(trade.exit_price),
                number(trade.pnl),
                trade.reason,
            )
        )
    if rows:
        symbol = ("symbol",) if bars.n_assets > 1 else ()
        columns = (*symbol, "entry", "exit", "side", "at>", "out>", "profit>", "why")
        output.table(f"Last {len(rows)} of {len(result.trades)} trades", columns, rows)
    output.line(
        f"One backtest is one look, not a verdict: Sharpe {number(result.metrics['sharpe_ratio'])},"
        f" give or take {number((bars.periods_per_year / len(result.returns)) ** 0.5)} (one standard error),"
        f" at {bars.periods_per_year:g} bars a year."
    )


def _on_a_panel(spec: Spec, bars: Bars) -> str:
    listed = int(np.isfinite(bars.close[-1]).sum())
    there = f"{bars.n_assets} symbols, {listed} of them with a price on the last session shown"
    if isinstance(spec, PortfolioSpec):
        return f"{there}; one account for all."
    if isinstance(spec, EnsembleSpec):
        return f"{there}; one account for all, of which a rule or a score has 1/{bars.n_assets} a symbol."
    return f"{there}. Each symbol trades by itself on its own share, 1/{bars.n_assets} of the account."


def _profits(result: BacktestResult, bars: Bars) -> dict[str, float]:
    """Profit of the trades of each symbol that was traded, costs taken off; together they are that of the account."""
    found: dict[str, float] = defaultdict(float)
    for trade in result.trades:
        found[bars.symbols[trade.asset]] += trade.pnl
    return dict(found)


def _show_symbols(result: BacktestResult, bars: Bars, output: Output) -> None:
    if bars.n_assets == 1:
        return
    profits = sorted(_profits(result, bars).items(), key=lambda pair: (-pair[1], pair[0]))
    count = Counter(bars.symbols[trade.asset] for trade in result.trades)
    short = len(profits) <= 2 * SHOWN_SYMBOLS + 1
    shown = profits if short else [*profits[:SHOWN_SYMBOLS], *profits[-SHOWN_SYMBOLS:]]
    rows = [(symbol, str(count[symbol]), number(profit)) for symbol, profit in shown]
    which = "" if short else f", the best and the worst {SHOWN_SYMBOLS}"
    if rows:
        output.table(f"{len(profits)} symbols traded{which}", ("symbol", "trades>", "profit>"), rows)


def _break_seal(bars: Bars, shown: Window, spec_ids: Sequence[str], output: Output) -> None:
    if not workspace.exists():
        return
    with workspace.opened() as archive:
        archive.record_opening(
            SealedOpening(
                run_id=None,
                series=series_key(bars.symbols),
                first_session=str(bars.sessions[shown.start]),
                last_session=str(bars.sessions[-1]),
                bars_id=bars.bars_id,
                nomination_id=spec_ids[0] if len(spec_ids) == 1 else content_id(list(spec_ids)),
                n_nominees=len(spec_ids),
                alpha=0.0,
                by=workspace.person(),
                kind="shown",
            )
        )
    output.note("the sealed window of this market is shown: recorded, and no later run on it is judged blindly")


def count_trial(bars: Bars, spec: Spec, result: BacktestResult, window: str) -> None:
    """Enter a person's look at a market into the workspace's ledger, if there is a workspace."""
    if not workspace.exists():
        return
    with workspace.opened() as archive:
        archive.add_trial(
            Trial(
                spec_id=spec.spec_id,
                bars_id=bars.bars_id,
                series=series_key(bars.symbols),
                window_start=result.window.start,
                window_stop=result.window.stop,
                first_session=str(result.sessions[0]),
                last_session=str(result.sessions[-1]),
                purpose="open" if window == "open" else "shown",
                by=workspace.person(),
                metrics=dict(result.metrics),
                stream_id=archive.add_stream(result.returns),
            )
        )
