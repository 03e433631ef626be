"""Replies on the bench: where a stored reply leads, stage by stage, at no cost and without a model.

A reply is taken through exactly what the loop does with one (extraction, schema, language, compilation, simulation on
the open window) and the first stage that fails is named. It is how a prompt's own tests are run, and how a reply that a
model once gave is kept as a test.

The market is made up unless another is given: noise in which there is nothing to find, so that running a prompt's tests
a hundred times is no search. What follows a reply on a real market has to count the look as a trial; this module
does not.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from agents.archive.records import Rejection
from agents.data_fetch.data_fetch import fetch_bars
from agents.strategy.spec import Spec
from agents.strategy.strategy import TradingStrategy
from backtesting.bars import Bars
from backtesting.costs import COSTS, CostModel
from backtesting.errors import InvalidConfig
from backtesting.result import BacktestResult
from backtesting.splits import LEAD_BARS, plan_split
from generator.extraction import ExtractionError, extract, judge_completion
from generator.llm.client import Completion, FinishReason
from generator.open_window import OpenWindow
from generator.outputs import form_of
from generator.repair import Illegal, read_reply
from generator.templates import Prompt, PromptTest

BENCH_MARKET = "synthetic:random-walk?years=6&seed=1"
BENCH_COSTS = "liquid-index"
STAGES = ("reply", "parse", "schema", "semantics", "compile", "backtest")
SUFFIX = ".reply.json"
MAX_REPLY_BYTES = 1_000_000

_STAGE_OF = {"not_json": "parse", "schema": "schema", "semantics": "semantics"}
_COLUMN = re.compile(r"\(column (\d+)\)")
_LINE_COLUMN = re.compile(r"\bline (\d+) column (\d+)")


@dataclass(frozen=True)
class StoredReply:
    """A reply in a file or in a prompt's front matter, and what it should lead to if that is known.

    Attributes:
        leads_to: see `PromptTest`; empty where nothing is expected.
        says: part of the sentence of its rejection; None for any.
    """

    name: str
    completion: Completion
    leads_to: str = ""
    says: str | None = None


@dataclass(frozen=True, eq=False)
class Followed:
    """Where a reply led.

    Attributes:
        leads_to: `backtested`, `read`, or the code of the rejection.
        stage: the last stage that was reached.
        sentence: why it ended there; empty where it went through.
        excerpt: the text that the error is in, and a caret under the place; empty where there is none.
        spec, result: of a reply that was traded.
    """

    leads_to: str
    stage: str
    sentence: str = ""
    excerpt: tuple[str, ...] = ()
    spec: Spec | None = None
    result: BacktestResult | None = None

    @property
    def through(self) -> bool:
        """Whether it came to the end of its way."""
        return self.leads_to in ("backtested", "read")

    def keeps(self, stored: StoredReply) -> bool:
        """Whether this is what was expected of the reply."""
        said = stored.says is None or stored.says in self.sentence
        return not stored.leads_to or (self.leads_to == stored.leads_to and said)


def bench_window(bars: Bars | None = None, costs: CostModel = COSTS[BENCH_COSTS]) -> OpenWindow:
    """The open window of the bench's own market, or of `bars`; without incumbents, nothing is compared here."""
    bars = _bench_bars() if bars is None else bars
    return OpenWindow.of(bars, plan_split(bars), costs, ())


def follow(prompt: Prompt, completion: Completion, window: OpenWindow, inputs: Mapping[str, Any]) -> Followed:
    """Take a reply to `prompt`, filled with `inputs`, as far as it goes. Never raises for what the reply holds."""
    form = form_of(prompt.output)
    if form.schema is None:
        raise InvalidConfig(
            f"the prompt {prompt.id!r} is never answered, its text is an input of others",
            next_step=f"look at it with touchstone prompts render {prompt.id}",
        )
    if form.rule is None:
        return _read(prompt, completion, inputs)
    read = read_reply(completion, window.bars, max_warmup=LEAD_BARS, form=form, inputs=inputs)
    if isinstance(read, Rejection):
        return Followed(read.code, "reply", read.reason)
    if isinstance(read, Illegal):
        return Followed(read.code, _STAGE_OF[read.code], _sentences(read), _excerpt(read))
    stage = "compile"
    try:
        strategy = TradingStrategy(read)
        stage = "backtest"
        result = window.simulate(strategy)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Followed("eval_error", stage, f"{type(error).__name__}: {error}", spec=read)
    return Followed("backtested", stage, spec=read, result=result)


def stored_replies(prompt: Prompt, kept: Path | None = None) -> Iterator[StoredReply]:
    """The tests of a prompt: those of its front matter, then the replies kept in the folder `kept`."""
    for test in prompt.tests:
        yield _of_test(test)
    if kept is not None:
        for file in sorted((kept / prompt.id).glob(f"*{SUFFIX}")):
            yield read_stored(file)


def read_stored(file: Path) -> StoredReply:
    """The reply in a file: a kept one (`*.reply.json`), or in any other file the bare text of a reply.

    Raises InvalidConfig where it cannot be read.
    """
    try:
        data = file.read_bytes()
        if len(data) > MAX_REPLY_BYTES:
            raise ValueError(f"it is larger than {MAX_REPLY_BYTES:,} bytes")
        text = data.decode("utf-8")
        if not file.name.endswith(SUFFIX):
            return StoredReply(file.name, completion_of(text))
        values = json.loads(text)
        if not isinstance(values, dict) or not {"text", "leads_to"} <= set(values):
            raise ValueError("it holds no object with text and leads_to")
        reply, reason = values["text"], values.get("finish_reason", "stop")
        if not (reply is None or isinstance(reply, str)) or reason not in get_args(FinishReason):
            raise ValueError("text or finish_reason is not one")
        return StoredReply(file.name, completion_of(reply, reason), str(values["leads_to"]), values.get("says"))
    except OSError as error:
        raise InvalidConfig(f"{file} cannot be read: {error.strerror}", next_step="check the path") from None
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(
            f"{file} is no stored reply: {error}",
            next_step=f"give the text of a reply in any file, or one that `prompts keep` wrote ({SUFFIX})",
        ) from None


def stored_text(completion: Completion, followed: Followed, origin: Mapping[str, Any]) -> str:
    """What `read_stored` reads: a reply as a test that expects what it leads to today."""
    values = {
        "leads_to": followed.leads_to,
        "finish_reason": completion.finish_reason,
        "model": completion.model,
        "from": dict(origin),
        "text": completion.text,
    }
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def completion_of(text: str | None, finish_reason: FinishReason = "stop") -> Completion:
    """A stored reply as the client would have given it."""
    refusal = text or "no reason given" if finish_reason == "refusal" else None
    return Completion(text, refusal, finish_reason, None, "stored", 0.0, 0, "", "")


def _of_test(test: PromptTest) -> StoredReply:
    return StoredReply(test.name, completion_of(test.reply, test.finish_reason), test.leads_to, test.says)


def _read(prompt: Prompt, completion: Completion, inputs: Mapping[str, Any]) -> Followed:
    refused = judge_completion(completion)
    if refused is not None:
        return Followed(refused.code, "reply", refused.reason)
    found = extract(completion.text or "")
    if isinstance(found, ExtractionError):
        return Followed(found.code, "parse", found.reason, _text_excerpt(completion.text or "", found.reason))
    errors = form_of(prompt.output).read(found, inputs)
    return Followed("schema", "schema", "; ".join(map(str, errors))) if errors else Followed("read", "schema")


def _sentences(illegal: Illegal) -> str:
    return "; ".join(map(str, illegal.errors))


def _excerpt(illegal: Illegal) -> tuple[str, ...]:
    """The text round the first error; the place is taken from the error's own sentence."""
    error = illegal.errors[0]
    if error.rule == "not_json":
        return _text_excerpt(illegal.text, error.message)
    column = _COLUMN.search(error.message)
    found = extract(illegal.text)
    place: Any = found.get("rule", found) if isinstance(found, dict) else {}
    for step in error.path.split("."):
        place = place.get(step) if isinstance(place, dict) else None
    return _caret(place, int(column[1])) if column and isinstance(place, str) else ()


def _text_excerpt(text: str, reason: str) -> tuple[str, ...]:
    place = _LINE_COLUMN.search(reason)
    lines = text.splitlines()
    if place is None or not 1 <= int(place[1]) <= len(lines):
        return ()
    return _caret(lines[int(place[1]) - 1], int(place[2]))


def _caret(line: str, column: int, width: int = 100) -> tuple[str, ...]:
    start = max(0, column - width // 2)
    return line[start : start + width], " " * (column - 1 - start) + "^"


@cache
def _bench_bars() -> Bars:
    return fetch_bars(BENCH_MARKET)


def all_followed(
    prompt: Prompt, replies: Sequence[StoredReply], window: OpenWindow
) -> Iterator[tuple[StoredReply, Followed]]:
    """Every stored reply with where it led, the prompt filled with its samples."""
    for stored in replies:
        yield stored, follow(prompt, stored.completion, window, prompt.samples)
