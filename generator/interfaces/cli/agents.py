"""`touchstone agents`: the registry of agents, their states and histories."""

from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.archive.code import code_version
from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from agents.execution.paper import paper_orders
from agents.manager.registry import Registry
from agents.strategy.incumbents import panel_incumbents, shipped_incumbents
from agents.strategy.spec import check_for_bars, load_spec, rule_text, to_yaml
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.benchmark import held_returns
from backtesting.costs import COSTS
from backtesting.errors import InvalidConfig, UsageError
from backtesting.splits import plan_split
from generator.interfaces.cli import workspace
from generator.interfaces.cli.compiling import said_once
from generator.interfaces.cli.conditions import terms_named
from generator.interfaces.cli.output import Output, number, percent, plain
from generator.interfaces.cli.report import show_metrics
from generator.interfaces.cli.specs import legal_spec, show_errors

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The registry: list, show, promote; and what an agent would trade next: orders.",
    epilog="Example: touchstone agents list",
)

Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Market = Annotated[str, typer.Option(help="Market whose open window the metrics are from.")]
Name = Annotated[str, typer.Argument(help="An agent's name.")]


@app.command("list", epilog="Example: touchstone agents list --market sample:nasdaq")
def list_(market: Market = "sample:sp500", json_lines: Json = False) -> None:
    """Every agent with its state and its metrics in the open window of a market."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened(create=True) as archive:
        registry = _registry(archive)
        rows = []
        for agent in registry.agents():
            metrics = _metrics(agent.spec, market)
            output.event(
                "agent",
                name=agent.agent_id,
                state=agent.state,
                origin=agent.origin,
                spec_id=agent.spec_id,
                metrics=metrics,
            )
            rows.append(
                (
                    agent.agent_id,
                    agent.state,
                    agent.origin,
                    number(metrics.get("sharpe_ratio")),
                    percent(metrics.get("cagr")),
                    percent(metrics.get("max_drawdown"), 0),
                    percent(metrics.get("exposure"), 0),
                    number(metrics.get("turnover_annual"), 1),
                )
            )
    columns = ("agent", "state", "origin", "Sharpe>", "growth a year>", "max DD>", "exposure>", "turnover>")
    output.table(f"Agents, open window of {market}, costs liquid-index", columns, rows)


@app.command(epilog="Example: touchstone agents show golden_cross")
def show(name: Name, market: Market = "sample:sp500", json_lines: Json = False) -> None:
    """One agent: what it does, its history, its metrics."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened(create=True) as archive:
        registry = _registry(archive)
        agent, history = registry.agent(name), registry.history(name)
    spec = load_spec(agent.spec, origin=name)
    metrics = _metrics(agent.spec, market)
    output.event(
        "agent",
        name=agent.agent_id,
        state=agent.state,
        origin=agent.origin,
        spec_id=agent.spec_id,
        spec=agent.spec,
        metrics=metrics,
        history=[
            {"at": t.at, "from": t.from_state, "to": t.to_state, "who": t.who, "reason": t.reason} for t in history
        ],
    )
    output.line(f"{agent.agent_id}: {agent.state}", style="bold")
    if not isinstance(spec, list):
        output.line(rule_text(spec))
        output.line()
        output.line(plain(to_yaml(spec), 4_000))
    for step in history:
        output.line(
            f"{step.at[:10]} {step.from_state or 'new'} -> {step.to_state}, {plain(step.who)}: {plain(step.reason)}"
        )
    show_metrics(metrics, output, f"Open window of {market}, costs liquid-index")
    output.line("alpha, beta, information ratio and captures: against holding the market from close to close.")


@app.command(epilog="Example: touchstone agents promote volume_surge")
def promote(
    name: Annotated[str, typer.Argument(help="An approved candidate: its name, slot id or spec id.")],
    who: Annotated[str | None, typer.Option(help="Who promotes; the account's name if left out.")] = None,
    replace: Annotated[
        str | None, typer.Option(help="Agent whose place it takes, which retires; only if it passed for that.")
    ] = None,
    json_lines: Json = False,
) -> None:
    """Candidate, passing gate report and approval become an agent, in one transaction; it begins in shadow.

    What passed in an incumbent's place alone takes that place: the incumbent retires.
    """
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        registry = Registry(archive)
        before = {agent.agent_id for agent in registry.agents("active")}
        agent = registry.promote(
            name, who=who or workspace.person(), code_version=code_version(), replaces=replace or ""
        )
        retired = sorted(before - {other.agent_id for other in registry.agents("active")})
        output.event("promotion", name=agent.agent_id, state=agent.state, spec_id=agent.spec_id, retired=retired)
        output.line(f"{agent.agent_id} is an agent now, in state {agent.state}: it trades on paper.")
        for other in retired:
            output.line(f"{other} is retired: {agent.agent_id} was shown to earn more on the same days.")
        output.line(f"See: touchstone agents show {agent.agent_id}")


@app.command(
    epilog="Example: touchstone agents orders panel_momentum --market csv:closes.csv?wide=1 --held AAA=10,BBB=-4"
)
def orders(
    name: Annotated[str, typer.Argument(help="An agent's name, or a YAML or JSON spec file.")],
    market: Annotated[str, typer.Option(help="Market address; its last bar is the one that decides.")] = "sample:sp500",
    equity: Annotated[float, typer.Option(help="Value of the account.", min=0.01)] = 100_000.0,
    held: Annotated[str, typer.Option(help="Units held now, SYMBOL=UNITS with commas; negative is short.")] = "",
    terms: Annotated[str | None, typer.Option(help="YAML or JSON file; multiplier and lot are read.")] = None,
    standing: Annotated[
        bool,
        typer.Option("--standing", help="Take the last choice of targets, as an account that starts today."),
    ] = False,
    json_lines: Json = False,
) -> None:
    """What a strategy would trade at the next open, on paper, symbol by symbol. Nothing is sent anywhere."""
    output = Output.from_environment(json_lines=json_lines)
    units, conventions = _units(held), terms_named(terms)
    if Path(name).is_file():
        spec = legal_spec(name, output)
    else:
        with workspace.opened(create=True) as archive:
            found = load_spec(_agent_spec(archive, name), origin=name)
        if isinstance(found, list):
            raise InvalidConfig(f"the agent {name} is not a legal spec any more: {found[0]}", next_step="retire it")
        spec = found
    bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
    errors = check_for_bars(spec, bars, max_warmup=bars.n_bars - 1)
    if errors:
        show_errors(name, errors, output)
        raise typer.Exit(3)
    with said_once(output):
        signals = TradingStrategy(spec).generate_signals(bars)
    found_orders = paper_orders(signals, equity, units, terms=conventions, standing=standing)
    for order in found_orders:
        output.event("order", **asdict(order))
    output.event("orders", name=spec.name, market=market, session=str(bars.sessions[-1]), n_orders=len(found_orders))
    if not found_orders:
        later = "" if standing else "; with --standing it trades to its last choice"
        output.line(f"{spec.name} wants no change after {bars.sessions[-1]}{later}.")
        return
    rows = [
        (plain(order.symbol), order.side, f"{order.units:,.4f}", number(order.reference_price), order.reason)
        for order in found_orders
    ]
    columns = ("symbol", "side", "units>", "close>", "because")
    output.table(f"Paper orders of {spec.name} for the open after {bars.sessions[-1]}", columns, rows)


def _agent_spec(archive: Archive, name: str) -> Mapping[str, Any]:
    """The spec of an agent of the registry, or of a portfolio that is shipped for panels."""
    panels = {spec.name: spec for spec in panel_incumbents()}
    known = {agent.agent_id: agent for agent in _registry(archive).agents()}
    if name in known:
        return known[name].spec
    if name in panels:
        return panels[name].config()
    near = get_close_matches(name, [*known, *panels], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"there is no agent {name!r} and no such file{hint}", next_step="see: touchstone agents list")


def _units(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        symbol, sign, units = part.partition("=")
        try:
            found[symbol.strip()] = float(units)
        except ValueError:
            sign = ""
        if not sign or not symbol.strip():
            raise UsageError(f"--held: {part[:40]!r} is not SYMBOL=UNITS", next_step="write --held AAA=10,BBB=-4")
    return found


def _registry(archive: Archive) -> Registry:
    registry = Registry(archive)
    registry.ensure_shipped(shipped_incumbents())
    return registry


def _metrics(spec: object, market: str) -> dict[str, float]:
    bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
    window = plan_split(bars).open
    loaded = load_spec(spec, origin="")  # type: ignore[arg-type]
    if isinstance(loaded, list):
        return {}
    cut = bars.upto(window.stop)
    signals, held = TradingStrategy(loaded).generate_signals(cut), held_returns(cut, window)
    return dict(simulate(signals, COSTS["liquid-index"], window=window, benchmark=held).metrics)
