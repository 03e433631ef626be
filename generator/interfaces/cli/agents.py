"""`touchstone agents`: the registry of agents, their states and histories."""

from typing import Annotated

import typer

from agents.archive.code import code_version
from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from agents.manager.registry import Registry
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import load_spec, rule_text, to_yaml
from agents.strategy.strategy import TradingStrategy
from backtesting.backtest import simulate
from backtesting.costs import COSTS
from backtesting.splits import plan_split
from generator.interfaces.cli import workspace
from generator.interfaces.cli.output import Output, number, percent, plain
from generator.interfaces.cli.report import show_metrics

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The registry: list, show, promote.",
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
    return dict(simulate(TradingStrategy(loaded).generate_signals(cut), COSTS["liquid-index"], window=window).metrics)
