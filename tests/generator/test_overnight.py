"""A night's run: a thousand slots, one in a hundred of every way to fail; each slot ends once and in its own class."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.spec import load_spec
from agents.strategy.wire import to_wire
from backtesting.splits import LEAD_BARS
from generator.budget import estimated_tokens
from generator.grammar import Grammar
from generator.llm.client import CallFailed, Completion, CompletionRequest, Usage
from generator.llm.scripted import ScriptedClient, completion

FAST = os.environ.get("TOUCHSTONE_FAST") == "1"
SLOTS = 200 if FAST else 1000
# Classes of failed calls, each with the class that its slot ends in and whether the provider may have charged for it.
CALLS = {
    "transport": ("transport", True),
    "server": ("transport", True),
    "timeout": ("timeout", True),
    "rate_limited": ("rate_limited", False),
    "protocol": ("protocol", True),
    "too_large": ("protocol", True),
}
REPLIES = (
    "refusal",
    "content_filter",
    "truncated",
    "empty_reply",
    "not_json",
    "schema",
    "semantics",
    "duplicate_exact",
    "repaired",
    "eval_error",
)
# Seven apart, so that no five calls in a row fail and the breaker stays shut.
PLACES = {3 + 7 * at: name for at, name in enumerate(CALLS)} | {1 + 6 * at: name for at, name in enumerate(REPLIES)}


def failure_of(index: int) -> str | None:
    """What goes wrong in the slot of this index; None for four fifths of them."""
    return PLACES.get(index % 100)


def rules(kit: Any, n: int) -> Iterator[str]:
    """Different legal rules, in the form of a reply."""
    bars = kit.market()
    grammar, rng = Grammar(bars, EvaluationCache(), LEAD_BARS), np.random.default_rng(1)
    seen: set[str] = set()
    while len(seen) < n:
        spec = load_spec(grammar.spec(rng, f"rule_{len(seen)}"), origin="")
        if not isinstance(spec, list) and spec.spec_id not in seen:
            seen.add(spec.spec_id)
            yield json.dumps(to_wire(spec))


class Night:
    """The model of that night; counts what it must have cost, by the price list and by hand."""

    def __init__(self, kit: Any, replies: list[str]) -> None:
        self._kit = kit
        self._replies = replies
        self.usd: list[float] = []

    def __call__(self, request: CompletionRequest) -> Completion | CallFailed:
        index = request.repeat_index
        failure = failure_of(index)
        if failure in CALLS:
            charged = CALLS[failure][1]
            # What may have been charged counts with the most that it can have been.
            worst = estimated_tokens(request.prompt_bytes) * 1.0 + request.max_output_tokens * 4.0
            self.usd.append(worst / 1e6 if charged else 0.0)
            return CallFailed(f"the script fails with {failure}", failure=failure, next_step="nothing")  # type: ignore[arg-type]
        usage = Usage(1_000 + index, 100, cached_tokens=index % 7)
        fresh, cached = usage.input_tokens - usage.cached_tokens, usage.cached_tokens
        self.usd.append((fresh * 1.0 + cached * 0.5 + usage.output_tokens * 4.0) / 1e6)
        return self._reply(failure, index, request.purpose == "repair", usage)

    def _reply(self, failure: str | None, index: int, repair: bool, usage: Usage) -> Completion:
        legal = self._replies[index]
        unknown = json.dumps({**json.loads(legal), "rule": None})
        texts = {
            "not_json": "Buy low, sell high.",
            "schema": unknown,
            "semantics": self._kit.illegal(index),
            "duplicate_exact": self._replies[0],
            "repaired": legal if repair else self._kit.illegal(index),
            "eval_error": json.dumps({**json.loads(legal), "name": "breaks"}),
        }
        if failure == "refusal":
            return completion(None, refusal="I give no advice.", usage=usage)
        if failure in ("content_filter", "truncated"):
            reason: Any = "length" if failure == "truncated" else failure
            return completion(legal[:-5], finish_reason=reason, usage=usage)
        if failure == "empty_reply":
            return completion("  ", usage=usage)
        return completion(texts.get(failure or "", legal), usage=usage)


class Forgetful(ScriptedClient):
    """A script that answers every question by its content and keeps no history: the memory of the loop is measured."""

    def __init__(self, night: Night) -> None:
        super().__init__([])
        self._night = night

    async def complete(self, request: CompletionRequest) -> Completion:
        answer = self._night(request)
        if isinstance(answer, CallFailed):
            raise answer
        return answer


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


@pytest.mark.slow
def test_every_slot_of_a_night_ends_once_in_its_class_and_the_sum_is_right(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(kit, list(rules(kit, SLOTS)))
    with kit.archive_at(tmp_path) as archive:
        config = kit.settings(llm="scripted:memory", arms={"llm": 1.0}, slots=SLOTS, block=25)
        run = kit.open_(config, archive)
        simulate = type(run.open).simulate

        def breaks(self: Any, strategy: Any, **more: Any) -> Any:
            if strategy.name == "breaks":
                raise ZeroDivisionError("the engine broke")
            return simulate(self, strategy, **more)

        monkeypatch.setattr(type(run.open), "simulate", breaks)
        memory: dict[int, int] = {}
        kit.go(
            run,
            client=Forgetful(night),
            concurrency=16,
            watch_seconds=0.01,
            watch=lambda state: memory.setdefault(state.done, resident_bytes()),
        )
        assert kit.terminal_events(archive, run.run_id) == [1] * SLOTS
        codes = kit.codes(archive, run.run_id)
        for index, code in enumerate(codes):
            failure = failure_of(index)
            if failure is None or failure == "repaired":
                # A rule drawn at random may hold the positions of an earlier one, or add nothing to it: no failure.
                assert code in (None, "duplicate_structure", "duplicate_behaviour", "not_better"), (index, code)
            else:
                assert code == CALLS.get(failure, (failure, True))[0], (index, failure, code)
        share = SLOTS // 100
        counted = Counter(codes)
        for failure in set(REPLIES) - {"repaired"}:
            assert counted[failure] == share
        origins = Counter(candidate.origin for candidate in archive.candidates(run.run_id))
        assert origins["repaired"] == share
        spend = archive.spend(run.run_id)
        assert round(spend.usd, 2) == round(math.fsum(night.usd), 2)
        assert spend.usd == pytest.approx(math.fsum(night.usd), rel=1e-12)
        assert spend.calls == len(night.usd)
    # A candidate leaves its figures and its positions (3 kB on 357 bars) behind, and nothing that a night would fill
    # the machine with; its curves alone would be 2 * 4 * 357 * 8 = 23 kB, and its trades as much again.
    begun = min(done for done in memory if done >= SLOTS // 2)
    grown = (memory[max(memory)] - memory[begun]) / (max(memory) - begun)
    assert grown < 20_000, f"{grown:.0f} bytes a slot"
