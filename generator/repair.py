"""Repair: what of an illegal reply goes back to the model, and when to stop.

A reply is read into a spec or into a list of machine errors. Errors go back at most twice, replaced and not appended,
and only while their number shrinks. A refusal, a filtered or a cut reply is final: asking again would ask for
something else.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.archive.records import Rejection
from agents.strategy.spec import Spec, check_for_bars
from agents.strategy.spec_error import SpecError
from agents.strategy.wire import from_wire
from backtesting.bars import Bars
from generator.extraction import ExtractionError, extract, judge_completion
from generator.llm.client import Completion
from generator.outputs import OUTPUTS, OutputForm

MAX_REPAIRS = 2
EXPRESSIONS = ("enter", "exit", "score", "universe", "sizing", "protect")
SPEC_FORM = OUTPUTS["strategy-spec"]


@dataclass(frozen=True)
class Illegal:
    """A reply that can be repaired: what stands wrong in it, and its text."""

    text: str
    errors: tuple[SpecError, ...]

    @property
    def code(self) -> str:
        """`not_json`, `schema` or `semantics`: how far the reply got."""
        if any(error.rule == "not_json" for error in self.errors):
            return "not_json"
        in_expressions = all(error.path.rpartition(".")[2] in EXPRESSIONS for error in self.errors)
        return "semantics" if in_expressions else "schema"

    def rejection(self, n_repairs: int) -> Rejection:
        """The end of a reply that was not, or could not be, repaired."""
        first = str(self.errors[0])
        more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
        return Rejection(
            "validation", self.code, first + more, {"errors": [e.as_dict() for e in self.errors], "repairs": n_repairs}
        )


def read_reply(
    completion: Completion,
    bars: Bars,
    *,
    max_warmup: int,
    form: OutputForm = SPEC_FORM,
    inputs: Mapping[str, Any] | None = None,
) -> Spec | Illegal | Rejection:
    """The spec in a completion, what is wrong with it, or a final no.

    `form` is that of the prompt that was answered, `inputs` what it was filled with. Where the reply is not the spec
    itself (edits of a parent), the text that goes back for repair is the whole spec that it came to.
    """
    if form.rule is None:
        raise ValueError(f"replies of the form {form.id!r} hold no rule")
    refused = judge_completion(completion)
    if refused is not None:
        return Rejection("reply", refused.code, refused.reason)
    text = completion.text or ""
    found = extract(text)
    if isinstance(found, ExtractionError):
        allowed = "one JSON object that follows the schema, and nothing else"
        return Illegal(text, (SpecError("", "not_json", text[:80], allowed, "", found.reason),))
    whole = form.rule(found, inputs or {})
    if isinstance(whole, list):
        return Illegal(text, tuple(whole))
    text = text if form.id == SPEC_FORM.id else json.dumps(whole, ensure_ascii=False)
    spec = from_wire(whole)
    if isinstance(spec, list):
        return Illegal(text, tuple(spec))
    unfit = check_for_bars(spec, bars, max_warmup=max_warmup)
    return Illegal(text, tuple(unfit)) if unfit else spec


def worth_another_try(now: Illegal, before: Illegal | None, n_repairs: int) -> bool:
    """Whether the errors go back once more: not more than twice, and only while they get fewer."""
    if n_repairs >= MAX_REPAIRS:
        return False
    return before is None or len(now.errors) < len(before.errors)
