"""Replay: make every decision of a finished run again, offline, and compare it with what is stored.

The run goes through the same loop in an archive of its own in memory, which begins with what stood before the run: the
agents, the looks at the same series, the openings of the same days. Looks that others took while the run went on come
back where they stood between the run's own. The model is not asked: its stored replies and stored failures answer.
Nothing of the workspace is written, and nothing sealed is shown; that two verdicts differ is said, not how.

What it cannot do: replay a run with other code, data, prompts or incumbents. That is another run.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from agents.archive.records import Rejection, RunRecord, Trial, series_key
from agents.archive.store import Archive
from backtesting.bars import Bars
from backtesting.errors import CheckFailed
from backtesting.hashing import canonical_json
from generator.calls import PaidCalls, completion_from
from generator.llm.client import Completion, CompletionRequest
from generator.run import Run, changed_parts, config_of, open_run
from generator.templates import Prompt

OPEN = "open"

Evolve = Callable[[Run, PaidCalls], None]
"""Brings a run to its end with these calls; `replay` is given the loop so that it need not know how it is driven."""


@dataclass(frozen=True)
class Difference:
    """The first place where a replay and the stored run part."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Replayed:
    """What a replay found; `difference` None means identical."""

    run_id: str
    n_slots: int
    n_decisions: int
    n_replies: int
    difference: Difference | None


class StoredCalls(PaidCalls):
    """Answers every question from the calls of the stored run; a question that was never asked ends the replay."""

    def __init__(self, archive: Archive, run_id: str) -> None:
        self._settled = {
            (call.slot_id, call.purpose, call.attempt): call.reply
            for call in archive.calls(run_id)
            if call.status == "settled" and call.reply is not None
        }
        self._failed_calls = {
            (call.slot_id, call.purpose, call.attempt) for call in archive.calls(run_id) if call.status == "failed"
        }
        self._failed = {
            event.slot_id: Rejection(**event.data)
            for event in archive.events(run_id)
            if event.kind == "rejected" and event.data["stage"] == "call"
        }
        self._unreflected = {
            event.data["block"]: event.data["why"] for event in archive.events(run_id) if event.kind == "reflected"
        }
        self.n_replies = 0

    async def ask(
        self,
        slot_id: str,
        attempt: int,
        request: CompletionRequest,
        *,
        asking: Callable[[], None],
        answered: Callable[[Completion], None],
    ) -> Completion | Rejection:
        """The stored reply, or the stored failure.

        Raises:
            CheckFailed: the run never asked this.
        """
        reply = self._settled.get((slot_id, request.purpose, attempt))
        if reply is not None:
            self.n_replies += 1
            found = completion_from(reply)
            asking()
            answered(found)
            return found
        if request.purpose == "reflect" and request.repeat_index in self._unreflected:
            return Rejection("call", "llm_error", self._unreflected[request.repeat_index])
        failure = self._failed.get(slot_id)
        if failure is not None:
            return failure
        if (slot_id, request.purpose, attempt) in self._failed_calls:
            # It did not end the slot, so its words are nowhere: a critic without an answer, a second asking.
            return Rejection("call", "llm_error", "the call failed")
        raise CheckFailed(
            f"the replay asks a question that the run never asked: {request.purpose} {attempt} of slot {slot_id}",
            next_step="the run was made by other code, or its replies were removed",
        )


def replay(archive: Archive, run_id: str, bars: Bars, prompts: Mapping[str, Prompt], evolve: Evolve) -> Replayed:
    """Make the run's decisions again and compare them.

    Raises:
        CheckFailed: the run is not finished, or code, data, prompts or incumbents are not those of the run.
    """
    record = archive.run(run_id)
    if not any(event.kind == "finished" for event in archive.events(run_id) if event.slot_id is None):
        raise CheckFailed(f"run {run_id} is not finished", next_step="finish it with touchstone evolve --resume")
    with _before(archive, record, bars) as rerun:
        config = config_of(record)
        changed = changed_parts(record, config, rerun, bars, prompts)
        if changed:
            raise CheckFailed(
                f"run {run_id} cannot be replayed: {', '.join(changed)} changed since",
                next_step="restore what changed (a checkout of the code, the data file, the prompt) and replay again",
            )
        run = open_run(config, rerun, bars, prompts, parent=str(record.config.get("forked_from", "")))
        calls = StoredCalls(archive, run_id)
        try:
            evolve(run, calls)
        except CheckFailed as stopped:
            difference: Difference | None = Difference("the questions", stopped.what)
        else:
            difference = first_difference(decisions(archive, run_id), decisions(rerun, run_id))
        n_decisions = sum(1 for _ in decisions(archive, run_id))
        return Replayed(run_id, len(archive.slots(run_id)), n_decisions, calls.n_replies, difference)


def decisions(archive: Archive, run_id: str) -> Iterator[tuple[str, str]]:
    """Everything a run decided, as (where, canonical text), without times and row numbers, slot by slot."""
    by_slot: dict[str | None, list[tuple[str, Mapping[str, Any]]]] = {}
    for event in archive.events(run_id):
        by_slot.setdefault(event.slot_id, []).append((event.kind, event.data))
    trials: dict[str | None, list[Trial]] = {}
    for trial in archive.trials(run_id):
        trials.setdefault(trial.slot_id, []).append(trial)
    for slot in archive.slots(run_id):
        slot_id = slot.slot_id
        where = f"slot {slot.index} ({slot.arm})"
        for proposal in archive.proposals(slot_id):
            yield f"{where}, proposal {proposal.attempt}", _text(_without(asdict(proposal), "at"))
        candidate = archive.candidate(slot_id)
        if candidate is not None:
            yield f"{where}, candidate", _text(asdict(candidate))
        for kind, data in by_slot.get(slot_id, ()):
            # How often a question was begun depends on when a process was killed; the proposals say what was asked.
            if kind not in ("prompted", "responded"):
                yield f"{where}, {kind}", _text(data)
        for trial in trials.get(slot_id, ()):
            yield f"{where}, trial", _text(_without(asdict(trial), "at", "trial_id"))
        evaluation = archive.evaluation(slot_id)
        if evaluation is not None:
            yield f"{where}, evaluation", _text(evaluation)
        report = archive.gate_report(slot_id)
        if report is not None:
            yield f"{where}, gate report", _text(_without(asdict(report), "at"))
    for kind, data in by_slot.get(None, ()):
        if kind in ("reflected", "finished"):
            yield f"the run, {kind}", _text(data)


def first_difference(stored: Iterable[tuple[str, str]], again: Iterable[tuple[str, str]]) -> Difference | None:
    """The first decision that is not the same on both sides; None if there is none."""
    before, after = list(stored), list(again)
    for (where, text), (where_now, text_now) in zip(before, after, strict=False):
        if where != where_now:
            return Difference(where, f"the replay has {where_now} in its place")
        if text != text_now:
            return Difference(where, _how(where, text, text_now))
    if len(before) != len(after):
        longer, name = (before, "only stored") if len(before) > len(after) else (after, "only in the replay")
        return Difference(longer[min(len(before), len(after))][0], name)
    return None


def _how(where: str, text: str, text_now: str) -> str:
    if where.endswith(("gate report", "gated", "in_review")) or where.startswith("the run"):
        return "the two are not the same"  # a different verdict is a sealed number
    at = next(
        (i for i, (a, b) in enumerate(zip(text, text_now, strict=False)) if a != b), min(len(text), len(text_now))
    )
    start = max(0, at - 20)
    return f"stored ...{text[start : at + 40]}..., replayed ...{text_now[start : at + 40]}..."


def _text(value: Any) -> str:
    return canonical_json(value)


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


# --- the archive as it stood ------------------------------------------------------------------------------------------


class _Clock:
    """Gives the time of the row that is being copied, and the time at which the run began once the copy is done.

    What was decided does not depend on it, except that an agent counts as known if it is not younger than the run.
    """

    def __init__(self, at: str) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return datetime.fromisoformat(self.at)


class _Rerun(Archive):
    """An archive in memory in which the looks of others follow the run's own as they did."""

    others: tuple[tuple[Trial, ...], ...] = ()
    own = 0

    def add_trial(self, trial: Trial) -> None:
        """Count a look, and after one of the run's own those that others took before its next."""
        before = self.count_trials()
        super().add_trial(trial)
        if self.count_trials() == before:
            return  # counted already
        self.own += 1
        for other in self.others[self.own] if self.own < len(self.others) else ():
            super().add_trial(other)


def _before(archive: Archive, record: RunRecord, bars: Bars) -> _Rerun:
    """What stood before the run: agents and their states, looks at the series, openings of the same bars."""
    series, began = series_key(bars.symbols), record.created_at
    clock = _Clock(began)
    rerun = _Rerun.in_memory(clock=clock)
    _copy_lineage(archive, rerun, clock, began)
    _copy_agents(archive, rerun, clock, began)
    _copy_openings(archive, rerun, clock, record, series)
    clock.at = began
    others = _others(archive, record.run_id, series)
    for trial in others[0]:
        Archive.add_trial(rerun, trial)
    rerun.others = others
    return rerun


def _copy_lineage(archive: Archive, rerun: Archive, clock: _Clock, began: str) -> None:
    """The slots of earlier runs that the agents come from, to the first: what they may know is part of a verdict."""
    agents = {agent.agent_id: agent.slot_id for agent in archive.agents() if agent.created_at <= began}
    waiting = [slot_id for slot_id in agents.values() if slot_id is not None]
    needed: dict[str, set[str]] = {}
    while waiting:
        slot_id = waiting.pop()
        if archive.candidate(slot_id) is None or slot_id in needed.get(slot_id.rpartition("/")[0], ()):
            continue
        needed.setdefault(slot_id.rpartition("/")[0], set()).add(slot_id)
        for proposal in archive.proposals(slot_id):
            waiting += [agents.get(parent) or parent for parent in proposal.parents]
    for run_id, slot_ids in sorted(needed.items()):
        record = archive.run(run_id)
        clock.at = record.created_at
        rerun.add_run(record, [slot for slot in archive.slots(run_id) if slot.slot_id in slot_ids])
        for slot_id in sorted(slot_ids):
            candidate = archive.candidate(slot_id)
            if candidate is not None:
                rerun.add_candidate(candidate)
            for proposal in archive.proposals(slot_id):
                rerun.add_proposal(proposal)


def _copy_agents(archive: Archive, rerun: Archive, clock: _Clock, began: str) -> None:
    agents = {agent.agent_id: agent for agent in archive.agents()}
    steps = sorted(
        (step for name in agents for step in archive.transitions(name) if step.at <= began), key=lambda step: step.seq
    )
    for step in steps:
        clock.at = step.at
        agent = agents[step.agent_id]
        if step.from_state is None:
            rerun.add_agent(
                agent.agent_id,
                agent.spec_id,
                agent.spec,
                origin=agent.origin,
                state=step.to_state,
                who=step.who,
                reason=step.reason,
                slot_id=agent.slot_id,
            )
        else:
            rerun.add_transition(_of_nobody(step))


def _copy_openings(archive: Archive, rerun: Archive, clock: _Clock, record: RunRecord, series: str) -> None:
    """The openings that the run had to pay for, answered or not as they were when it was judged."""
    everything = archive.earlier_openings(series, "0001-01-01", "9999-12-31", bars_id=record.bars_id)
    ended = {
        run.run_id: next((e.at for e in archive.events(run.run_id) if e.kind == "finished"), "")
        for run in archive.runs()
    }
    judged = next((o.at for o in everything if o.run_id == record.run_id and o.kind == "judge"), ended[record.run_id])
    for opening in everything:
        if opening.run_id == record.run_id or opening.at > judged:
            continue
        clock.at = opening.at
        kept = rerun.record_opening(_of_nobody(opening, n_passed=None))
        answered = opening.n_passed is not None and ended.get(opening.run_id or "", "") <= judged
        if opening.kind == "judge" and answered:
            rerun.answer_opening(kept.opening_id, opening.n_passed or 0)


def _others(archive: Archive, run_id: str, series: str) -> tuple[tuple[Trial, ...], ...]:
    """The looks of others, by how many of the run's own came before them.

    An evaluation says how many looks there were when it was made, without those of later slots. A look that somebody
    stored meanwhile stands before it in the ledger and was not counted; it is put after it. Where a slot took several
    looks (a tool agent) the order of the ledger has to do.
    """
    seen = {slot_id: int(stored["n_trials"]) for slot_id, stored in archive.evaluations(run_id).items()}
    index = {slot.slot_id: slot.index for slot in archive.slots(run_id)}
    own_looks = Counter(trial.slot_id for trial in archive.trials(run_id) if trial.purpose == OPEN)
    opening = archive.opening_of_run(run_id)
    finished = next((event.at for event in archive.events(run_id) if event.kind == "finished"), "")
    # What came after the opening was signed was not counted by it.
    ended = finished if opening is None else opening.at
    groups: list[list[Trial]] = [[]]
    n_others = 0
    earlier: list[int] = []
    for trial in archive.trials():
        if trial.series != series:
            continue
        if trial.run_id != run_id:
            if not ended or trial.at <= ended:
                groups[-1].append(_of_nobody(trial))
                n_others += trial.purpose == OPEN
            continue
        late: list[Trial] = []
        slot_id = trial.slot_id or ""
        if trial.purpose == OPEN and slot_id in seen and own_looks[slot_id] == 1:
            counted = seen[slot_id] - 1 - sum(other < index[slot_id] for other in earlier)
            while n_others - len(late) > counted and groups[-1] and groups[-1][-1].purpose == OPEN:
                late.insert(0, groups[-1].pop())
        if trial.purpose == OPEN:
            earlier.append(index[slot_id])
        groups.append(late)
    return tuple(map(tuple, groups))


def _of_nobody(row: Any, **more: Any) -> Any:
    """A row without the references that only its own archive can resolve."""
    names = {item.name for item in fields(row)}
    loose = dict.fromkeys(names & {"run_id", "slot_id", "stream_id", "review_id"})
    return replace(row, **{**loose, **more})
