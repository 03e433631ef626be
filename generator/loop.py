"""The loop: propose, validate, evaluate in the open window, block by block; then judge all candidates once.

It is the only place where the stages meet, and the only impure one: each stage's result is stored before the next
begins, in one transaction a step, so that a killed process goes on where it stopped. Within a block models are asked
side by side; evaluation then follows the order of the slots, so concurrency changes no result.

Not done yet: overlapping one block's evaluation with the next one's calls, and walk-forward folds inside the open
window.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from math import isfinite

from agents.archive.records import Candidate, Proposal, Rejection, Slot, Spend, Trial
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.spec import Spec, load_spec
from backtesting.errors import TouchstoneError
from backtesting.evaluation import Evaluation
from backtesting.nomination import Nominee
from backtesting.splits import LEAD_BARS
from generator.arms import ARMS, Drawn
from generator.context import CARD, parents_wanted, propose_inputs
from generator.grammar import Grammar
from generator.novelty import Known, same_positions, same_rule
from generator.run import Run
from generator.selection import Chosen, Entry, Snapshot, choose_parents
from generator.slots import random_stream
from generator.verdicts import judge_run
from generator.workflows.one_shot import OneShot

OPEN = "open"


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever watches.

    Attributes:
        stage: what is running, in words.
        done, planned: slots that need no more proposing, and all slots.
        outcomes: slots by state; rejected ones by `rejected:CODE`.
        best: name and open-window Sharpe ratio of the candidate with the highest one; None before the first.
        luck: the Sharpe ratio that the best of so many worthless trials shows.
        last: the last outcome, in words.
    """

    run_id: str
    stage: str
    done: int
    planned: int
    outcomes: dict[str, int]
    best: tuple[str, float] | None
    luck: float
    spend: Spend
    last: str


Watcher = Callable[[Progress], None]


@dataclass(eq=False)
class _State:
    """What the loop knows of a run beyond the archive; rebuilt from it at resume."""

    looks: dict[str, Nominee] = field(default_factory=dict)
    known: Known = field(default_factory=lambda: Known({}, {}))
    last: str = ""


async def evolve(run: Run, workflow: OneShot | None, watch: Watcher, *, concurrency: int = 1) -> None:
    """Bring a run to its end: every slot in one terminal state, every candidate judged, the best few up for review.

    Raises:
        BudgetReached, EndpointError: the run stops; everything done is stored and the run can be resumed.
    """
    if run.finished:
        return
    run.archive.abandon_calls(run.run_id)
    loop = _Loop(run, workflow, watch, concurrency)
    loop.restore()
    slots = run.archive.slots(run.run_id)
    for block in sorted({slot.block for slot in slots}):
        await loop.run_block([slot for slot in slots if slot.block == block])
    loop.tell("judging: the sealed window is opened once, for all candidates together")
    judge_run(run, loop.state.looks)
    loop.tell("finished")


class _Loop:
    """The stages of one run, in order."""

    def __init__(self, run: Run, workflow: OneShot | None, watch: Watcher, concurrency: int) -> None:
        self.run = run
        self.state = _State()
        self._workflow = workflow
        self._watch = watch
        self._gate = asyncio.Semaphore(concurrency)
        self._stopped: BaseException | None = None
        self._grammar = Grammar(run.open.bars, EvaluationCache(), LEAD_BARS)

    def restore(self) -> None:
        """Rebuild what the stored slots say: evaluations are pure, so making them again gives the same."""
        incumbents = self.run.incumbents
        rules = {strategy.spec_id: strategy.name for strategy in incumbents}
        for agent in self.run.archive.agents():
            rules.setdefault(agent.spec_id, agent.agent_id)
        positions = {name: result.exposure for name, result in self.run.open.incumbents.items()}
        self.state.known = Known(rules, positions)
        for slot_id, stored in self.run.archive.evaluations(self.run.run_id).items():
            candidate = self.run.archive.candidate(slot_id)
            if candidate is not None:
                self._remember(slot_id, self._look(slot_id, spec_of(candidate), stored["n_trials"]))

    async def run_block(self, slots: Sequence[Slot]) -> None:
        """Propose for every slot of a block from one snapshot, then evaluate in the order of the slots."""
        states = self.run.archive.slot_states(self.run.run_id)
        open_slots = [slot for slot in slots if states[slot.slot_id] in ("planned", "prompted", "responded", "valid")]
        if not open_slots:
            return
        snapshot = self._snapshot(slots[0].block)
        waiting = [slot for slot in open_slots if states[slot.slot_id] != "valid"]
        own = [slot for slot in waiting if slot.arm in ARMS]
        for slot in own:
            self.tell(f"drawing ({slot.arm})")
            self._draw(slot, snapshot)
        asked = [slot for slot in waiting if slot.arm not in ARMS]
        if asked:
            self.tell(f"waiting for the model: {len(asked)} proposals")
            await _all_or_first_error([self._ask(slot, snapshot) for slot in asked])
        for slot in open_slots:
            candidate = self.run.archive.candidate(slot.slot_id)
            if candidate is not None:
                await self._evaluate(slot, candidate)
            self.tell("evaluating")

    def tell(self, stage: str) -> None:
        """Show the watcher where the run stands."""
        run, looks = self.run, self.state.looks
        outcomes = run.archive.count_outcomes(run.run_id)
        open_states = ("planned", "prompted", "responded", "valid")
        planned = sum(outcomes.values())
        best = max(looks.values(), key=_sharpe, default=None)
        luck = max((look.open_evaluation.expected_max_sharpe for look in looks.values()), default=0.0)
        self._watch(
            Progress(
                run_id=run.run_id,
                stage=stage,
                done=planned - sum(outcomes.get(state, 0) for state in open_states),
                planned=planned,
                outcomes=outcomes,
                best=None if best is None else (best.name, _sharpe(best)),
                luck=luck,
                spend=run.archive.spend(run.run_id),
                last=self.state.last,
            )
        )

    def _draw(self, slot: Slot, snapshot: Snapshot) -> None:
        """A proposal of an arm without a model: proposal and candidate in one step."""
        rng = random_stream(self.run.config.seed, f"slot-{slot.index}", slot.arm)
        # The seed keeps the names of two runs in one workspace apart, mostly; a slot id always does.
        name = f"{slot.arm}_{self.run.config.seed % 10**12}_{slot.index:04d}"
        drawn = ARMS[slot.arm](name, snapshot, self._grammar, rng, self._known_now())
        if isinstance(drawn, Rejection):
            self._reject(slot, drawn)
            return
        self._keep(slot, drawn)

    def _keep(self, slot: Slot, drawn: Drawn) -> None:
        archive = self.run.archive
        parents = [chosen.entry.ref for chosen in drawn.parents]
        with archive.transaction():
            archive.add_proposal(Proposal(slot_id=slot.slot_id, attempt=0, origin=slot.arm, parents=parents))
            self._valid(slot, drawn.spec, slot.arm, 0, {"operator": drawn.operator, "parents": _drawn(drawn.parents)})

    async def _ask(self, slot: Slot, snapshot: Snapshot) -> None:
        """A proposal of the model, repaired if need be."""
        if self._workflow is None:
            raise RuntimeError(f"slot {slot.slot_id} belongs to the arm {slot.arm!r}, which needs a model")
        run = self.run
        rng = random_stream(run.config.seed, f"slot-{slot.index}", "parents")
        prompt = run.prompts["propose"]
        parents = choose_parents(snapshot, slot.arm, rng, n_parents=parents_wanted(prompt))
        inputs = propose_inputs(
            prompt,
            run.prompts[CARD],
            run.open.bars,
            run.open.window,
            run.open.costs,
            snapshot,
            parents,
            max_warmup=LEAD_BARS,
            n_tried=len(snapshot.candidates),
        )
        async with self._gate:
            if self._stopped is not None:
                raise self._stopped  # the endpoint or the budget said no to an earlier slot; this one keeps its turn
            try:
                answer = await self._workflow.propose(slot.slot_id, inputs, parents)
            except TouchstoneError as stop:
                self._stopped = stop
                raise
        if isinstance(answer, Rejection):
            self._reject(slot, answer)
            return
        spec, n_repairs = answer
        with run.archive.transaction():
            self._valid(slot, spec, "repaired" if n_repairs else "llm", n_repairs, {"parents": _drawn(parents)})
        self.tell("waiting for the model")

    def _valid(self, slot: Slot, spec: Spec, origin: str, repairs: int, data: dict[str, object]) -> None:
        archive = self.run.archive
        archive.add_candidate(Candidate(slot.slot_id, spec.spec_id, spec.config(), origin, repairs))
        archive.append_event(slot.slot_id, "valid", data=data)

    async def _evaluate(self, slot: Slot, candidate: Candidate) -> None:
        archive = self.run.archive
        twin = same_rule(candidate.spec_id, self.state.known)
        if twin is not None:
            self._reject(slot, twin)
            return
        n_trials = archive.count_trials(self.run.series, purpose=OPEN) + 1
        try:
            look = await asyncio.to_thread(self._look, slot.slot_id, spec_of(candidate), n_trials)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            self._reject(slot, Rejection("evaluation", "eval_error", f"{type(error).__name__}: {error}"))
            return
        evaluation = look.open_evaluation
        double = same_positions(evaluation.result.exposure, self.state.known)
        with archive.transaction():
            archive.add_trial(self._trial(slot, evaluation))
            if double is None:
                archive.add_evaluation(slot.slot_id, candidate.spec_id, self.run.record.bars_id, evaluation.as_dict())
                archive.append_event(slot.slot_id, "evaluated", data={"alpha_t": _number(evaluation.alpha_t)})
            else:
                archive.reject(slot.slot_id, double)
        if double is None:
            self._remember(slot.slot_id, look)
        self.state.last = f"{candidate.name}: {double.reason if double else 'evaluated'}"

    def _look(self, slot_id: str, spec: Spec, n_trials: int) -> Nominee:
        rng = random_stream(self.run.config.seed, slot_id.rpartition("/")[2], "evaluation")
        return self.run.open.look(spec, n_trials=n_trials, rng=rng)

    def _trial(self, slot: Slot, evaluation: Evaluation) -> Trial:
        result = evaluation.result
        return Trial(
            spec_id=evaluation.spec_id,
            bars_id=self.run.record.bars_id,
            series=self.run.series,
            window_start=result.window.start,
            window_stop=result.window.stop,
            first_session=str(result.sessions[0]),
            last_session=str(result.sessions[-1]),
            purpose=OPEN,
            by=slot.arm,
            metrics={name: _number(value) for name, value in result.metrics.items()},
            run_id=self.run.run_id,
            slot_id=slot.slot_id,
            stream_id=self.run.archive.add_stream(result.returns),
        )

    def _remember(self, slot_id: str, look: Nominee) -> None:
        known = self.state.known
        # Models give the same name to different rules, so a twin is named with its slot.
        label = f"{look.name} (slot {int(slot_id.rpartition('/')[2])})"
        self.state.looks[slot_id] = look
        self.state.known = Known(
            {**known.rules, look.spec_id: label},
            {**known.positions, label: look.open_evaluation.result.exposure},
        )

    def _reject(self, slot: Slot, rejection: Rejection) -> None:
        self.run.archive.reject(slot.slot_id, rejection)
        self.state.last = f"slot {slot.index}: {rejection.code}: {rejection.reason}"
        self.tell("proposing")

    def _known_now(self) -> set[str]:
        """Rules that a draw should not repeat: judged ones, and those that wait for evaluation in this block."""
        return {*self.state.known.rules, *(c.spec_id for c in self.run.archive.candidates(self.run.run_id))}

    def _snapshot(self, block: int) -> Snapshot:
        """The archive as it stood when the block began."""
        incumbents = tuple(
            Entry(strategy.name, "incumbent", strategy.spec, strategy.spec_id, float("nan"), result.metrics)
            for strategy, result in (
                (strategy, self.run.open.incumbents[strategy.name]) for strategy in self.run.incumbents
            )
        )
        arms = {slot.slot_id: slot for slot in self.run.archive.slots(self.run.run_id) if slot.block < block}
        looks = {slot_id: look for slot_id, look in self.state.looks.items() if slot_id in arms}
        entries = tuple(_entry(slot_id, arms[slot_id].arm, look) for slot_id, look in looks.items())
        failures = tuple(
            f"{_main_rule(entry.spec)}: adds nothing to the ordinary rules"
            for entry in entries
            if not entry.alpha_t > 0.0
        )
        return Snapshot(incumbents, entries, failures)


async def _all_or_first_error(tasks: Sequence[Coroutine[None, None, None]]) -> None:
    """Run all; at the first error let the calls in flight come home and store their replies, then raise it."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def spec_of(candidate: Candidate) -> Spec:
    """The spec of a stored candidate."""
    spec = load_spec(candidate.spec, origin=candidate.slot_id)
    if isinstance(spec, list):
        raise ValueError(f"a stored candidate is not legal: {spec[0]}")
    return spec


def _entry(slot_id: str, arm: str, look: Nominee) -> Entry:
    evaluation = look.open_evaluation
    strategy = look.strategy
    return Entry(slot_id, arm, strategy.spec, look.spec_id, evaluation.alpha_t, evaluation.result.metrics)  # type: ignore[attr-defined]


def _main_rule(spec: Spec) -> str:
    return next(iter(spec.expressions.values()))


def _drawn(parents: Sequence[Chosen]) -> list[dict[str, object]]:
    return [{"ref": chosen.entry.ref, "probability": round(chosen.probability, 6)} for chosen in parents]


def _sharpe(look: Nominee) -> float:
    value = look.open_evaluation.result.metrics.get("sharpe_ratio", float("nan"))
    return value if isfinite(value) else float("-inf")


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
