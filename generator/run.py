"""Run: one run with everything that it is about, opened or reopened before the first proposal.

What a run is (its identity) covers configuration, data, incumbents, prompts, the schemas of their replies, and code.
The same identity in the same workspace is the same run: started again it goes on where it stopped, and when it is
finished it is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from agents.archive.code import code_version, source_version
from agents.archive.records import AgentRecord, RunRecord, SealedOpening, series_key
from agents.archive.store import Archive
from agents.manager.registry import Registry
from agents.strategy.incumbents import panel_incumbents, shipped_incumbents
from agents.strategy.spec import Spec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.bars import Bars
from backtesting.errors import CheckFailed, InvalidConfig, StorageError, UsageError
from backtesting.hashing import content_id
from backtesting.opening_price import EarlierOpening, alpha_for_opening
from backtesting.splits import EMBARGO_BARS, MIN_WINDOW_BARS, Split, Window, plan_split
from generator.changes import changes
from generator.config import RunConfig
from generator.open_window import OpenWindow
from generator.outputs import form_of
from generator.slots import plan_slots
from generator.templates import Prompt

PROPOSER = ("generator",)
"""What proposes, without its interfaces: not part of what a review is bound to, but of what a run would do again."""


@dataclass(frozen=True, eq=False)
class Run:
    """A run, planned and stored.

    Attributes:
        bars: the whole market; only the judgement at the end reads beyond the open window.
        open: what proposers and evaluations may see.
        incumbents: the active agents of the registry, as they were when the run began.
        prompts: by role (`propose`, `repair`); empty without a model.
        resumed: it was begun by an earlier process.
    """

    record: RunRecord
    config: RunConfig
    bars: Bars
    split: Split
    open: OpenWindow
    incumbents: tuple[TradingStrategy, ...]
    prompts: Mapping[str, Prompt]
    archive: Archive
    resumed: bool

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def series(self) -> str:
        return series_key(self.bars.symbols)

    @property
    def sealed_sessions(self) -> tuple[str, str]:
        """First and last session of the sealed window."""
        sessions = self.bars.sessions
        return str(sessions[self.split.sealed.start]), str(sessions[self.split.sealed.stop - 1])

    @property
    def finished(self) -> bool:
        return any(event.kind == "finished" for event in self.archive.events(self.run_id) if event.slot_id is None)


@dataclass(frozen=True)
class Seal:
    """What the sealed window may still be asked.

    Attributes:
        alpha: what this run's opening may spend on the blind test; 0 if there is none.
        n_earlier: openings before this run's that these days have to pay for.
        broken: why nothing can be judged blindly, or empty.
        window: the sealed days that are left; all that were planned if `broken`, for the test by length.
        later: why the window begins later than planned, or empty.
        again: when a new window will be sealed, if `broken`.
        n_trials: looks before this run's own opening, where there is one already; None before it.
    """

    alpha: float
    n_earlier: int
    broken: str
    window: Window
    later: str = ""
    again: str = ""
    n_trials: int | None = None


def open_run(
    config: RunConfig,
    archive: Archive,
    bars: Bars,
    prompts: Mapping[str, Prompt],
    *,
    continues: RunRecord | None = None,
    parent: str = "",
) -> Run:
    """Plan a run and store the plan, or find it again if it was planned before.

    Args:
        continues: the stored run that is meant to go on; None for whichever the configuration names.
        parent: id of the run that this one goes on from after something changed; see generator/fork.py.

    Raises:
        DataError: too few bars for an open and a sealed window.
        InvalidConfig: there is no active incumbent to compare with, or `continues` would go on as another run.
    """
    Registry(archive).ensure_shipped(shipped_incumbents())
    incumbents = active_incumbents(archive, bars)
    if config.replace:
        check_replaceable(archive, config.replace)
    split = plan_split(bars, open_share=config.open_share)
    identity = identity_of(config, bars, incumbents, prompts, parent)
    run_id = f"r-{content_id(identity).removeprefix('b2:')[:10]}"
    record = RunRecord(
        run_id=run_id,
        config=identity,
        market=config.market,
        bars_id=bars.bars_id,
        split=split.as_dict(),
        seed=config.seed,
        engine_version=code_version(),
    )
    if continues is not None:
        _check_unchanged(continues, record)
    # Before anything is stored: a market that lacks what the terms ask for must not leave a run behind.
    window = OpenWindow.of(bars, split, config.cost_model, incumbents, config.market_terms)
    known = {run.run_id: run for run in archive.runs()}
    resumed = run_id in known
    if resumed:
        record = known[run_id]
    else:
        plan = plan_slots(run_id, n_slots=config.slots, block=config.block, shares=config.shares, seed=config.seed)
        record = archive.add_run(record, plan)
    return Run(record, config, bars, split, window, incumbents, prompts, archive, resumed)


def unfinished_run(archive: Archive) -> RunRecord:
    """The run of the loop that was begun last and has neither ended nor gone on as another.

    Raises StorageError if there is none.
    """
    for record in reversed(archive.runs()):
        if "kind" in record.config:
            continue  # a comparison of prompts is continued by its own command
        kinds = {event.kind for event in archive.events(record.run_id) if event.slot_id is None}
        if not kinds & {"finished", "forked"}:
            return record
    raise StorageError("no run in this workspace is unfinished", next_step="start one: touchstone evolve --market ...")


def config_of(record: RunRecord) -> RunConfig:
    """The configuration that a stored run was started with."""
    return RunConfig.model_validate(record.config["config"])


def _check_unchanged(stored: RunRecord, now: RunRecord) -> None:
    """Refuse to continue a run as a different one; the sentence names what changed."""
    if stored.run_id == now.run_id:
        return
    changed = ", ".join(changes(stored.config, now.config))
    raise InvalidConfig(
        f"run {stored.run_id} cannot go on: {changed} changed since it began",
        kept="what it has done is kept and can be looked at",
        next_step="restore what changed, go on in a new segment with --fork, or start a new run without --resume",
    )


def changed_parts(
    record: RunRecord, config: RunConfig, archive: Archive, bars: Bars, prompts: Mapping[str, Prompt]
) -> tuple[str, ...]:
    """What is not as it was when the stored run began, a phrase for each part; empty if nothing."""
    parent = str(record.config.get("forked_from", ""))
    now = identity_of(config, bars, active_incumbents(archive, bars), prompts, parent)
    return changes(record.config, now)


def identity_of(
    config: RunConfig,
    bars: Bars,
    incumbents: tuple[TradingStrategy, ...],
    prompts: Mapping[str, Prompt],
    parent: str = "",
) -> dict[str, Any]:
    """Everything that decides what the run will contain, as plain data by part."""
    return {
        **({"forked_from": parent} if parent else {}),
        "config": config.model_dump(mode="json"),
        "data": bars.bars_id,
        "incumbents": {strategy.name: strategy.spec_id for strategy in incumbents},
        "prompts": {role: prompt.template_id for role, prompt in sorted(prompts.items())},
        "schemas": {
            role: content_id(form_of(prompt.output, panel=bars.n_assets > 1).schema)
            for role, prompt in sorted(prompts.items())
        },
        "code": code_version(),
        "proposer": source_version(PROPOSER),
    }


def active_incumbents(archive: Archive, bars: Bars) -> tuple[TradingStrategy, ...]:
    """The active agents of the registry as strategies, by name; on a panel also the portfolios that are ordinary there.

    Without those a candidate would be credited with what plain momentum between assets earns.
    """
    active = sorted(archive.agents("active"), key=lambda agent: agent.agent_id)
    if not active:
        raise InvalidConfig(
            "no agent is active, so a candidate has nothing to be compared with",
            next_step="see `touchstone agents list`",
        )
    agents = [TradingStrategy(_named(agent)) for agent in active]
    known = {agent.spec_id for agent in agents}
    usual = [TradingStrategy(spec) for spec in panel_incumbents()] if bars.n_assets > 1 else []
    return (*agents, *(strategy for strategy in usual if strategy.spec_id not in known))


def check_replaceable(archive: Archive, name: str) -> None:
    """Refuse, before anything is proposed, a claim on a place that a pass could not give.

    Raises:
        UsageError: there is no such agent, or it is not active; CheckFailed: it is the only active one.
    """
    agent = Registry(archive).agent(name)
    if agent.state != "active":
        raise UsageError(
            f"{name} cannot be replaced, it is in state {agent.state!r}",
            next_step="name an active agent: touchstone agents list",
        )
    if len(archive.agents("active")) == 1:
        raise CheckFailed(
            f"{name} is the only active agent: without it nothing would be left to compare candidates with",
            next_step="leave --replace out, so that what passes joins it",
        )


def blind_bars(bars: Bars, blind_after: date, sealed: Window) -> tuple[int, int]:
    """The first sealed bar after a day, and how many bars are missing for a blind test from there; 0 if none."""
    after = int(np.searchsorted(bars.sessions, np.datetime64(blind_after), side="right"))
    start = max(after, sealed.start)
    return start, max(0, MIN_WINDOW_BARS - (sealed.stop - start))


def seal_of(run: Run) -> Seal:
    """What this run's opening may spend, after all that was asked of these days before.

    Days that anybody has looked at are not sealed: a person who was shown numbers, a backtest, another run whose open
    window reached further. The window then begins after them, and so it does after days whose alpha is spent. Where too
    few bars are left there is no blind test. An opening of the run itself, made before it was killed, stands as it was.
    """
    archive, planned = run.archive, run.split.sealed
    first, last = run.sealed_sessions
    own = archive.opening_of_run(run.run_id)
    openings = [
        opening
        for opening in archive.earlier_openings(run.series, first, last, bars_id=run.bars.bars_id)
        if opening.run_id != run.run_id or opening.kind == "shown"
    ]
    if own is not None:
        n_before = sum(opening.opening_id < own.opening_id for opening in openings)
        start = int(np.searchsorted(run.bars.sessions, np.datetime64(own.first_session)))
        broken = "" if own.alpha > 0.0 else "its days were not sealed any more when it was judged"
        return Seal(own.alpha, n_before, broken, Window(start, planned.stop), n_trials=own.n_trials)
    window, later = planned, ""
    shown = [opening for opening in openings if opening.kind == "shown"]
    look = archive.latest_look(run.series, first, last, bars_id=run.bars.bars_id)
    if shown:
        furthest = max(shown, key=lambda opening: opening.last_session)
        window = _left_after(run, furthest.last_session)
        later = f"its numbers were shown to {furthest.by} on {furthest.at[:10]}, so it is not sealed any more"
    if look is not None and _left_after(run, look.last_session).n_bars < window.n_bars:
        window = _left_after(run, look.last_session)
        later = (
            f"its days up to {look.last_session} were looked at by {look.by}"
            f"{f' in run {look.run_id}' if look.run_id else ''} on {look.at[:10]}, so they are not sealed any more"
        )
    if window.n_bars < MIN_WINDOW_BARS:
        return Seal(0.0, len(openings), later, planned, again=_again(window.n_bars))
    days = str(run.bars.sessions[window.start])
    judged = [opening for opening in openings if opening.kind == "judge" and opening.last_session >= days]
    try:
        return Seal(alpha_for_opening(run.config.alpha, [_answer(o) for o in judged]), len(judged), "", window, later)
    except CheckFailed as spent:
        window = _left_after(run, max(opening.last_session for opening in judged))
        if window.n_bars < MIN_WINDOW_BARS:
            return Seal(0.0, len(judged), spent.what, planned, again=_again(window.n_bars))
        return Seal(alpha_for_opening(run.config.alpha, []), 0, "", window, spent.what)


def _left_after(run: Run, session: str) -> Window:
    """The sealed bars after this day and an embargo; none if it is the last."""
    sealed = run.split.sealed
    after = int(np.searchsorted(run.bars.sessions, np.datetime64(session), side="right")) + EMBARGO_BARS
    return Window(min(max(after, sealed.start), sealed.stop), sealed.stop)


def _again(n_left: int) -> str:
    missing = MIN_WINDOW_BARS - n_left + (EMBARGO_BARS if n_left == 0 else 0)
    return f"{missing} more bars will have sealed a new window"


def _answer(opening: SealedOpening) -> EarlierOpening:
    # An opening whose run was killed before the answer was stored may have been read: it is charged as one with passes.
    n_passed = opening.n_nominees if opening.n_passed is None else opening.n_passed
    return EarlierOpening(opening.n_nominees, n_passed)


def _named(agent: AgentRecord) -> Spec:
    spec = load_spec({**agent.spec, "name": agent.agent_id}, origin=agent.agent_id)
    if isinstance(spec, list):
        raise InvalidConfig(
            f"the agent {agent.agent_id} is not a legal spec any more: {spec[0]}",
            next_step="retire it, or use the version of Touchstone that it was registered with",
        )
    return spec
