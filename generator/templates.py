"""Prompt: one Markdown file with YAML front matter and a Jinja2 body, turned into messages.

A prompt is checked whole when it is loaded: every input is declared and used, the samples fit their types, and the
body renders with them. The body is a small part of Jinja2, given by an allow-list of syntax: text, `{{ }}`, `{% if %}`,
`{% for %}` and a few filters. There is no arithmetic, no macro, no include and no call, so no prompt file can build a
gigabyte or reach Python; the sandbox stands behind that.

The body is cut into messages at the headings `## system`, `## user` and `## assistant` *before* rendering: what comes
in through an input can never open a message of its own.

Untrusted text (what a model or a file's author wrote) is an input declared with `untrusted: true`. It has no printed
form except through the filter `fence`, which quotes it as JSON, so forgetting the fence is an error and not a leak.

A prompt carries its own tests: stored replies and what each should lead to. They are read here and followed elsewhere
(generator/replies.py); what is only a matter of good writing is judged in generator/prompt_lint.py.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backtesting.errors import InvalidConfig
from backtesting.hashing import bytes_id
from generator.llm.client import Message, Role

MAX_FILE_BYTES = 64_000
MAX_PROMPT_TOKENS = 16_000
"""Tokens (est.) of a rendered prompt that lint accepts where the prompt names no limit of its own."""
MAX_RENDERED_CHARS = 200_000
FENCE_LIMIT = 4_000
UNFENCED = "unfenced-input"
"""The word of lint for untrusted text that is printed bare."""

InputType = Literal["text", "integer", "number", "lines", "records"]

_NAME = re.compile(r"\A[a-z][a-z0-9_-]{0,47}\Z")
_FIELD = re.compile(r"\A[a-z][a-z0-9_]{0,47}\Z")
_HEADING = re.compile(r"^## (system|user|assistant)[ \t]*$")
_FRONT = re.compile(r"\A---\n(?P<front>.*?\n)---\n(?P<body>.*)\Z", re.DOTALL)

# What of ASCII does not show, line feed and tab apart.
_CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f]")
# Variation selectors and fillers: letters, marks and symbols by category, and still they do not show.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# What a body may be made of. Everything else of Jinja2 is refused with its line.
_SYNTAX: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.If,
    nodes.For,
    nodes.Filter,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
)


class PromptInput(BaseModel):
    """One declared input.

    Attributes:
        type: text; integer; number; lines (a list of texts); records (a list of mappings of a name to a value).
        description: what it is, for the writer of prompts.
        sample: a value to render with when there is no run.
        untrusted: it holds text that nobody vouches for, and must pass through `fence`.
        at_most: how many items the prompt can use, for lines and records; a prompt for two parents says 2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: InputType
    description: Annotated[str, Field(min_length=1)]
    sample: Any
    untrusted: bool = False
    at_most: Annotated[int, Field(ge=1, le=1000)] | None = None


class Sampling(BaseModel):
    """What is sent along with the prompt; None leaves it to the run's own setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None


class PromptTest(BaseModel):
    """A stored reply and what it should lead to when the prompt gets it.

    Attributes:
        name: what the test claims, in a few words.
        reply: the reply as the model wrote it; None for one that wrote nothing.
        finish_reason: how the model stopped, if not by itself.
        leads_to: `backtested`, `read` (a reply that is no rule), or the code of the rejection.
        says: part of the sentence with which it is rejected.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=120)]
    reply: Annotated[str, Field(max_length=20_000)] | None
    finish_reason: Literal["stop", "length", "content_filter", "refusal", "other"] = "stop"
    leads_to: Annotated[str, Field(min_length=1)]
    says: Annotated[str, Field(min_length=1)] | None = None


class _Front(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str
    version: Annotated[int, Field(ge=1)]
    purpose: Annotated[str, Field(min_length=1, max_length=200)]
    inputs: dict[str, PromptInput] = Field(default_factory=dict)
    sampling: Sampling = Sampling()
    output: Annotated[str, Field(min_length=1)]
    tests: tuple[PromptTest, ...] = Field(default=(), strict=False)
    max_prompt_tokens: Annotated[int, Field(ge=1)] = MAX_PROMPT_TOKENS
    allow: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """One message before rendering; `line` is where its text begins in the file, counted from 1."""

    role: Role
    source: str
    line: int


@dataclass(frozen=True)
class Prompt:
    """A checked prompt.

    Attributes:
        id: the file's name without `.md`.
        version: counted up by the writer when the meaning changes.
        purpose: one line: what the prompt asks for.
        inputs: the declared inputs by name.
        sampling: temperature and output cap that the writer recommends.
        output: id of the form that the reply has (generator/outputs.py).
        tests: stored replies and what they should lead to.
        max_prompt_tokens: how long (est.) the rendered prompt may be before lint complains.
        allow: lint rules that do not apply to this prompt, each with the reason.
        blocks: the messages before rendering.
        template_id: `id@version:` and the content id of the whole file.
        path: the file.
        text: the file's text.
    """

    id: str
    version: int
    purpose: str
    inputs: Mapping[str, PromptInput]
    sampling: Sampling
    output: str
    tests: tuple[PromptTest, ...]
    max_prompt_tokens: int
    allow: Mapping[str, str]
    blocks: tuple[Block, ...]
    template_id: str
    path: Path
    text: str

    @property
    def samples(self) -> dict[str, Any]:
        """The sample of every input, ready for `render`."""
        return {name: item.sample for name, item in self.inputs.items()}

    def __hash__(self) -> int:
        """By its content id, so that what is made of a prompt can be kept."""
        return hash(self.template_id)


@dataclass(frozen=True)
class Draft:
    """A prompt file taken apart; `line_of(("inputs", "card"))` is the line of a place in the front matter."""

    path: Path
    text: str
    front: _Front
    blocks: tuple[Block, ...]
    line_of: Callable[[Sequence[str | int]], int]


class BrokenPrompt(InvalidConfig):
    """A prompt file that cannot be used: the line, what is wrong, and the word that lint has for it."""

    def __init__(self, path: Path, line: int, why: str, *, rule: str = "broken", name: str = "") -> None:
        super().__init__(f"{path}:{line}: {why}", next_step="correct the prompt (docs/how-to/write-a-prompt.md)")
        self.line = line
        self.why = why
        self.rule = rule
        self.name = name


def prompt_folders(workspace: Path | None = None) -> tuple[Path, ...]:
    """Where prompts are looked for, the first wins: the workspace's `prompts/`, then the shipped ones."""
    here = Path(__file__).resolve().parent
    installed = here / "_prompts"
    shipped = installed if installed.is_dir() else here.parent / "prompts"
    return (shipped,) if workspace is None else (workspace / "prompts", shipped)


def list_prompts(folders: Sequence[Path]) -> tuple[Prompt, ...]:
    """Every prompt that can be loaded by name, sorted by name. Raises InvalidConfig at the first broken one."""
    return tuple(load_prompt(name, folders) for name in prompt_names(folders))


def prompt_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """The names that `load_prompt` knows; files with other names (README.md) are no prompts."""
    names = {path.stem for folder in folders for path in folder.glob("*.md") if _NAME.match(path.stem)}
    return tuple(sorted(names))


def load_prompt(name: str, folders: Sequence[Path]) -> Prompt:
    """The prompt called `name` from the first folder that has it. Raises InvalidConfig with file and line."""
    return read_prompt(prompt_path(name, folders))


def prompt_path(name: str, folders: Sequence[Path]) -> Path:
    """The file of the prompt called `name`, whatever is in it. Raises InvalidConfig with the nearest name."""
    # Checked before it becomes a path: a name comes from a configuration and may say `../../x`.
    if _NAME.match(name):
        for folder in folders:
            path = folder / f"{name}.md"
            if path.is_file():
                return path
    known = prompt_names(folders)
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InvalidConfig(
        f"there is no prompt {name[:60]!r}{hint}",
        next_step=f"known: {', '.join(known) or 'none'} (touchstone prompts list)",
    )


def read_prompt(path: Path) -> Prompt:
    """The prompt in one file, checked whole. Raises InvalidConfig with file and line."""
    draft = read_draft(path)
    problems = input_problems(draft)
    if problems:
        raise problems[0]
    return finished(draft)


def finished(draft: Draft) -> Prompt:
    """The prompt that a draft is, rendered once with its samples. Raises InvalidConfig if that fails."""
    path, front, blocks, text = draft.path, draft.front, draft.blocks, draft.text
    prompt = Prompt(
        id=front.id,
        version=front.version,
        purpose=front.purpose,
        inputs=MappingProxyType(front.inputs),
        sampling=front.sampling,
        output=front.output,
        tests=front.tests,
        max_prompt_tokens=front.max_prompt_tokens,
        allow=MappingProxyType(front.allow),
        blocks=blocks,
        template_id=f"{front.id}@{front.version}:{bytes_id(text.encode('utf-8'))}",
        path=path,
        text=text,
    )
    render(prompt, prompt.samples)
    return prompt


def read_draft(path: Path, text: str | None = None) -> Draft:
    """A prompt file taken apart: front matter, blocks and syntax are legal, its inputs are not looked at yet.

    `text` is the file's content where the caller has it; else the file is read. Raises BrokenPrompt.
    """
    text = read_text(path) if text is None else text
    parts = _FRONT.match(text)
    if parts is None:
        raise BrokenPrompt(path, 1, "the file does not begin with front matter between two lines of ---")
    front, lines = _front_matter(path, parts["front"])
    if front.id != path.stem:
        raise BrokenPrompt(path, lines(("id",)), f"the id is {front.id!r}, the file says {path.stem!r}")
    blocks = _blocks(path, parts["body"], first_line=text.count("\n", 0, parts.start("body")) + 1)
    _check_syntax(path, blocks)
    return Draft(path, text, front, blocks, lines)


def input_problems(draft: Draft) -> list[BrokenPrompt]:
    """Names that are used and not declared, then inputs that are declared and not used."""
    found: list[BrokenPrompt] = []
    used: set[str] = set()
    inputs = draft.front.inputs
    for block in draft.blocks:
        tree = _parse(draft.path, block)
        for name in sorted(meta.find_undeclared_variables(tree)):
            used.add(name)
            if name not in inputs:
                line = next(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
                near = get_close_matches(name, inputs, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                sentence = f"{name!r} is not a declared input{hint}"
                found.append(BrokenPrompt(draft.path, line, sentence, rule="undeclared-input", name=name))
    found += [
        BrokenPrompt(
            draft.path,
            draft.line_of(("inputs", name)),
            f"the input {name!r} is declared and never used",
            rule="unused-input",
            name=name,
        )
        for name in inputs
        if name not in used
    ]
    return found


def unfenced(draft: Draft) -> list[BrokenPrompt]:
    """Where untrusted text would be printed bare, whether or not the samples come by there.

    Of a record, what every sample holds as a number is one; whatever else of it is text.
    """
    untrusted = {name: [item.sample] for name, item in draft.front.inputs.items() if item.untrusted}
    return [
        BrokenPrompt(
            draft.path, node.lineno, f"{word!r} is untrusted text; print it through `| fence`", rule=UNFENCED, name=word
        )
        for block in draft.blocks
        for node, word in _bare(_parse(draft.path, block), untrusted)
    ]


def _bare(node: nodes.Node, untrusted: Mapping[str, Sequence[Any]]) -> Iterator[tuple[nodes.Node, str]]:
    """The expressions below `node` that print untrusted text; `untrusted` has the sample values of each such name."""
    if isinstance(node, nodes.Output):
        for expression in node.nodes:
            word = _bare_word(expression, untrusted)
            if word:
                yield expression, word
        return
    if isinstance(node, nodes.For) and isinstance(node.iter, nodes.Name) and isinstance(node.target, nodes.Name):
        items = [item for sample in untrusted.get(node.iter.name, ()) if isinstance(sample, list) for item in sample]
        inner = {name: values for name, values in untrusted.items() if name != node.target.name}
        if node.iter.name in untrusted:
            inner[node.target.name] = items
        untrusted = inner
    for child in node.iter_child_nodes():
        yield from _bare(child, untrusted)


def _bare_word(expression: nodes.Node, untrusted: Mapping[str, Sequence[Any]]) -> str:
    """The name whose untrusted text an expression prints; empty where it prints none."""
    if isinstance(expression, nodes.Filter):
        harmless = expression.node is None or expression.name in ("fence", "length")
        return "" if harmless else _bare_word(expression.node, untrusted)  # type: ignore[arg-type]
    if isinstance(expression, nodes.Getattr) and isinstance(expression.node, nodes.Name):
        name, records = expression.node.name, untrusted.get(expression.node.name)
        if records is None:
            return ""
        values = [record[expression.attr] for record in records if expression.attr in record]
        return "" if values and all(isinstance(value, int | float) for value in values) else f"{name}.{expression.attr}"
    if isinstance(expression, nodes.Name) and expression.name in untrusted:
        values = list(untrusted[expression.name])
        return "" if values and all(isinstance(value, int | float) for value in values) else expression.name
    return ""


def places(prompt: Prompt) -> dict[str, list[tuple[Role, int]]]:
    """Where each input stands: role of the message and line of the file, in their order."""
    found: dict[str, list[tuple[Role, int]]] = {name: [] for name in prompt.inputs}
    for block in prompt.blocks:
        for node in _parse(prompt.path, block).find_all(nodes.Name):
            if node.name in found and (block.role, node.lineno) not in found[node.name]:
                found[node.name].append((block.role, node.lineno))
    return {name: sorted(where, key=lambda place: place[1]) for name, where in found.items()}


def render(prompt: Prompt, inputs: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages of `prompt` with `inputs`, one for each block.

    Every declared input must be given, with its type, and no other. Raises InvalidConfig; what came in is never in its
    sentence, only where and which input.
    """
    for name in prompt.inputs:
        if name not in inputs:
            raise BrokenPrompt(prompt.path, 1, f"the input {name!r} is not given")
    for name in inputs:
        if name not in prompt.inputs:
            known = ", ".join(prompt.inputs) or "none"
            raise BrokenPrompt(prompt.path, 1, f"the input {name!r} is not declared; declared: {known}")
    values = {}
    for name, declared in prompt.inputs.items():
        problem = _type_problem(inputs[name], declared.type)
        if problem:
            raise BrokenPrompt(prompt.path, 1, f"the input {name!r} {problem}")
        if declared.at_most is not None and len(inputs[name]) > declared.at_most:
            raise BrokenPrompt(
                prompt.path,
                1,
                f"the input {name!r} has {len(inputs[name])} items, at most {declared.at_most} are taken",
            )
        values[name] = _wrapped(inputs[name]) if declared.untrusted else inputs[name]
    left = MAX_RENDERED_CHARS
    messages = []
    for block in prompt.blocks:
        text = _render_block(prompt.path, block, values, left)
        left -= len(text)
        messages.append(Message(block.role, text))
    return tuple(messages)


def clean_text(text: str) -> str:
    """`text` in NFKC without characters that do not show: zero-width, bidirectional, control, private, unassigned.

    Line feeds and tabs stay; other line breaks go, because some readers would take them for one and others not.
    """
    if text.isascii():  # nearly all that is fenced, and a hundred times as fast
        return _CONTROL.sub("", text)
    return "".join(char for char in unicodedata.normalize("NFKC", text) if char in "\n\t" or shows(char))


@dataclass(frozen=True)
class _Untrusted:
    """A value that prints only through `fence`; deliberately not a str, so that no filter takes it for one."""

    _value: Any

    def __bool__(self) -> bool:
        return bool(self._value)

    def __str__(self) -> str:
        raise _Unfenced


class _Unfenced(TemplateError):
    """Untrusted text was about to be printed bare."""

    def __init__(self) -> None:
        super().__init__("untrusted text has to pass through the filter fence")


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases and without a key that is given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key has to be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _fence(value: Any, limit: int = FENCE_LIMIT) -> str:
    """Untrusted text as JSON: a text quoted on one line, a list on one line, a mapping indented.

    Inside a string a line break is an escape, so no quoted text can begin a line of the prompt. What is longer than
    `limit` characters becomes one quoted string, cut, that says so.
    """
    raw = value._value if isinstance(value, _Untrusted) else value
    if isinstance(raw, str):
        text = clean_text(raw)
        cut = f" [cut, {len(text) - limit} characters more]" if len(text) > limit else ""
        return json.dumps(text[:limit] + cut, ensure_ascii=False)
    text = json.dumps(_clean(raw), ensure_ascii=False)
    text = _indented(text) if isinstance(raw, Mapping) else text
    return text if len(text) <= limit else json.dumps(f"{text[:limit]} [cut, {len(text) - limit} characters more]")


@lru_cache(maxsize=512)
def _indented(text: str) -> str:
    """JSON text, indented; the rules of a run are shown again and again, and indenting takes longest of all."""
    return json.dumps(json.loads(text), ensure_ascii=False, indent=1)


def _clean(value: Any) -> Any:
    if isinstance(value, _Untrusted):
        return _clean(value._value)
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return {clean_text(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def shows(char: str) -> bool:
    """Whether a character can be seen, or moves the line; line feeds and tabs are not asked about."""
    category = unicodedata.category(char)
    return category[0] != "C" and category not in {"Zl", "Zp"} and not _INVISIBLE.match(char)


def _printable(value: Any) -> Any:
    """What `{{ }}` may print: texts and numbers, and what is undefined, which complains by itself."""
    if isinstance(value, _Untrusted):
        raise _Unfenced
    if not isinstance(value, str | int | float | StrictUndefined):
        raise TemplateError(f"a {type(value).__name__} cannot be printed; loop over it, join it or fence it")
    return value


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    environment.filters = {
        "fence": _fence,
        "join": environment.filters["join"],
        "length": environment.filters["length"],
        "round": environment.filters["round"],
    }
    environment.globals = {}
    environment.tests = {}
    return environment


_ENVIRONMENT = _environment()


def read_text(path: Path) -> str:
    """The text of a prompt file, line ends as line feeds. Raises BrokenPrompt."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}", next_step="check the file") from None
    if len(data) > MAX_FILE_BYTES:
        raise BrokenPrompt(path, 1, f"the file is larger than {MAX_FILE_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenPrompt(path, data.count(b"\n", 0, error.start) + 1, "the file is not UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _front_matter(path: Path, text: str) -> tuple[_Front, Callable[[Sequence[str | int]], int]]:
    # Line 1 of the file is the opening `---`, so a line of the front matter is one further down.
    try:
        loader = _StrictLoader(text)
        try:
            node = loader.get_single_node()
            value = loader.construct_document(node) if node is not None else {}
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 2
        raise BrokenPrompt(path, line, f"the front matter is not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BrokenPrompt(path, 2, f"the front matter is not YAML: {str(error).splitlines()[0]}") from None
    try:
        front = _Front.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise BrokenPrompt(
            path, _line_of(node, first["loc"]), f"front matter: {where}: {first['msg'].lower()}"
        ) from None
    if not _NAME.match(front.id):
        raise BrokenPrompt(path, _line_of(node, ("id",)), "the id is not a name of lower-case letters, digits, - and _")
    for name, declared in front.inputs.items():
        line = _line_of(node, ("inputs", name))
        if not _FIELD.match(name) or name == "loop":
            raise BrokenPrompt(path, line, f"the input {name!r} has not a legal name: lower-case letters, digits, _")
        problem = _type_problem(declared.sample, declared.type)
        if problem:
            raise BrokenPrompt(path, line, f"the sample of {name!r} {problem}")
        if declared.at_most is not None and declared.type not in ("lines", "records"):
            raise BrokenPrompt(path, line, f"the input {name!r} is {declared.type}, only lines and records have items")
    return front, lambda location: _line_of(node, location)


def _line_of(node: Any, location: Iterable[Any]) -> int:
    """The line of a place in the front matter, as far down as the place exists."""
    line = 2
    for step in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 2
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == str(step):
                line, node = key.start_mark.line + 2, value
                break
        else:
            break
    return line


def _blocks(path: Path, body: str, first_line: int) -> tuple[Block, ...]:
    found: list[tuple[Role, int, list[str]]] = []
    for number, line in enumerate(body.split("\n"), start=first_line):
        heading = _HEADING.match(line)
        if heading:
            role: Role = next(name for name in get_args(Role) if name == heading[1])
            found.append((role, number + 1, []))
        elif found:
            found[-1][2].append(line)
        elif line.strip():
            raise BrokenPrompt(path, number, "text before the first heading ## system or ## user")
    if not found or found[-1][0] != "user":
        raise BrokenPrompt(path, first_line, "the last message has to be ## user")
    for role, line_number, lines in found:
        if not "".join(lines).strip():
            raise BrokenPrompt(path, line_number - 1, f"the message ## {role} is empty")
    if any(role == "system" for role, _, _ in found[1:]):
        raise BrokenPrompt(path, first_line, "## system can only be the first message")
    return tuple(Block(role, "\n".join(lines), line_number) for role, line_number, lines in found)


def _check_syntax(path: Path, blocks: Iterable[Block]) -> None:
    for block in blocks:
        for node in _nodes(path, block):
            if not isinstance(node, _SYNTAX):
                name = type(node).__name__.lower()
                raise BrokenPrompt(
                    path, node.lineno, f"{name} is not part of the prompt language (text, if, for, names, filters)"
                )
            if isinstance(node, nodes.Filter) and node.name not in _ENVIRONMENT.filters:
                known = ", ".join(_ENVIRONMENT.filters)
                raise BrokenPrompt(path, node.lineno, f"unknown filter {node.name!r}; known: {known}")


def _source(block: Block) -> str:
    # Empty lines in front make Jinja2 count lines as the file does.
    return "\n" * (block.line - 1) + block.source


def _parse(path: Path, block: Block) -> nodes.Template:
    try:
        return _ENVIRONMENT.parse(_source(block))
    except TemplateSyntaxError as error:
        raise BrokenPrompt(path, error.lineno, f"template: {error.message}") from None
    except RecursionError:
        raise BrokenPrompt(path, block.line, "template: nested too deeply") from None


def _nodes(path: Path, block: Block) -> Iterator[nodes.Node]:
    tree = _parse(path, block)
    yield tree
    yield from tree.find_all(nodes.Node)


@lru_cache(maxsize=128)
def _compiled(source: str) -> Template:
    """A run renders the same few templates for every slot; compiling one takes longer than rendering it."""
    return _ENVIRONMENT.from_string(source)


def _render_block(path: Path, block: Block, values: Mapping[str, Any], limit: int) -> str:
    pieces: list[str] = []
    size = 0
    try:
        for piece in _compiled(_source(block)).generate(**values):
            pieces.append(piece)
            size += len(piece)
            if size - block.line > limit:
                why = f"the rendered prompt is longer than {MAX_RENDERED_CHARS:,} characters"
                raise BrokenPrompt(path, block.line, why)
    except TemplateError as error:
        rule = UNFENCED if isinstance(error, _Unfenced) else "broken"
        raise BrokenPrompt(path, _template_line(error, block), f"template: {error.message}", rule=rule) from None
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        raise BrokenPrompt(path, _template_line(error, block), f"template: {type(error).__name__.lower()}") from None
    text = "".join(pieces).strip()
    if re.search("[\0\ud800-\udfff]", text):
        raise BrokenPrompt(path, block.line, "the rendered prompt holds a NUL or half of a surrogate pair")
    return text


def _template_line(error: BaseException, block: Block) -> int:
    line = block.line
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _wrapped(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_wrapped(item) for item in value]
    if isinstance(value, Mapping):
        return {key: item if isinstance(item, int | float) else _Untrusted(item) for key, item in value.items()}
    return value if isinstance(value, int | float) else _Untrusted(value)


def _type_problem(value: Any, type_: InputType) -> str | None:
    wanted, fits = _TYPES[type_]
    return None if fits(value) else f"is {type(value).__name__}, wanted is {wanted}"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_lines(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _is_records(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(item, Mapping) and all(isinstance(key, str) and _FIELD.match(key) for key in item) for item in value
    )


_TYPES: dict[InputType, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "integer": ("a whole number", _is_integer),
    "number": ("a number", lambda value: _is_integer(value) or isinstance(value, float)),
    "lines": ("a list of texts", _is_lines),
    "records": ("a list of mappings with lower-case names", _is_records),
}
