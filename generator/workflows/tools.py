"""Tools: what a tool agent may do in one slot. Every tool sees the open window and the slot's own snapshot only.

A tool takes text in and gives text out, and every answer is a pure function of the slot, so a resumed run hears the
same. `backtest_open` is a look at data: each rule that it tries is a trial in the ledger for ever, and there is a cap.
Figures are rounded to two digits, as in every prompt.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.archive.records import Rejection
from agents.archive.store import Archive
from agents.strategy.spec import Spec, check_for_bars
from agents.strategy.spec_error import SpecError
from agents.strategy.strategy import TradingStrategy
from agents.strategy.wire import from_wire
from generator.context import cost_words, figures, market_card, vocabulary
from generator.open_window import OpenWindow, open_trial
from generator.outputs import TOOLS
from generator.selection import Entry
from generator.templates import Prompt
from generator.workflows.workflow import Task

MAX_FOUND = 5


@dataclass(frozen=True, eq=False)
class Looking:
    """What `backtest_open` looks through, and where its looks are counted.

    Attributes:
        bars_id, series: of the whole market, as the ledger names it.
        seed: the run's.
        card: the prompt of the market card.
    """

    open: OpenWindow
    archive: Archive
    bars_id: str
    series: str
    seed: int
    card: Prompt


@dataclass(eq=False)
class Toolbox:
    """The tools of one slot.

    Attributes:
        max_backtests: different rules that may be tested.
        submitted: the spec that was handed in, once there is one.
        n_refused: submissions that were not legal.
    """

    looking: Looking
    task: Task
    max_warmup: int
    max_backtests: int
    submitted: Spec | None = None
    n_refused: int = 0
    _tested: dict[str, str] = field(default_factory=dict)

    async def use(self, tool: str, query: str | None, spec: Mapping[str, Any] | None) -> str:
        """The answer of `tool`, which is one of TOOLS."""
        if tool == "describe_data":
            return self._describe()
        if tool == "list_functions":
            return self._functions(query or "")
        if tool == "search_archive":
            return self._search(query or "")
        read = self._read(spec)
        if isinstance(read, list):
            self.n_refused += tool == "submit_spec"
            return json.dumps({"legal": False, "errors": [error.as_dict() for error in read]}, ensure_ascii=False)
        if tool == "backtest_open":
            return await self._backtest(read)
        if tool == "submit_spec":
            self.submitted = read
        return json.dumps({"legal": True, "same_rule_as": self._twin(read)})

    def _read(self, spec: Mapping[str, Any] | None) -> Spec | list[SpecError]:
        if spec is None:
            return [SpecError("spec", "missing", "null", "a whole spec", "", "this tool needs a spec")]
        read = from_wire(dict(spec))
        if isinstance(read, list):
            return read
        return check_for_bars(read, self.looking.open.bars, max_warmup=self.max_warmup) or read

    def _describe(self) -> str:
        window = self.looking.open
        lines = [
            *market_card(self.looking.card, window.bars, window.window),
            f"costs: {cost_words(window.costs, window.terms)}",
            "the ordinary rules:",
        ]
        lines += [f"  {entry.ref}: {figures(entry.summary)}" for entry in self.task.snapshot.incumbents]
        return "\n".join(lines)

    def _functions(self, query: str) -> str:
        words = query.lower().split()
        lines = vocabulary(self.looking.open.bars).split("\n")
        found = [line for line in lines if any(word in line.lower() for word in words)] if words else lines
        return "\n".join(found) or f"nothing in the vocabulary holds {query!r}; ask with null to see all of it"

    def _search(self, query: str) -> str:
        words = query.lower().split()
        entries = [*self.task.snapshot.of_arm(self.task.slot.arm), *self.task.snapshot.incumbents]
        ranked = sorted(entries, key=lambda entry: -sum(word in _rule(entry).lower() for word in words))
        hits = [entry for entry in ranked if not words or any(word in _rule(entry).lower() for word in words)]
        if not hits:
            return f"no earlier rule holds any of {query!r}; {len(entries)} rules were searched"
        return "\n".join(f"{entry.spec.name}: {_rule(entry)}: {figures(entry.summary)}" for entry in hits[:MAX_FOUND])

    async def _backtest(self, spec: Spec) -> str:
        if spec.spec_id in self._tested:
            return f"tested before, the result is the same: {self._tested[spec.spec_id]}"
        if len(self._tested) >= self.max_backtests:
            return f"all {self.max_backtests} tests of this slot are used up; submit the rule that you believe in"
        looking = self.looking
        # The number of trials changes no figure that is shown here; 1 keeps the answer the same whenever it is asked.
        try:
            result = await asyncio.to_thread(looking.open.simulate, TradingStrategy(spec))
            evaluation = await asyncio.to_thread(looking.open.look, spec, result, n_trials=1, seed=looking.seed)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            return f"the test failed: {type(error).__name__}: {error}"
        archive = looking.archive
        with archive.transaction():
            archive.add_trial(
                open_trial(
                    evaluation,
                    self.task.slot,
                    bars_id=looking.bars_id,
                    series=looking.series,
                    stream_id=archive.add_stream(evaluation.result.returns),
                )
            )
        twin = self._twin(spec)
        known = f"; it is the same rule as {twin}" if twin else ""
        said = f"{figures(evaluation.result.metrics, evaluation.alpha_t)}{known}"
        self._tested[spec.spec_id] = said
        left = self.max_backtests - len(self._tested)
        return f"{said}; {left} tests left"

    def _twin(self, spec: Spec) -> str | None:
        """The known rule that this one is in other words."""
        known = (*self.task.snapshot.of_arm(self.task.slot.arm), *self.task.snapshot.incumbents)
        return next((entry.spec.name for entry in known if entry.spec_id == spec.spec_id), None)


def read_action(found: Mapping[str, Any]) -> "Action | Rejection":
    """The action in a reply's object, or what is wrong with it in one sentence."""
    tool, query, spec = found.get("tool"), found.get("query"), found.get("spec")
    if not isinstance(tool, str) or tool not in TOOLS:
        return Rejection("agent", "schema", f"there is no tool {str(tool)[:60]!r}; known: {', '.join(TOOLS)}")
    if not isinstance(query, str | None):
        return Rejection("agent", "schema", "query is a text or null")
    if not isinstance(spec, dict | None):
        return Rejection("agent", "schema", "spec is an object or null")
    return Action(tool, query, spec)


@dataclass(frozen=True)
class Action:
    """One use of a tool."""

    tool: str
    query: str | None
    spec: Mapping[str, Any] | None

    @property
    def key(self) -> str:
        """The same for the same action."""
        return json.dumps([self.tool, self.query, self.spec], sort_keys=True)


def _rule(entry: Entry) -> str:
    return "; ".join(entry.spec.expressions.values())
