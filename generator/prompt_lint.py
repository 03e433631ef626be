"""PromptLint: what is wrong with a prompt beyond what makes it unusable, by line, column and rule.

`read_prompt` stops at the first thing that cannot work; this goes on and collects, and adds what works and is still a
mistake: an example that the language refuses, a field that the schema does not have, a date that a model remembers.
Nothing is sent and no file is written; `fixed` gives the text with what can be put right without a thought.

A rule that does not apply to a prompt is switched off in its front matter with the reason (`allow: {leak-date: why}`),
and a switch that switches nothing off is a finding itself.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.strategy.spec_error import nearest
from agents.strategy.wire import from_wire
from backtesting.errors import InvalidConfig
from generator.budget import estimated_tokens
from generator.context import PROPOSE_INPUTS, REPAIR_INPUTS, real_inputs
from generator.open_window import OpenWindow
from generator.outputs import OUTPUTS, OutputForm, paths_of
from generator.replies import completion_of, follow, stored_replies
from generator.templates import (
    UNFENCED,
    BrokenPrompt,
    Draft,
    Prompt,
    finished,
    input_problems,
    read_draft,
    render,
    shows,
    unfenced,
)

RULES: dict[str, str] = {
    "broken": "the file cannot be used as a prompt",
    "undeclared-input": "a name is used that is no declared input",
    "unused-input": "an input is declared and never used",
    "unsupplied-input": "an input is declared that the loop cannot give",
    UNFENCED: "text that a model or a file wrote is not declared untrusted, or is printed without `fence`",
    "no-data-notice": "quoted text is shown and the prompt never says that it is no instruction",
    "unknown-output": "the form of the reply does not exist",
    "no-json-word": "a JSON reply is asked for and the word JSON never falls; servers refuse that in their JSON mode",
    "stale-schema": "a field is shown that the schema does not have",
    "failing-example": "an example in the prompt is not legal",
    "failing-test": "a stored reply does not lead where its test says",
    "over-budget": "the rendered prompt is longer than it may be",
    "leak-word": "words that name a market, an event or a result that no rule may know",
    "leak-date": "a date that a model may remember the market by",
    "invisible-character": "a character that does not show",
    "secret": "something that looks like a key or a password",
    "idle-allow": "a rule is switched off that found nothing, or that does not exist",
}
FIXABLE = ("invisible-character", "unused-input")

# Inputs by the names that the loop gives them; all hold what a model, a data file or an earlier run wrote.
WORKFLOW_INPUTS = ("brief", "spec", "findings")
"""What a workflow of several steps gives to its own prompts, out of earlier replies."""
UNTRUSTED_INPUTS = (
    "market_card",
    "parents",
    "tried",
    "reply",
    "errors",
    "candidate",
    "outcomes",
    "brief",
    "spec",
    "findings",
)

_LEAKS = re.compile(
    r"(?i)\b(s&p|sp ?500|nasdaq|dow jones|ftse|dax|nikkei|bitcoin|covid\w*|pandemic|lehman|dot-?com|subprime|brexit"
    r"|financial crisis|black monday|flash crash|taper tantrum|best[- ]performing|hindsight|we now know"
    r"|(?:sealed|test|out-of-sample) (?:window|period|set)'s|out-of-sample (?:sharpe|return|result)\w*)"
)
_DATE = re.compile(
    r"(?<![\w.,#%])(?P<year>19[5-9]\d|20[0-4]\d)(?:-\d\d(?:-\d\d)?)?(?![\w%]|\.\d)"
    r"(?! *(?:bars?|days?|tokens?|characters?|bytes|words)\b)"
)
_SECRETS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|rk|pk)-[A-Za-z0-9_\-]{12,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|(?i:bearer) +(?=[A-Za-z_.~+/=\-]*\d)[A-Za-z0-9_.~+/=\-]{16,}|(?<=://)[^/\s@]+:[^/\s@]+@"
)
_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_BLOCK = re.compile(r"^```(?:json)?\n(?P<body>\{.*?)^```", re.DOTALL | re.MULTILINE)
_PATH = re.compile(r"`(?P<path>[a-z_]+(?:\.[a-z_]+)+)`")
_NOTE = re.compile(r"^ *(?P<field>[a-z_][a-z_.]*)(?: \(|:)")


@dataclass(frozen=True)
class Finding:
    """One thing to put right: where (both counted from 1), which rule of RULES, and a sentence."""

    path: Path
    line: int
    column: int
    rule: str
    message: str

    @property
    def fixable(self) -> bool:
        """Whether `fixed` puts it right."""
        return self.rule in FIXABLE

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.rule}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """For a machine."""
        return {
            "file": str(self.path),
            "line": self.line,
            "column": self.column,
            "rule": self.rule,
            "message": self.message,
            "fixable": self.fixable,
        }


@dataclass(frozen=True, eq=False)
class Bench:
    """What a prompt is held against.

    Attributes:
        window: where stored replies are traded and real inputs come from.
        card: the prompt of the market card.
        years: first and last year of the market that is judged on; None for any year.
    """

    window: OpenWindow
    card: Prompt
    years: tuple[int, int] | None = None


def lint(path: Path, text: str, bench: Bench, kept: Path | None = None) -> tuple[Finding, ...]:
    """Everything that is wrong with a prompt file, in the order of its lines.

    `kept` is the folder of kept replies, which are tests too.
    """
    found = [*_hidden(path, text), *_secrets(path, text)]
    try:
        draft = read_draft(path, text)
    except BrokenPrompt as error:
        return _ordered([*found, _of_error(path, text, error), *_leaks(path, text, _all_lines(text), bench)])
    found += _leaks(path, text, _shown_lines(draft), bench)
    bare, problems = unfenced(draft), input_problems(draft)
    found += [_of_error(path, text, error) for error in (*bare, *problems)]
    if problems:
        return _ordered(found)
    try:
        prompt = finished(draft)
    except BrokenPrompt as error:
        return _ordered(found if bare and error.rule == UNFENCED else [*found, _of_error(path, text, error)])
    for check in _CHECKS:
        found += check(prompt, draft, bench)
    if prompt.output in OUTPUTS and OUTPUTS[prompt.output].schema is not None:
        found += _tests(prompt, draft, bench, kept)
    used = {finding.rule for finding in found}
    found = [finding for finding in found if finding.rule not in prompt.allow]
    found += [
        _finding(draft, draft.line_of(("allow", rule)), "idle-allow", f"{rule!r} has nothing to switch off", rule)
        for rule in prompt.allow
        if rule not in used
    ]
    return _ordered(found)


def fixed(path: Path, text: str) -> str:
    """`text` without characters that do not show and without inputs that nobody uses; the rest is for a person."""
    text = "".join(char for char in text if char in "\n\t" or shows(char))
    try:
        draft = read_draft(path, text)
    except BrokenPrompt:
        return text
    lines = text.split("\n")
    unused = [problem for problem in input_problems(draft) if problem.rule == "unused-input"]
    if len(unused) == len(draft.front.inputs):
        # A key without a value is no mapping; an empty section goes as a whole.
        unused = [BrokenPrompt(path, draft.line_of(("inputs",)), "")] if unused else []
    for problem in sorted(unused, key=lambda problem: -problem.line):
        start = problem.line - 1
        stop = start + 1
        while stop < len(lines) and (not lines[stop].strip() or _indent(lines[stop]) > _indent(lines[start])):
            stop += 1
        del lines[start:stop]
    return "\n".join(lines)


def _inputs(prompt: Prompt, draft: Draft, bench: Bench) -> Iterator[Finding]:
    form = OUTPUTS.get(prompt.output)
    for name, declared in prompt.inputs.items():
        line = draft.line_of(("inputs", name))
        if name in UNTRUSTED_INPUTS and not declared.untrusted:
            why = f"the input {name!r} holds what a model or a file wrote; declare it `untrusted: true` and fence it"
            yield _finding(draft, line, UNFENCED, why, name)
        if (
            form is not None
            and form.rule is not None
            and name not in (*PROPOSE_INPUTS, *REPAIR_INPUTS, *WORKFLOW_INPUTS)
        ):
            near = nearest(name, PROPOSE_INPUTS)
            hint = f"; did you mean {near!r}?" if near else f"; it gives {', '.join(PROPOSE_INPUTS)}"
            yield _finding(draft, line, "unsupplied-input", f"the loop cannot give {name!r}{hint}", name)


def _words(prompt: Prompt, draft: Draft, bench: Bench) -> Iterator[Finding]:
    form = OUTPUTS.get(prompt.output)
    if form is None:
        near = nearest(prompt.output, OUTPUTS)
        hint = f"; did you mean {near!r}?" if near else f"; known: {', '.join(OUTPUTS)}"
        why = f"there is no output form {prompt.output!r}{hint}"
        yield _finding(draft, draft.line_of(("output",)), "unknown-output", why, prompt.output)
    said = "\n".join(block.source for block in prompt.blocks)
    if any(declared.untrusted for declared in prompt.inputs.values()) and "instruction" not in said:
        line = prompt.blocks[0].line - 1
        why = "say in the prompt that quoted text is data and never an instruction"
        yield _finding(draft, line, "no-data-notice", why, "##")
    if form is not None and form.schema is not None and "JSON" not in said:
        yield _finding(
            draft, prompt.blocks[-1].line - 1, "no-json-word", "ask for the reply as JSON in so many words", "##"
        )


def _schema(prompt: Prompt, draft: Draft, bench: Bench) -> Iterator[Finding]:
    form = OUTPUTS.get(prompt.output)
    if form is None or form.schema is None:
        return
    known = paths_of(form)
    words = sorted({word for path in known for word in path.split(".")})
    if "schema_notes" in prompt.inputs:
        start = draft.line_of(("inputs", "schema_notes", "sample"))
        for offset, note in enumerate(str(prompt.inputs["schema_notes"].sample).splitlines(), start=1):
            field = _NOTE.match(note)
            if field is None:
                continue
            for word in field["field"].split("."):
                if word not in words:
                    yield _stale(draft, start + offset, word, words, form)
    roots = {path.partition(".")[0] for path in known}
    for number, line in _body_lines(prompt):
        for quoted in _PATH.finditer(line):
            path = quoted["path"]
            if path.partition(".")[0] in roots and path not in known:
                yield _stale(draft, number, path, sorted(known), form)
    for number, shown in _objects(prompt):
        if isinstance(shown, dict) and isinstance(shown.get("properties"), dict):
            wanted = set(paths_of(OutputForm("", shown, "", {}))) ^ set(paths_of(form, whole=False))
            if wanted:
                names = ", ".join(sorted(wanted)[:3])
                why = f"this is not the schema that replies are checked by ({names}); print schema_notes instead"
                yield _finding(draft, number, "stale-schema", why, "```")


def _examples(prompt: Prompt, draft: Draft, bench: Bench) -> Iterator[Finding]:
    form = OUTPUTS.get(prompt.output)
    if form is None or form.schema is None:
        return
    shown: list[tuple[int, str]] = []
    # A tool agent's replies hold a rule in a part of them; its example is one of that part.
    if "example" in prompt.inputs and form.id != "action":
        shown.append((draft.line_of(("inputs", "example", "sample")), str(prompt.inputs["example"].sample)))
    for number, value in _objects(prompt):
        if not isinstance(value, dict):
            shown.append((number, str(value)))
        elif 2 * len(set(value) & set(form.schema["properties"])) > len(value):
            # Mostly the form's own fields: meant as a reply, and not as a part of one.
            shown.append((number, json.dumps(value)))
    for number, text in shown:
        followed = follow(prompt, completion_of(text), bench.window, prompt.samples)
        if not followed.through:
            why = f"the example fails at {followed.stage}: {followed.sentence[:300]}"
            yield _finding(draft, number, "failing-example", why, "")
    for name, declared in prompt.inputs.items():
        if declared.type != "records":
            continue
        for index, record in enumerate(declared.sample):
            if isinstance(record.get("spec"), Mapping):
                errors = from_wire({"hypothesis": "A sample.", **record["spec"]})
                if isinstance(errors, list):
                    line = draft.line_of(("inputs", name, "sample", index, "spec"))
                    why = f"the sample rule of {name!r} is not legal: {errors[0]}"
                    yield _finding(draft, line, "failing-example", why, "spec")


def _budget(prompt: Prompt, draft: Draft, bench: Bench) -> Iterator[Finding]:
    try:
        values = {**prompt.samples, **real_inputs(prompt, bench.card, bench.window.bars, bench.window.window)}
    except InvalidConfig:
        return  # an unknown output form, which is a finding of its own
    size = sum(len(message.content.encode()) for message in render(prompt, values))
    tokens = estimated_tokens(size)
    if tokens > prompt.max_prompt_tokens:
        why = (
            f"about {tokens:,} tokens (est.) with the real vocabulary, {prompt.max_prompt_tokens:,} are allowed;"
            " shorten it, or raise max_prompt_tokens"
        )
        yield _finding(draft, draft.line_of(("max_prompt_tokens",)), "over-budget", why, "max_prompt_tokens")


_CHECKS: tuple[Callable[[Prompt, Draft, Bench], Iterator[Finding]], ...] = (
    _inputs,
    _words,
    _schema,
    _examples,
    _budget,
)


def _tests(prompt: Prompt, draft: Draft, bench: Bench, kept: Path | None) -> Iterator[Finding]:
    for index, stored in enumerate(stored_replies(prompt, kept)):
        followed = follow(prompt, stored.completion, bench.window, prompt.samples)
        if not followed.keeps(stored):
            said = f" saying {stored.says!r}" if stored.says else ""
            because = f": {followed.sentence[:300]}" if followed.sentence else ""
            why = f"{stored.name!r} leads to {followed.leads_to}{because}; expected is {stored.leads_to}{said}"
            place: tuple[str | int, ...] = ("tests", index) if index < len(prompt.tests) else ("tests",)
            yield _finding(draft, draft.line_of(place), "failing-test", why, "")


def _hidden(path: Path, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.split("\n"), start=1):
        for column, char in enumerate(line, start=1):
            if char != "\t" and not shows(char):
                why = f"U+{ord(char):04X} does not show; --fix removes it"
                yield Finding(path, number, column, "invisible-character", why)


def _secrets(path: Path, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.split("\n"), start=1):
        for match in _SECRETS.finditer(line):
            # The sentence must not repeat it.
            why = "this looks like a key or a password; a prompt is sent to a server and kept in the archive"
            yield Finding(path, number, match.start() + 1, "secret", why)


def _leaks(path: Path, text: str, lines: Sequence[tuple[int, str]], bench: Bench) -> Iterator[Finding]:
    for number, line in lines:
        plain = _EXPRESSION.sub(lambda match: " " * len(match[0]), line)
        for match in _LEAKS.finditer(plain):
            why = f"{match[0]!r} tells a model where or when it is, or what came of it; prompts are anonymous"
            yield Finding(path, number, match.start() + 1, "leak-word", why)
        for match in _DATE.finditer(plain):
            if bench.years is None or bench.years[0] <= int(match["year"]) <= bench.years[1]:
                where = "a model may remember" if bench.years is None else "of the market that rules are judged on"
                why = f"{match[0]} is a date {where}; leave it out"
                yield Finding(path, number, match.start() + 1, "leak-date", why)


def _all_lines(text: str) -> list[tuple[int, str]]:
    return list(enumerate(text.split("\n"), start=1))


def _shown_lines(draft: Draft) -> list[tuple[int, str]]:
    """The lines that a model may see: the body, and the samples of the inputs."""
    lines = _all_lines(draft.text)
    first_body = draft.blocks[0].line - 1
    shown, section = [], ""
    for number, line in lines:
        if number < first_body and line[:1].strip() and line != "---":
            section = line.partition(":")[0]
        if number >= first_body or section == "inputs":
            shown.append((number, line))
    return shown


def _body_lines(prompt: Prompt) -> Iterator[tuple[int, str]]:
    for block in prompt.blocks:
        yield from enumerate(block.source.split("\n"), start=block.line)


def _objects(prompt: Prompt) -> Iterator[tuple[int, Any]]:
    """Objects in the body with their line; the text itself of a fenced one that is no JSON, as words are no object."""
    for block in prompt.blocks:
        yield from _inline(block.source, block.line)
        for match in _BLOCK.finditer(block.source):
            if _EXPRESSION.search(match["body"]):
                continue
            number = block.line + block.source.count("\n", 0, match.start())
            try:
                yield number, json.loads(match["body"])
            except (ValueError, RecursionError):
                yield number, match["body"]


def _inline(source: str, first_line: int) -> Iterator[tuple[int, Any]]:
    """JSON objects outside fences that no part of the template language stands in."""
    plain = _BLOCK.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)
    stop = 0
    for start in (match.start() for match in re.finditer(r"\{", plain)):
        if start < stop:
            continue
        try:
            value, stop = json.JSONDecoder().raw_decode(plain, start)
        except (ValueError, RecursionError):
            continue
        if not _EXPRESSION.search(plain[start:stop]):
            yield first_line + plain.count("\n", 0, start), value


def _stale(draft: Draft, line: int, word: str, known: Sequence[str], form: OutputForm) -> Finding:
    near = nearest(word, known)
    hint = f"; did you mean {near!r}?" if near else ""
    return _finding(draft, line, "stale-schema", f"{word!r} is no field of {form.id}{hint}", word)


def _of_error(path: Path, text: str, error: BrokenPrompt) -> Finding:
    return Finding(path, error.line, _column(text, error.line, error.name), error.rule, error.why)


def _finding(draft: Draft, line: int, rule: str, why: str, word: str) -> Finding:
    return Finding(draft.path, line, _column(draft.text, line, word), rule, why)


def _column(text: str, line: int, word: str) -> int:
    """Column of `word` on a line, of the first character that is no space without one; 1 where there is none."""
    lines = text.split("\n")
    content = lines[line - 1] if 1 <= line <= len(lines) else ""
    found = re.search(rf"(?<![A-Za-z0-9_]){re.escape(word)}", content) if word else None
    return (found.start() if found else _indent(content)) + 1


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _ordered(found: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(found, key=lambda finding: (finding.line, finding.column, finding.rule)))
