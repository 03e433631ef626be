"""Ab: two prompts under the same questions, on an archive that does not move meanwhile.

A pair of slots has the same parents, market card, model, settings and repeat index; which of the two is asked first is
drawn. Both prompts read the archive as it stood when the comparison began, and what they propose goes nowhere: it is
evaluated in the open window (each look a trial like any other), and never nominated, so that choosing a prompt is no
way to reach the sealed window.

It is kept as a run of its own kind, with slots, calls, proposals and evaluations, so that a paid reply is never paid
twice: the same comparison started again goes on where it stopped. Every pair whose call the world broke (timeout, no
connection) is left out of the figures and counted, because that is not the prompt's doing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agents.archive.code import code_version
from agents.archive.records import Call, Candidate, Rejection, RunRecord, Slot, Trial, series_key
from agents.archive.store import Archive
from agents.manager.registry import Registry
from agents.strategy.incumbents import shipped_incumbents
from agents.strategy.spec import Spec
from agents.strategy.strategy import TradingStrategy
from backtesting.bars import Bars, FloatArray
from backtesting.costs import COSTS
from backtesting.errors import InvalidConfig, TouchstoneError
from backtesting.evaluation import Evaluation
from backtesting.hashing import content_id
from backtesting.splits import LEAD_BARS, plan_split
from generator.budget import estimated_tokens
from generator.calls import PaidCalls
from generator.comparison import PRIMARY, TYPICAL_RATE, Comparison, Detectable, Outcome, Pair, compare, detectable
from generator.config import CARD, RunConfig
from generator.context import parents_wanted, propose_inputs
from generator.llm.client import Usage
from generator.llm.pricing import Price, cost
from generator.loop import spec_of
from generator.novelty import Known, positions_of, refuse_positions, refuse_text
from generator.open_window import OPEN, OpenWindow
from generator.outputs import form_of
from generator.repair import MAX_REPAIRS
from generator.run import active_incumbents
from generator.selection import Chosen, Entry, Snapshot, choose_parents
from generator.slots import random_stream
from generator.templates import Prompt, Sampling, render
from generator.workflows.dialogue import MAX_OUTPUT_TOKENS, Desk
from generator.workflows.one_shot import OneShot
from generator.workflows.workflow import Task

KIND = "ab"
SIDES = ("a", "b")
NOT_THE_PROMPTS_DOING = ("transport", "rate_limited", "quota", "timeout", "protocol", "llm_error", "budget")
MIN_HISTORY = 20
"""Replies of a model that have to be known before their share of valid ones is taken for what is to be expected."""

Watcher = Callable[[int, int], None]


@dataclass(frozen=True)
class AbConfig:
    """What a comparison is. Raises InvalidConfig for what it cannot be.

    Attributes:
        n_pairs: how often each prompt is asked.
        primary: the measure that decides, named before anything is spent (comparison.PRIMARY).
        temperature, max_output_tokens: for both prompts; None takes what A recommends, and B gets the same.
    """

    market: str
    llm: str
    n_pairs: int
    seed: int = 1
    llm_mode: str = "schema"
    costs: str = "liquid-index"
    open_share: float = 0.30
    primary: str = "valid"
    temperature: float | None = None
    max_output_tokens: int | None = None

    def __post_init__(self) -> None:
        for name, fine, allowed in (
            ("n_pairs", 1 <= self.n_pairs <= 100_000, "1 to 100,000"),
            ("primary", self.primary in PRIMARY, ", ".join(PRIMARY)),
            ("costs", self.costs in COSTS, ", ".join(COSTS)),
        ):
            if not fine:
                raise InvalidConfig(f"{name} is {getattr(self, name)!r}, allowed is {allowed}", next_step="correct it")


@dataclass(frozen=True, eq=False)
class Ab:
    """A comparison, planned; it is stored when it is run.

    Attributes:
        prompts: by role: `a`, `b`, `repair` and the market card; a and b with the same sampling.
        snapshot: what both prompts may look back at.
        parents: of each pair, in the order of the pairs.
        series: under which looks at this market are counted.
        resumed: it was begun before.
    """

    record: RunRecord
    config: AbConfig
    window: OpenWindow
    prompts: dict[str, Prompt]
    snapshot: Snapshot
    parents: tuple[tuple[Chosen, ...], ...]
    archive: Archive
    series: str
    resumed: bool

    @property
    def run_id(self) -> str:
        return self.record.run_id

    def inputs(self, side: str, pair: int) -> dict[str, Any]:
        """What the prompt of one side is filled with; the other side's differs only in which inputs it declares."""
        return propose_inputs(
            self.prompts[side],
            self.prompts[CARD],
            self.window.bars,
            self.window.window,
            self.window.costs,
            self.snapshot,
            self.parents[pair],
            max_warmup=LEAD_BARS,
            n_tried=len(self.snapshot.candidates),
        )

    def detectable(self) -> Detectable:
        """What so many pairs can show, from the share of valid replies that this model has had so far."""
        valid = [
            candidate is not None and candidate.repairs == 0
            for record in self.archive.runs()
            if record.config.get("config", {}).get("llm") == self.config.llm
            for slot in self.archive.slots(record.run_id)
            if slot.arm in ("llm", *SIDES) and self.archive.proposals(slot.slot_id)
            for candidate in [self.archive.candidate(slot.slot_id)]
        ]
        known = len(valid) >= MIN_HISTORY
        rate = min(max(sum(valid) / len(valid), 0.02), 0.98) if known else TYPICAL_RATE
        return detectable(self.config.n_pairs, rate)

    def worst_case(self, price: Price | None) -> tuple[int, float | None]:
        """Tokens (est.) and USD if every reply is as long as allowed and every slot needs all repairs."""
        tokens, usd = 0, 0.0
        for side in SIDES:
            prompt, repair = self.prompts[side], self.prompts["repair"]
            size = sum(len(message.content.encode()) for message in render(prompt, self.inputs(side, 0)))
            asked = estimated_tokens(size)
            replied = prompt.sampling.max_output_tokens or MAX_OUTPUT_TOKENS
            # A repair shows the vocabulary and the reply again, so it is about as long as the question.
            mended = repair.sampling.max_output_tokens or MAX_OUTPUT_TOKENS
            one = Usage(asked * (1 + MAX_REPAIRS), replied + MAX_REPAIRS * mended)
            tokens += self.config.n_pairs * one.total_tokens
            usd += 0.0 if price is None else self.config.n_pairs * cost(one, price)
        return tokens, None if price is None else usd


@dataclass(frozen=True)
class Result:
    """What came of it so far.

    Attributes:
        comparison: None while no pair is complete.
        complete, dropped: pairs with two ends, and those of them that the world broke, by code.
        ended: by side, slots by end.
        cells: one a complete pair: its number, and by side how it ended and its open-window score, None without one.
        uncounted: by side, calls of complete pairs whose tokens nobody counted; they stand with what was reserved.
    """

    comparison: Comparison | None
    complete: int
    dropped: dict[str, int]
    ended: dict[str, dict[str, int]]
    cells: tuple[dict[str, Any], ...] = ()
    uncounted: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-like."""
        return {
            "comparison": None if self.comparison is None else self.comparison.as_dict(),
            "complete": self.complete,
            "dropped": self.dropped,
            "ended": self.ended,
            "cells": list(self.cells),
            "uncounted": dict(self.uncounted),
        }


def open_ab(config: AbConfig, archive: Archive, bars: Bars, prompts: dict[str, Prompt]) -> Ab:
    """Plan a comparison; nothing of it is stored yet. `prompts` by role: a, b, repair and the market card.

    Raises:
        InvalidConfig: one of the prompts cannot propose a rule.
    """
    Registry(archive).ensure_shipped(shipped_incumbents())
    incumbents = active_incumbents(archive, bars)
    split = plan_split(bars, open_share=config.open_share)
    window = OpenWindow.of(bars, split, COSTS[config.costs], incumbents)
    prompts = _same_sampling(config, prompts)
    snapshot = _frozen(archive, window, incumbents, bars.bars_id, split.as_dict(), config)
    wanted = max(parents_wanted(prompts[side]) for side in SIDES)
    parents = tuple(
        choose_parents(snapshot, "llm", random_stream(config.seed, f"pair-{pair}", "parents"), n_parents=wanted)
        for pair in range(config.n_pairs)
    )
    identity = {
        "kind": KIND,
        "config": {**config.__dict__},
        "data": bars.bars_id,
        "incumbents": {strategy.name: strategy.spec_id for strategy in incumbents},
        "prompts": {role: prompt.template_id for role, prompt in sorted(prompts.items())},
        "archive": content_id([[entry.ref, entry.spec_id] for entry in snapshot.candidates]),
        "code": code_version(),
    }
    run_id = f"ab-{content_id(identity).removeprefix('b2:')[:10]}"
    record = RunRecord(
        run_id, identity, config.market, bars.bars_id, split.as_dict(), config.seed, str(identity["code"])
    )
    known = any(run.run_id == run_id for run in archive.runs())
    made = Ab(record, config, window, prompts, snapshot, parents, archive, series_key(bars.symbols), known)
    for side in SIDES:
        made.inputs(side, 0)  # says now, and not after the first call, that a prompt wants what nobody has
    return made


async def run_ab(ab: Ab, calls: PaidCalls, watch: Watcher) -> Result:
    """Ask both prompts under every pair, evaluate what comes, and compare.

    Raises:
        BudgetReached, EndpointError: it stops; what was asked is stored, `result_of` compares the complete pairs and
            the same comparison started again goes on.
    """
    archive, config = ab.archive, ab.config
    if not ab.resumed:
        archive.add_run(ab.record, _plan(ab.run_id, config))
    archive.abandon_calls(ab.run_id)
    workflows = {
        side: OneShot(
            Desk(
                archive,
                {"propose": calls, "repair": calls},
                {"propose": ab.prompts[side], "repair": ab.prompts["repair"]},
                RunConfig(market=config.market, llm=config.llm, llm_mode=config.llm_mode, seed=config.seed),
                ab.window.bars,
                LEAD_BARS,
            )
        )
        for side in SIDES
    }
    gate = asyncio.Semaphore(calls.traffic.under_way)

    async def ask(slot: Slot) -> None:
        async with gate:
            calls.traffic.check()
            await calls.traffic.turnstile()
            parents = ab.parents[slot.block][: parents_wanted(ab.prompts[slot.arm])]
            inputs = ab.inputs(slot.arm, slot.block)
            try:
                answer = await workflows[slot.arm].propose(
                    Task(slot, {"propose": inputs}, parents, ab.snapshot, asking=slot.block)
                )
            except TouchstoneError as stop:
                calls.traffic.stop(stop)
                raise
        if isinstance(answer, Rejection):
            archive.reject(slot.slot_id, answer)
        else:
            spec, repairs = answer
            origin = "repaired" if repairs else "llm"
            with archive.transaction():
                archive.add_candidate(Candidate(slot.slot_id, spec.spec_id, spec.config(), origin, repairs))
                archive.append_event(slot.slot_id, "valid")
        states = archive.slot_states(ab.run_id)
        watch(sum(state not in _OPEN_STATES for state in states.values()), len(states))

    states = archive.slot_states(ab.run_id)
    waiting = [slot for slot in archive.slots(ab.run_id) if states[slot.slot_id] in _OPEN_STATES]
    answers = await asyncio.gather(*(ask(slot) for slot in waiting), return_exceptions=True)
    # What came home is evaluated even if a later call was refused: those pairs may be complete.
    await asyncio.to_thread(_evaluate, ab)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    result = result_of(ab)
    if archive.run_state(ab.run_id) != "finished":
        archive.append_run_event(ab.run_id, "finished", result.as_dict())
    return result


def result_of(ab: Ab) -> Result:
    """The comparison of the pairs that are complete; the same archive gives the same bytes."""
    archive = ab.archive
    states = archive.slot_states(ab.run_id)
    codes = {
        event.slot_id: event.code for event in archive.events(ab.run_id) if event.kind == "rejected" and event.slot_id
    }
    scores = archive.evaluations(ab.run_id)
    calls: dict[str, list[Call]] = {}
    for call in archive.calls(ab.run_id):
        calls.setdefault(call.slot_id or "", []).append(call)
    sides: dict[int, dict[str, Slot]] = {}
    for slot in archive.slots(ab.run_id):
        sides.setdefault(slot.block, {})[slot.arm] = slot
    pairs: list[Pair] = []
    dropped: dict[str, int] = {}
    ended: dict[str, dict[str, int]] = {side: {} for side in SIDES}
    complete = 0
    uncounted = dict.fromkeys(SIDES, 0)
    cells: list[dict[str, Any]] = []
    for number, slots in sorted(sides.items()):
        ends = {side: codes.get(slot.slot_id) or states[slot.slot_id] for side, slot in slots.items()}
        if any(end in (*_OPEN_STATES, "valid") for end in ends.values()):
            continue
        complete += 1
        cells.append(
            {"pair": number}
            | {
                side: {"ended": ends[side], "score": scores.get(slot.slot_id, {}).get("alpha_t")}
                for side, slot in slots.items()
            }
        )
        for side, end in ends.items():
            ended[side][end] = ended[side].get(end, 0) + 1
        broken = [end for end in ends.values() if end in NOT_THE_PROMPTS_DOING]
        if broken:
            dropped[broken[0]] = dropped.get(broken[0], 0) + 1
            continue
        for side, slot in slots.items():
            uncounted[side] += sum(call.usage is None for call in calls.get(slot.slot_id, []))
        outcomes = {
            side: _outcome(archive, slot, ends[side], scores.get(slot.slot_id), calls.get(slot.slot_id, []))
            for side, slot in slots.items()
        }
        parents = ",".join(sorted(chosen.entry.ref for chosen in ab.parents[number]))
        pairs.append(Pair(parents or f"pair {number}", outcomes["a"], outcomes["b"]))
    rng = random_stream(ab.config.seed, "comparison", "bootstrap")
    comparison = compare(pairs, primary=ab.config.primary, rng=rng) if pairs else None
    return Result(comparison, complete, dropped, ended, tuple(cells), uncounted)


_OPEN_STATES = ("planned", "prompted", "responded")


def _evaluate(ab: Ab) -> None:
    """Evaluate the candidates in the order of their slots; each prompt is new against the archive and itself."""
    archive = ab.archive
    known = {side: _known(ab) for side in SIDES}
    states = archive.slot_states(ab.run_id)
    for slot in archive.slots(ab.run_id):
        candidate = archive.candidate(slot.slot_id)
        if candidate is None or states[slot.slot_id] == "rejected":
            continue
        seen = known[slot.arm]
        spec = spec_of(candidate)
        if states[slot.slot_id] == "evaluated":
            _learn(seen, slot, spec, positions_of(ab.window.simulate(TradingStrategy(spec))), float("nan"))
            continue
        twin = refuse_text(spec, seen)
        if twin is not None:
            archive.reject(slot.slot_id, twin)
            continue
        n_trials = archive.count_trials(ab.series, purpose=OPEN) + 1
        try:
            result = ab.window.simulate(TradingStrategy(spec))
            double = refuse_positions(positions_of(result), seen)
            if isinstance(double, Rejection):
                archive.reject(slot.slot_id, double)
                continue
            evaluation = ab.window.look(spec, result, n_trials=n_trials, seed=ab.config.seed)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            archive.reject(slot.slot_id, Rejection("evaluation", "eval_error", f"{type(error).__name__}: {error}"))
            continue
        with archive.transaction():
            archive.add_trial(_trial(ab, slot, evaluation))
            archive.add_evaluation(slot.slot_id, spec.spec_id, ab.record.bars_id, evaluation.as_dict())
            archive.append_event(slot.slot_id, "evaluated")
        _learn(seen, slot, spec, positions_of(result), evaluation.alpha_t)


def _known(ab: Ab) -> Known:
    """What was known before the comparison: incumbents and the frozen archive."""
    known = Known()
    for entry in (*ab.snapshot.incumbents, *ab.snapshot.candidates):
        known.add_rule(entry.spec, entry.ref)
    for name, result in ab.window.incumbents.items():
        known.add_behaviour(name, positions_of(result), 0.0)
    for entry in ab.snapshot.candidates:
        known.add_behaviour(entry.ref, positions_of(ab.window.simulate(TradingStrategy(entry.spec))), entry.alpha_t)
    return known


def _learn(known: Known, slot: Slot, spec: Spec, positions: FloatArray, alpha_t: float) -> None:
    label = f"pair {slot.block}"
    known.add_rule(spec, label)
    known.add_behaviour(label, positions, alpha_t)


def _trial(ab: Ab, slot: Slot, evaluation: Evaluation) -> Trial:
    result = evaluation.result
    return Trial(
        spec_id=evaluation.spec_id,
        bars_id=ab.record.bars_id,
        series=ab.series,
        window_start=result.window.start,
        window_stop=result.window.stop,
        first_session=str(result.sessions[0]),
        last_session=str(result.sessions[-1]),
        purpose=OPEN,
        by=f"{KIND}:{ab.prompts[slot.arm].id}",
        metrics=dict(result.metrics),
        run_id=ab.run_id,
        slot_id=slot.slot_id,
        stream_id=ab.archive.add_stream(result.returns),
    )


def _outcome(
    archive: Archive, slot: Slot, end: str, evaluation: dict[str, Any] | None, calls: Sequence[Call]
) -> Outcome:
    candidate = archive.candidate(slot.slot_id)
    alpha_t = None if evaluation is None else evaluation["alpha_t"]
    costs = [call.cost_usd if call.cost_usd is not None else call.reserved_usd for call in calls]
    return Outcome(
        valid=candidate is not None and candidate.repairs == 0,
        legal=candidate is not None,
        novel=end == "evaluated",
        score=float("nan") if alpha_t is None else float(alpha_t),
        tokens=sum(_tokens(call) for call in calls),
        usd=None if None in costs else sum(usd for usd in costs if usd is not None),
        ended=end,
    )


def _tokens(call: Call) -> int:
    if call.usage is None:
        return call.reserved_tokens
    return int(call.usage.get("input_tokens") or 0) + int(call.usage.get("output_tokens") or 0)


def _same_sampling(config: AbConfig, prompts: dict[str, Prompt]) -> dict[str, Prompt]:
    """Both prompts with the settings of the comparison, else with those that A recommends."""
    for side in SIDES:
        if form_of(prompts[side].output).rule is None:
            raise InvalidConfig(
                f"the prompt {prompts[side].id!r} asks for no rule, so there is nothing to compare",
                next_step="compare two prompts whose output is strategy-spec or spec-edits",
            )
    own = prompts["a"].sampling
    shared = Sampling(
        temperature=own.temperature if config.temperature is None else config.temperature,
        max_output_tokens=config.max_output_tokens or own.max_output_tokens,
    )
    return {role: replace(prompt, sampling=shared) if role in SIDES else prompt for role, prompt in prompts.items()}


def _plan(run_id: str, config: AbConfig) -> list[Slot]:
    slots = []
    for pair in range(config.n_pairs):
        order = random_stream(config.seed, f"pair-{pair}", "order").permutation(len(SIDES))
        slots += [Slot(run_id, 2 * pair + at, SIDES[int(side)], pair) for at, side in enumerate(order)]
    return slots


def _frozen(
    archive: Archive,
    window: OpenWindow,
    incumbents: Sequence[TradingStrategy],
    bars_id: str,
    split: dict[str, Any],
    config: AbConfig,
) -> Snapshot:
    """What the runs of the loop have found on this window under these costs, each rule once."""
    entries: dict[str, Entry] = {}
    for record in archive.runs():
        same = record.bars_id == bars_id and record.split == split
        settings = record.config.get("config", {})
        if "kind" in record.config or not same or settings.get("costs") != config.costs or settings.get("terms"):
            continue
        arms = {slot.slot_id: slot.arm for slot in archive.slots(record.run_id)}
        for slot_id, stored in archive.evaluations(record.run_id).items():
            candidate = archive.candidate(slot_id)
            if candidate is None or candidate.spec_id in entries:
                continue
            alpha_t = stored["alpha_t"]
            metrics = {name: float("nan") if value is None else value for name, value in stored["metrics"].items()}
            score = float("nan") if alpha_t is None else float(alpha_t)
            entries[candidate.spec_id] = Entry(
                slot_id, arms[slot_id], spec_of(candidate), candidate.spec_id, score, metrics
            )
    known = tuple(entries.values())
    failures = tuple(
        f"{next(iter(entry.spec.expressions.values()))}: adds nothing to the ordinary rules"
        for entry in known
        if not entry.alpha_t > 0.0
    )
    named = tuple(
        Entry(
            strategy.name,
            "incumbent",
            strategy.spec,
            strategy.spec_id,
            float("nan"),
            window.incumbents[strategy.name].metrics,
        )
        for strategy in incumbents
    )
    return Snapshot(named, known, failures)
