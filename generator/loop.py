"""The loop: propose, validate, evaluate in the open window, block by block; then judge all candidates once.

It is the only place where the stages meet, and the only impure one: each stage's result is stored before the next
begins, in one transaction a step, so that a killed process goes on where it stopped.

While one block is evaluated the next one is proposed, so neither waits for the other: what a block sees is one block
older than it could be (`search.LAG`). Models are asked side by side; evaluation follows the order of the slots, and
whatever a step reads is fixed by the plan, so neither concurrency nor speed changes a result.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from agents.archive.records import Candidate, Proposal, Rejection, Slot, Spend
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.spec import Spec, load_spec
from agents.strategy.strategy import TradingStrategy
from backtesting.errors import TouchstoneError
from backtesting.evaluation import Evaluation, evaluation_of
from backtesting.nomination import Nominee
from backtesting.result import BacktestResult
from backtesting.splits import LEAD_BARS
from generator.archive_map import cell_of
from generator.arms import ARMS, Drawn
from generator.behaviour import Behaviour
from generator.config import CONTROL_ARMS
from generator.context import inputs_by_role, parents_wanted
from generator.grammar import Grammar
from generator.lessons import Reflector
from generator.novelty import positions_of, refuse_positions, refuse_scores, refuse_text
from generator.open_window import OPEN, open_trial, refused_look
from generator.run import Run
from generator.search import LAG, NOTHING_SEARCHED, Search, Searched, parents_of
from generator.selection import NONE_SHARE, Chosen, Snapshot, choose_parents, shown_to
from generator.slots import random_stream
from generator.traffic import Traffic
from generator.verdicts import judge_run
from generator.workflows.workflow import Task, Workflow

TELLING = 20.0
"""How much longer than telling the watcher not telling has to be, where the watcher may be told seldom."""
UNPROPOSED = ("planned", "prompted", "responded")
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
    workflow: Workflow | None,
    watch: Watcher,
    *,
    traffic: Traffic | None = None,
    watch_seconds: float = 0.0,
    reflector: Reflector | None = None,
) -> None:
    """Bring a run to its end: every slot in one terminal state, every candidate judged, the best few up for review.

    Args:
        traffic: the places in flight that the workflow's calls share; None is a single one. Up to two blocks are
            under way.
        watch_seconds: the watcher is told at most this often, because what it is told is read from the archive.
        reflector: asks the model for lessons after each block; None for a run without.

    Raises:
        BudgetReached, EndpointError: the run stops; everything done is stored and the run can be resumed.
    """
    if run.finished:
        return
    run.archive.abandon_calls(run.run_id)
    loop = _Loop(run, workflow, watch, traffic or Traffic(1), watch_seconds, reflector)
    loop.restore()
    await loop.run_blocks()
    loop.tell("judging: the sealed window is opened once, for all candidates together", now=True)
    judge_run(run, loop.nominees())
    loop.tell("finished", now=True)


class _Loop:
    """The stages of one run, in order."""

    def __init__(
        self,
        run: Run,
        workflow: Workflow | None,
        watch: Watcher,
        traffic: Traffic,
        watch_seconds: float,
        reflector: Reflector | None,
    ) -> None:
        self.run = run
        self.search = Search(run)
        self.last = ""
        self._reflector = reflector
        self._watch_seconds = watch_seconds
        self._told_at = float("-inf")
        self._workflow = workflow
        self._watch = watch
        self._traffic = traffic
        self._gate = asyncio.Semaphore(traffic.under_way)
        self._grammar = Grammar(run.open.bars, EvaluationCache(), LEAD_BARS)

    def restore(self) -> None:
        """Rebuild what the stored slots say; what was simulated is simulated again, which gives the same."""
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
                result = self.run.open.simulate(TradingStrategy(spec))
                evaluation = evaluation_of(evaluations[slot.slot_id], result)
                self.search.found(slot, spec, evaluation, self.run.open.behaviour(spec, result))
            elif (slot.slot_id, "rejected") in events:
                self.search.refused(slot, spec, Rejection(**events[slot.slot_id, "rejected"]))
        if self._reflector is not None:
            for block, lessons in self._reflector.written().items():
                self.search.learnt(block, lessons)

    def nominees(self) -> dict[str, Nominee]:
        """The evaluated candidates by slot id, in the order of the slots, with the curves that the judgement reads.

        They are made again from what is stored, so that a long run need not hold them all the time.
        """
        archive, run_id = self.run.archive, self.run.run_id
        specs = {candidate.slot_id: spec_of(candidate) for candidate in archive.candidates(run_id)}
        stored = archive.evaluations(run_id)
        return {
            slot.slot_id: self.run.open.nominee(specs[slot.slot_id], stored[slot.slot_id])
            for slot in archive.slots(run_id)
            if slot.slot_id in stored
        }

    async def run_blocks(self) -> None:
        """Propose each block, and evaluate the one before it meanwhile.

        At the first error no further call begins; those in flight come home and store their replies; then it is raised.
        """
        slots = self.run.archive.slots(self.run.run_id)
        blocks = [[slot for slot in slots if slot.block == block] for block in sorted({slot.block for slot in slots})]
        ahead: dict[str, asyncio.Task[None]] = {}
        try:
            for number, block in enumerate(blocks):
                await self._propose(block, ahead)
                if number >= LAG:
                    await self._evaluate_block(blocks[number - LAG], ahead)
            for block in blocks[-LAG:]:
                await self._evaluate_block(block, ahead)
        except Exception as error:
            self._traffic.stop(error)
            raise
        except BaseException:
            for task in ahead.values():
                task.cancel()
            raise
        finally:
            await asyncio.gather(*ahead.values(), return_exceptions=True)

    async def _propose(self, block: Sequence[Slot], ahead: dict[str, "asyncio.Task[None]"]) -> None:
        """Send off the questions for the model, and draw for the arms without one meanwhile, all from one snapshot."""
        states = self.run.archive.slot_states(self.run.run_id)
        waiting = [slot for slot in block if states[slot.slot_id] in UNPROPOSED]
        if not waiting:
            return
        snapshot = self.search.snapshot(block[0].block)
        for slot in waiting:
            if slot.arm not in ARMS:
                ahead[slot.slot_id] = asyncio.create_task(self._ask(slot, snapshot))
        for slot in waiting:
            if slot.arm in ARMS:
                self.tell(f"drawing ({slot.arm})")
                await self._traffic.turnstile()
                self._draw(slot, snapshot)

    async def _evaluate_block(self, block: Sequence[Slot], ahead: dict[str, "asyncio.Task[None]"]) -> None:
        """Evaluate the candidates of a block in the order of its slots, each as soon as it is there."""
        for slot in block:
            asked = ahead.get(slot.slot_id)
            if asked is not None:
                self.tell("waiting for the model")
                await asked
                del ahead[slot.slot_id]
            candidate = self.run.archive.candidate(slot.slot_id)
            if candidate is not None and self.run.archive.slot_state(slot.slot_id) == "valid":
                await self._evaluate(slot, candidate)
                self.tell("evaluating")
        if self._reflector is not None:
            self.tell("reflecting")
            self.search.learnt(block[0].block, await self._reflector.reflect(block[0].block))

    def tell(self, stage: str, *, now: bool = False) -> None:
        """Show the watcher where the run stands, if it was not told just before; `now` in any case."""
        began = time.monotonic()
        if not now and began - self._told_at < self._watch_seconds:
            return
        run = self.run
        outcomes = run.archive.count_outcomes(run.run_id)
        open_states = ("planned", "prompted", "responded", "valid")
        planned = sum(outcomes.values())
        self._watch(
            Progress(
                run_id=run.run_id,
                stage=stage,
                done=planned - sum(outcomes.get(state, 0) for state in open_states),
                planned=planned,
                outcomes=outcomes,
                best=self.search.best,
                luck=self.search.luck,
                spend=run.archive.spend(run.run_id),
                last=self.last,
                searched=self.search.searched(),
            )
        )
        # What is told is counted anew from the archive, which takes longer the longer the run is: at most a part in
        # twenty of the time goes into it.
        self._told_at = time.monotonic()
        if self._watch_seconds:
            self._told_at += TELLING * (self._told_at - began)

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
        with archive.transaction(durable=False):
            archive.add_proposal(Proposal(slot_id=slot.slot_id, attempt=0, origin=slot.arm, parents=parents))
            self._valid(slot, drawn.spec, slot.arm, 0, drawn.parents, {"operator": drawn.operator})

    async def _ask(self, slot: Slot, snapshot: Snapshot) -> None:
        """A proposal of the model, repaired if need be."""
        if self._workflow is None:
            raise RuntimeError(f"slot {slot.slot_id} belongs to the arm {slot.arm!r}, which needs a model")
        async with self._gate:
            self._traffic.check()  # the endpoint or the budget said no to an earlier slot; this one keeps its turn
            # Written in its turn and not before: else all questions of a block would be, ere the first is on its way.
            await self._traffic.turnstile()
            task, odds = self._task(slot, snapshot)
            try:
                answer = await self._workflow.propose(task)
            except TouchstoneError as stop:
                self._traffic.stop(stop)
                raise
        if isinstance(answer, Rejection):
            self._reject(slot, answer)
            return
        spec, n_repairs = answer
        with self.run.archive.transaction(durable=False):
            self._valid(slot, spec, "repaired" if n_repairs else "llm", n_repairs, task.parents, odds)
        self.tell("waiting for the model")

    def _task(self, slot: Slot, snapshot: Snapshot) -> tuple[Task, dict[str, object]]:
        """What a slot of the model is asked, and the odds of its parents."""
        run = self.run
        parents, shown, odds = _NOBODY, Snapshot((), ()), dict[str, object]()
        if slot.arm not in CONTROL_ARMS:
            rng = random_stream(run.config.seed, f"slot-{slot.index}", "parents")
            n_parents = max(parents_wanted(prompt) for prompt in run.prompts.values())
            parents = choose_parents(snapshot, slot.arm, rng, n_parents=n_parents)
            shown, odds = shown_to(snapshot, slot.arm, parents), {"none": NONE_SHARE}
        inputs = inputs_by_role(
            run.prompts,
            run.open.bars,
            run.open.window,
            run.open.costs,
            shown,
            parents,
            max_warmup=LEAD_BARS,
            n_tried=len(shown.candidates),
            terms=run.open.terms,
        )
        return Task(slot, inputs, parents, shown), odds

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
        await self._traffic.turnstile()
        repeated = refuse_text(spec, known)
        if repeated is not None:
            self._refuse(slot, spec, repeated)
            return
        try:
            result = await asyncio.to_thread(self.run.open.simulate, TradingStrategy(spec))
            sibling = refuse_positions(positions_of(result), known)
            if isinstance(sibling, Rejection):
                self._refuse_look(slot, spec, sibling, result)
                return
            # Looks of later slots, which may be taken at this very time, are not counted; the judgement counts all.
            n_trials = archive.count_trials(self.run.series, purpose=OPEN, up_to=slot) + 1
            evaluation, behaviour = await asyncio.to_thread(self._look, spec, result, n_trials)
            await self._traffic.turnstile()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            broken = Rejection("evaluation", "eval_error", f"{type(error).__name__}: {error}")
            self._refuse_look(slot, spec, broken, None)
            return
        refused = refuse_scores(evaluation.alpha_t, behaviour.signature, sibling, known)
        with archive.transaction(durable=False):
            stream_id = archive.add_stream(evaluation.result.returns)
            bars_id = self.run.record.bars_id
            archive.add_trial(
                open_trial(evaluation, slot, bars_id=bars_id, series=self.run.series, stream_id=stream_id)
            )
            if refused is not None:
                self._refuse(slot, spec, refused)
                return
            stored = evaluation.as_dict() | {"behaviour": behaviour.as_dict(), "cell": list(cell_of(behaviour))}
            archive.add_evaluation(slot.slot_id, candidate.spec_id, self.run.record.bars_id, stored)
            archive.append_event(slot.slot_id, "evaluated", data={"alpha_t": _number(evaluation.alpha_t)})
        self.search.found(slot, spec, evaluation, behaviour)
        self.last = f"{candidate.name}: evaluated"

    def _look(self, spec: Spec, result: BacktestResult, n_trials: int) -> tuple[Evaluation, Behaviour]:
        """What a rule did on the open window, in figures."""
        window = self.run.open
        return window.look(spec, result, n_trials=n_trials, seed=self.run.config.seed), window.behaviour(spec, result)

    def _refuse(self, slot: Slot, spec: Spec, rejection: Rejection) -> None:
        self.search.refused(slot, spec, rejection)
        self._reject(slot, rejection)

    def _refuse_look(self, slot: Slot, spec: Spec, rejection: Rejection, result: BacktestResult | None) -> None:
        """Refuse a rule that was tried on the open window: a look that broke, or came to a known one's, counts too."""
        archive = self.run.archive
        with archive.transaction():
            archive.add_trial(
                refused_look(
                    slot,
                    spec.spec_id,
                    self.run.open,
                    bars_id=self.run.record.bars_id,
                    series=self.run.series,
                    stream_id=None if result is None else archive.add_stream(result.returns),
                )
            )
            self._refuse(slot, spec, rejection)

    def _reject(self, slot: Slot, rejection: Rejection) -> None:
        self.run.archive.reject(slot.slot_id, rejection)
        self.last = f"slot {slot.index}: {rejection.code}: {rejection.reason}"
        self.tell("proposing")


def spec_of(candidate: Candidate) -> Spec:
    """The spec of a stored candidate."""
    spec = load_spec(candidate.spec, origin=candidate.slot_id)
    if isinstance(spec, list):
        raise ValueError(f"a stored candidate is not legal: {spec[0]}")
    return spec


def _drawn(parents: Sequence[Chosen]) -> list[dict[str, object]]:
    return [{"ref": chosen.entry.ref, "probability": round(chosen.probability, 6)} for chosen in parents]


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
