"""The loop: propose, validate, evaluate in the open window, block by block; then judge all candidates once.

It is the only place where the stages meet, and the only impure one: each stage's result is stored before the next
begins, in one transaction a step, so that a killed process goes on where it stopped. Within a block models are asked
side by side; evaluation then follows the order of the slots, so concurrency changes no result.

Not done yet: overlapping one block's evaluation with the next one's calls.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from agents.archive.records import Candidate, Proposal, Rejection, Slot, Spend, Trial
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.spec import Spec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.errors import TouchstoneError
from backtesting.evaluation import Evaluation
from backtesting.nomination import Nominee
from backtesting.result import BacktestResult
from backtesting.splits import LEAD_BARS
from generator.archive_map import cell_of
from generator.arms import ARMS, Drawn
from generator.config import CONTROL_ARMS
from generator.context import CARD, parents_wanted, propose_inputs
from generator.grammar import Grammar
from generator.lessons import Reflector
from generator.novelty import refuse_positions, refuse_scores, refuse_text
from generator.run import Run
from generator.search import NOTHING_SEARCHED, Search, Searched, parents_of
from generator.selection import NONE_SHARE, Chosen, Snapshot, choose_parents, shown_to
from generator.slots import random_stream
from generator.verdicts import judge_run
from generator.workflows.one_shot import OneShot

OPEN = "open"
BROKEN = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a rule may raise where it cannot be evaluated; anything else is a broken world and stops the run."""
_NOBODY: tuple[Chosen, ...] = ()


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
        searched: repetitions, cells that are occupied, and new ones.
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
    searched: Searched = NOTHING_SEARCHED


Watcher = Callable[[Progress], None]


async def evolve(
    run: Run,
    workflow: OneShot | None,
    watch: Watcher,
    *,
    concurrency: int = 1,
    reflector: Reflector | None = None,
) -> None:
    """Bring a run to its end: every slot in one terminal state, every candidate judged, the best few up for review.

    Args:
        reflector: asks the model for lessons after each block; None for a run without.

    Raises:
        BudgetReached, EndpointError: the run stops; everything done is stored and the run can be resumed.
    """
    if run.finished:
        return
    run.archive.abandon_calls(run.run_id)
    loop = _Loop(run, workflow, watch, concurrency, reflector)
    loop.restore()
    slots = run.archive.slots(run.run_id)
    for block in sorted({slot.block for slot in slots}):
        await loop.run_block([slot for slot in slots if slot.block == block])
        await loop.reflect(block)
    loop.tell("judging: the sealed window is opened once, for all candidates together")
    judge_run(run, loop.search.looks)
    loop.tell("finished")


class _Loop:
    """The stages of one run, in order."""

    def __init__(
        self, run: Run, workflow: OneShot | None, watch: Watcher, concurrency: int, reflector: Reflector | None
    ) -> None:
        self.run = run
        self.search = Search(run)
        self.last = ""
        self._workflow = workflow
        self._watch = watch
        self._gate = asyncio.Semaphore(concurrency)
        self._reflector = reflector
        self._stopped: BaseException | None = None
        self._grammar = Grammar(run.open.bars, EvaluationCache(), LEAD_BARS)

    def restore(self) -> None:
        """Rebuild what the stored slots say: evaluations are pure, so making them again gives the same."""
        archive, run_id = self.run.archive, self.run.run_id
        events = {(event.slot_id, event.kind): event.data for event in archive.events(run_id)}
        candidates = {candidate.slot_id: candidate for candidate in archive.candidates(run_id)}
        evaluations = archive.evaluations(run_id)
        for slot in archive.slots(run_id):
            if slot.slot_id not in candidates:
                continue
            spec = spec_of(candidates[slot.slot_id])
            self.search.proposed(slot, spec, parents_of(events[slot.slot_id, "valid"]))
            if slot.slot_id in evaluations:
                look = self._look(slot.slot_id, spec, evaluations[slot.slot_id]["n_trials"])
                self._found(slot, spec, look)
            elif (slot.slot_id, "rejected") in events:
                self.search.refused(slot, spec, Rejection(**events[slot.slot_id, "rejected"]))
        if self._reflector is not None:
            for block, lessons in self._reflector.written().items():
                self.search.learnt(block, lessons)

    async def run_block(self, slots: Sequence[Slot]) -> None:
        """Propose for every slot of a block from one snapshot, then evaluate in the order of the slots."""
        states = self.run.archive.slot_states(self.run.run_id)
        open_slots = [slot for slot in slots if states[slot.slot_id] in ("planned", "prompted", "responded", "valid")]
        if not open_slots:
            return
        snapshot = self.search.snapshot(slots[0].block)
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

    async def reflect(self, block: int) -> None:
        """After a block: let the model write down what it has learnt, if the run asks for that."""
        if self._reflector is None:
            return
        self.tell("reflecting")
        self.search.learnt(block, await self._reflector.reflect(block))

    def tell(self, stage: str) -> None:
        """Show the watcher where the run stands."""
        run, looks = self.run, self.search.looks
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
                last=self.last,
                searched=self.search.searched(),
            )
        )

    def _draw(self, slot: Slot, snapshot: Snapshot) -> None:
        """A proposal of an arm without a model: proposal and candidate in one step."""
        rng = random_stream(self.run.config.seed, f"slot-{slot.index}", slot.arm)
        # The seed keeps the names of two runs in one workspace apart, mostly; a slot id always does.
        name = f"{slot.arm}_{self.run.config.seed % 10**12}_{slot.index:04d}"
        drawn = ARMS[slot.arm](name, snapshot, self._grammar, rng, self.search.drawn[slot.arm])
        if isinstance(drawn, Rejection):
            self._reject(slot, drawn)
            return
        self._keep(slot, drawn)

    def _keep(self, slot: Slot, drawn: Drawn) -> None:
        archive = self.run.archive
        parents = [chosen.entry.ref for chosen in drawn.parents]
        with archive.transaction():
            archive.add_proposal(Proposal(slot_id=slot.slot_id, attempt=0, origin=slot.arm, parents=parents))
            self._valid(slot, drawn.spec, slot.arm, 0, drawn.parents, {"operator": drawn.operator})

    async def _ask(self, slot: Slot, snapshot: Snapshot) -> None:
        """A proposal of the model, repaired if need be."""
        if self._workflow is None:
            raise RuntimeError(f"slot {slot.slot_id} belongs to the arm {slot.arm!r}, which needs a model")
        run = self.run
        rng = random_stream(run.config.seed, f"slot-{slot.index}", "parents")
        prompt = run.prompts["propose"]
        if slot.arm in CONTROL_ARMS:
            parents, shown, odds = _NOBODY, Snapshot((), ()), {}
        else:
            parents = choose_parents(snapshot, slot.arm, rng, n_parents=parents_wanted(prompt))
            shown, odds = shown_to(snapshot, slot.arm, parents), {"none": NONE_SHARE}
        inputs = propose_inputs(
            prompt,
            run.prompts[CARD],
            run.open.bars,
            run.open.window,
            run.open.costs,
            shown,
            parents,
            max_warmup=LEAD_BARS,
            n_tried=len(shown.candidates),
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
            self._valid(slot, spec, "repaired" if n_repairs else "llm", n_repairs, parents, odds)
        self.tell("waiting for the model")

    def _valid(
        self,
        slot: Slot,
        spec: Spec,
        origin: str,
        repairs: int,
        parents: Sequence[Chosen],
        more: Mapping[str, object],
    ) -> None:
        archive, data = self.run.archive, {"parents": _drawn(parents), **more}
        archive.add_candidate(Candidate(slot.slot_id, spec.spec_id, spec.config(), origin, repairs))
        archive.append_event(slot.slot_id, "valid", data=data)
        self.search.proposed(slot, spec, parents_of(data))

    async def _evaluate(self, slot: Slot, candidate: Candidate) -> None:
        archive, known, spec = self.run.archive, self.search.known[slot.arm], spec_of(candidate)
        repeated = refuse_text(spec, known)
        if repeated is not None:
            self._refuse(slot, spec, repeated)
            return
        try:
            result = await asyncio.to_thread(self.run.open.simulate, TradingStrategy(spec))
        except BROKEN as error:
            self._refuse(slot, spec, _broken(error))
            return
        sibling = refuse_positions(result.exposure, known)
        if isinstance(sibling, Rejection):
            self._refuse(slot, spec, sibling)
            return
        n_trials = archive.count_trials(self.run.series, purpose=OPEN) + 1
        try:
            look = await asyncio.to_thread(self._look, slot.slot_id, spec, n_trials, result)
            behaviour = self.run.open.behaviour(spec, result)
        except BROKEN as error:
            self._refuse(slot, spec, _broken(error))
            return
        evaluation = look.open_evaluation
        refused = refuse_scores(evaluation.alpha_t, behaviour.signature, sibling, known)
        with archive.transaction():
            archive.add_trial(self._trial(slot, evaluation))
            if refused is not None:
                self._refuse(slot, spec, refused)
                return
            stored = evaluation.as_dict() | {"behaviour": behaviour.as_dict(), "cell": list(cell_of(behaviour))}
            archive.add_evaluation(slot.slot_id, candidate.spec_id, self.run.record.bars_id, stored)
            archive.append_event(slot.slot_id, "evaluated", data={"alpha_t": _number(evaluation.alpha_t)})
        self.search.found(slot, spec, look, behaviour)
        self.last = f"{candidate.name}: evaluated"

    def _found(self, slot: Slot, spec: Spec, look: Nominee) -> None:
        self.search.found(slot, spec, look, self.run.open.behaviour(spec, look.open_evaluation.result))

    def _refuse(self, slot: Slot, spec: Spec, rejection: Rejection) -> None:
        self.search.refused(slot, spec, rejection)
        self._reject(slot, rejection)

    def _look(self, slot_id: str, spec: Spec, n_trials: int, result: BacktestResult | None = None) -> Nominee:
        rng = random_stream(self.run.config.seed, slot_id.rpartition("/")[2], "evaluation")
        return self.run.open.look(spec, n_trials=n_trials, rng=rng, result=result)

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

    def _reject(self, slot: Slot, rejection: Rejection) -> None:
        self.run.archive.reject(slot.slot_id, rejection)
        self.last = f"slot {slot.index}: {rejection.code}: {rejection.reason}"
        self.tell("proposing")


async def _all_or_first_error(tasks: Sequence[Coroutine[None, None, None]]) -> None:
    """Run all; at the first error let the calls in flight come home and store their replies, then raise it."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _broken(error: Exception) -> Rejection:
    return Rejection("evaluation", "eval_error", f"{type(error).__name__}: {error}")


def spec_of(candidate: Candidate) -> Spec:
    """The spec of a stored candidate."""
    spec = load_spec(candidate.spec, origin=candidate.slot_id)
    if isinstance(spec, list):
        raise ValueError(f"a stored candidate is not legal: {spec[0]}")
    return spec


def _drawn(parents: Sequence[Chosen]) -> list[dict[str, object]]:
    return [{"ref": chosen.entry.ref, "probability": round(chosen.probability, 6)} for chosen in parents]


def _sharpe(look: Nominee) -> float:
    value = look.open_evaluation.result.metrics.get("sharpe_ratio", float("nan"))
    return value if isfinite(value) else float("-inf")


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
