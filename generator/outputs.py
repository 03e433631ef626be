"""OutputForm: what a prompt's reply has to be; named in the front matter as `output`.

A form is the schema that a strict server enforces and the reader that checks it again here, because most servers do
not. Forms that make a rule end in one object of the wire form, whatever the reply looked like; the language then says
what it thinks of it. Forms without a rule (a critique, lessons) are words for people and later prompts: they hold no
number that a score could be made of.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from agents.strategy.incumbents import shipped_incumbent
from agents.strategy.spec import InverseVolatilityWeight, PortfolioSpec, ShareSelection
from agents.strategy.spec_error import SpecError, nearest
from agents.strategy.wire import WIRE_SCHEMA, WIRE_SCHEMA_NAME, to_wire, wire_schema
from backtesting.errors import InvalidConfig

EXAMPLE = "donchian_breakout"
MAX_EDITS = 4
BRIEF_FIELDS = ("mechanism", "other_side", "signal_idea", "exit_idea", "what_would_refute_it")
SUBJECTS = ("brief", "spec", "risk")
"""What a finding can be about."""
TOOLS: dict[str, str] = {
    "describe_data": "the market: its character in figures, the costs, and how the ordinary rules do in it",
    "list_functions": "the functions and fields of the language; query: words to look for, or null for all",
    "validate_spec": "spec: is it legal, and what is wrong with it",
    "backtest_open": "spec: test it on the open window; counted as a trial, and there are few",
    "search_archive": "query: words; earlier rules that hold them, with how they did",
    "submit_spec": "spec: hand it in; a legal one ends the work",
}
"""The tools of an action: name and what it is for, as the prompt says it; only `submit_spec` ends the slot."""

Json = dict[str, Any]
Rule = Callable[[Mapping[str, Any], Mapping[str, Any]], "Json | list[SpecError]"]


@dataclass(frozen=True)
class OutputForm:
    """One form of reply.

    Attributes:
        id: the word in the front matter.
        schema: JSON schema as strict servers accept it; None for a prompt whose text is not sent to be answered.
        schema_name: the name under which it is sent.
        example: one legal reply.
        rule: (reply, inputs of the prompt) to one object of the wire form; None where the reply is no rule.
        check: (reply, inputs of the prompt) to what the schema cannot say.
    """

    id: str
    schema: Json | None
    schema_name: str
    example: Json
    rule: Rule | None = None
    check: Callable[[Mapping[str, Any], Mapping[str, Any]], list[SpecError]] = lambda reply, inputs: []

    def __hash__(self) -> int:
        """By its id, so that what is made of a form can be kept."""
        return hash(self.id)

    def read(self, reply: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[SpecError]:
        """What is wrong with a reply that is no rule; empty if nothing is."""
        found = list(against(self.schema or {}, reply))
        return found or self.check(reply, inputs)


def form_of(output: str, *, panel: bool = False) -> OutputForm:
    """The form of this id; on a panel, where a rule may also be a portfolio, the form that allows it.

    Raises InvalidConfig with the nearest one.
    """
    if output not in OUTPUTS:
        near = nearest(output, OUTPUTS)
        hint = f"; did you mean {near!r}?" if near else ""
        raise InvalidConfig(f"there is no output form {output!r}{hint}", next_step=f"choose {', '.join(OUTPUTS)}")
    return PANEL_OUTPUTS.get(output, OUTPUTS[output]) if panel else OUTPUTS[output]


def paths_of(form: OutputForm, *, whole: bool = True) -> dict[str, None]:
    """Every field of a form by its path, the objects on the way too; parts of a rule also as paths inside `rule`.

    `whole=False` gives the paths from the root of the reply only. Items of a list have no path of their own.
    """
    found = dict.fromkeys(_fields(form.schema or {}, ""))
    if whole and form.rule is not None:
        found |= dict.fromkeys(_fields(_RULE, ""))
    return found


def against(schema: Mapping[str, Any], value: Any, path: str = "") -> Iterator[SpecError]:
    """Where `value` is not what `schema` says; knows what strict schemas are made of and nothing else."""
    if "anyOf" in schema:
        tries = [list(against(option, value, path)) for option in schema["anyOf"]]
        if all(tries):
            yield min(tries, key=len)[0]
        return
    wanted = schema.get("type", "object")
    if not _TYPES[wanted](value):
        shown = json.dumps(value, ensure_ascii=True)[:80]
        yield SpecError(path, "type", shown, wanted, "", f"wanted is {_WORDS[wanted]}, found is {shown}")
    elif "enum" in schema and value not in schema["enum"]:
        known = ", ".join(schema["enum"])
        yield SpecError(
            path, "unknown_word", str(value)[:80], known, nearest(str(value), schema["enum"]), f"choose one of {known}"
        )
    elif wanted == "object":
        yield from _object_errors(schema, value, path)
    elif wanted == "array":
        for number, item in enumerate(value):
            yield from against(schema["items"], item, f"{path}[{number}]")


def _object_errors(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[SpecError]:
    known = schema.get("properties", {})
    for key in known:
        if key not in value:
            yield SpecError(_join(path, key), "missing", "nothing", "a value", "", f'the field "{key}" is missing')
        else:
            yield from against(known[key], value[key], _join(path, key))
    for key in value:
        if key not in known:
            near = nearest(str(key), known)
            hint = f'; did you mean "{near}"?' if near else ""
            yield SpecError(
                _join(path, str(key)[:80]), "unknown_key", str(key)[:80], ", ".join(known), near, f"no such field{hint}"
            )


def edited(reply: Mapping[str, Any], inputs: Mapping[str, Any]) -> Json | list[SpecError]:
    """The parent's rule with the edits of the reply applied: one object of the wire form.

    An edit replaces what stands at a path of the parent's `rule`; a path that the wire form does not have is an error.
    Rules that the language does not accept are not caught here.
    """
    found = list(against(_EDITS, reply))
    if found:
        return found
    parents = inputs.get("parents") or []
    if not parents:
        return [SpecError("edits", "no_parent", "no parent", "one parent", "", "there is no parent to edit")]
    if not 1 <= len(reply["edits"]) <= MAX_EDITS:
        n_edits = len(reply["edits"])
        allowed = f"1 to {MAX_EDITS} edits"
        return [SpecError("edits", "length", str(n_edits), allowed, "", f"{n_edits} edits; wanted are {allowed}")]
    rule = deepcopy(dict(parents[-1]["spec"]["rule"]))
    known = sorted({path for path, _ in _leaves(_RULE)})
    for number, edit in enumerate(reply["edits"]):
        problem = _apply(rule, edit["path"], edit["value"], known)
        if problem is not None:
            return [problem.at(f"edits[{number}].path")]
    return {"hypothesis": reply["hypothesis"], "name": reply["name"], "source": None, "rule": rule}


def _apply(rule: Json, path: str, value: Any, known: Sequence[str]) -> SpecError | None:
    if path not in known:
        near = nearest(path, known)
        hint = f'; did you mean "{near}"?' if near else ""
        return SpecError("", "unknown_path", path[:80], ", ".join(known), near, f'no such path "{path[:80]}"{hint}')
    *above, last = path.split(".")
    place = rule
    for step in above:
        if not isinstance(place.get(step), dict):
            place[step] = {}
        place = place[step]
    place[last] = value
    return None


def _fields(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for option in schema.get("anyOf", [schema]):
        for key, part in option.get("properties", {}).items():
            yield _join(path, key)
            yield from _fields(part, _join(path, key))
            yield from _fields(part.get("items", {}), _join(path, key))


def _leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every value of a schema by its path, through all alternatives."""
    for option in schema.get("anyOf", [schema]):
        if option.get("type") == "object":
            for key, part in option["properties"].items():
                yield from _leaves(part, _join(path, key))
        elif option.get("type") != "null":
            yield path, option


def _known_labels(reply: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[SpecError]:
    """A lesson names the outcomes that it was drawn from, by labels that were really shown."""
    labels = [str(outcome.get("label")) for outcome in inputs.get("outcomes", ())]
    found = []
    for number, lesson in enumerate(reply["lessons"]):
        path = f"lessons[{number}].evidence"
        if not lesson["evidence"]:
            found.append(SpecError(path, "no_evidence", "nothing", "labels", "", "a lesson without evidence"))
        found += [
            SpecError(path, "unknown_label", label[:80], ", ".join(labels), nearest(label, labels), "no such outcome")
            for label in lesson["evidence"]
            if label not in labels
        ]
    return found


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _form(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _text(description: str) -> Json:
    return {"type": "string", "description": description}


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
}
_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "null": "null",
}

# What a rule may be on a panel: an edit may change any part of it, whatever the market.
PANEL_SCHEMA: Json = wire_schema("rules", "score", "portfolio")
_RULE: Json = PANEL_SCHEMA["properties"]["rule"]

_EDITS = _form(
    hypothesis=_text("why the changed rule should earn more after costs than its parent; at most 600 characters"),
    name=_text("3 to 48 of a-z, 0-9 and _, starting with a letter; not the parent's"),
    edits={
        "type": "array",
        "description": f"1 to {MAX_EDITS} changes of the parent's rule",
        "items": _form(
            path=_text("what to replace: a path inside `rule`, as long.enter or sizing.fraction"),
            value={
                "description": "the new value; null takes an optional part away",
                "anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}],
            },
        ),
    },
)
_EDITS_EXAMPLE: Json = {
    "hypothesis": "Breakouts that come with a quiet market are less crowded, so a wider stop survives the first noise.",
    "name": "wider_stop",
    "edits": [{"path": "protect.stop_atr", "value": 4.0}],
}

_CRITIQUE = _form(
    reading=_text("what the rule does, in your own words; at most 300 characters"),
    consistent={"type": "string", "enum": ["yes", "partly", "no"], "description": "does the rule do what it claims"},
    findings={
        "type": "array",
        "description": "at most 5, the gravest first; empty if there is nothing to say",
        "items": _form(
            about={
                "type": "string",
                "enum": ["mechanism", "look_ahead", "complexity", "costs", "exits", "sizing", "sample"],
                "description": "which part of the checklist",
            },
            weight={"type": "string", "enum": ["grave", "minor"], "description": "how much it matters"},
            remark=_text("one sentence that quotes the part of the rule that it is about"),
        ),
    },
    one_change=_text("the one change that would help most, in words, or an empty text"),
)
_CRITIQUE_EXAMPLE: Json = {
    "reading": "Buys a new 55-bar high and leaves at a 20-bar low.",
    "consistent": "partly",
    "findings": [
        {"about": "exits", "weight": "minor", "remark": "`close < lowest(lag(low, 1), 20)` gives back most of a gain."}
    ],
    "one_change": "Leave at a shorter low than the one that the entry looks for.",
}

_LESSONS = _form(
    lessons={
        "type": "array",
        "description": "at most 5; empty if the outcomes teach nothing",
        "items": _form(
            lesson=_text("what to do or to leave, in one sentence; at most 200 characters"),
            because=_text("the mechanism behind it, in one sentence"),
            evidence={
                "type": "array",
                "description": "labels of the outcomes that it was drawn from",
                "items": {"type": "string"},
            },
        ),
    }
)
_LESSONS_EXAMPLE: Json = {
    "lessons": [
        {
            "lesson": "Leave out entries that come more than 40 times a year.",
            "because": "each round trip costs more than the drift of a day",
            "evidence": ["R2", "R5"],
        }
    ]
}

_BRIEF = _form(**{name: {"type": "string"} for name in BRIEF_FIELDS})
_BRIEF_EXAMPLE: Json = {
    "mechanism": "Funds that have to sell within days push the price below what patient buyers pay.",
    "other_side": "Holders with redemptions, who cannot wait.",
    "signal_idea": "A fall of several days on more volume than usual.",
    "exit_idea": "When volume is back to normal, or after two weeks.",
    "what_would_refute_it": "No rise after such days.",
}

_FINDINGS = _form(
    findings={
        "type": "array",
        "items": _form(
            about={"type": "string", "enum": list(SUBJECTS)},
            problem={"type": "string"},
            suggestion={"type": "string"},
        ),
    }
)
_FINDINGS_EXAMPLE: Json = {
    "findings": [
        {"about": "risk", "problem": "The exit may never come in a long fall.", "suggestion": "Leave after ten bars."}
    ]
}

_ACTION = _form(
    thought=_text("why this step, in one or two sentences"),
    tool={"type": "string", "enum": list(TOOLS)},
    query={"anyOf": [{"type": "string"}, {"type": "null"}]},
    spec={"anyOf": [WIRE_SCHEMA, {"type": "null"}]},
)
_ACTION_EXAMPLE: Json = {"thought": "The market comes first.", "tool": "describe_data", "query": None, "spec": None}


def _spec_example() -> Json:
    # The source of the shipped rule names a year, and no prompt holds a date.
    return {**to_wire(shipped_incumbent(EXAMPLE)), "source": None}


def _portfolio_example() -> Json:
    return to_wire(
        PortfolioSpec(
            kind="portfolio",
            name="calm_winners",
            hypothesis="Holders sell winners too early and keep losers, so relative strength over months goes on.",
            score="roc(lag(close, 21), 105)",
            select=ShareSelection(kind="share", share=0.2),
            weight=InverseVolatilityWeight(kind="inverse_volatility", window=60),
            direction="both",
        )
    )


OUTPUTS: dict[str, OutputForm] = {
    form.id: form
    for form in (
        OutputForm("strategy-spec", WIRE_SCHEMA, WIRE_SCHEMA_NAME, _spec_example(), lambda reply, inputs: dict(reply)),
        OutputForm("spec-edits", _EDITS, "spec_edits", _EDITS_EXAMPLE, edited),
        OutputForm("critique", _CRITIQUE, "critique", _CRITIQUE_EXAMPLE),
        OutputForm("lessons", _LESSONS, "lessons", _LESSONS_EXAMPLE, check=_known_labels),
        OutputForm("brief", _BRIEF, "brief", _BRIEF_EXAMPLE),
        OutputForm("findings", _FINDINGS, "findings", _FINDINGS_EXAMPLE),
        OutputForm("action", _ACTION, "action", _ACTION_EXAMPLE),
        OutputForm("text", None, "", {}),
    )
}

_PANEL_ACTION: Json = {
    **_ACTION,
    "properties": {**_ACTION["properties"], "spec": {"anyOf": [PANEL_SCHEMA, {"type": "null"}]}},
}
PANEL_OUTPUTS: dict[str, OutputForm] = {
    "strategy-spec": replace(OUTPUTS["strategy-spec"], schema=PANEL_SCHEMA, example=_portfolio_example()),
    "action": replace(OUTPUTS["action"], schema=_PANEL_ACTION),
}
"""The forms that are others on a panel."""
