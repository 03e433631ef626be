"""parse: text to a typed canonical tree, or to everything that is wrong with it.

Python's grammar for expressions, read by our own tokenizer and precedence parser: only what is listed here exists,
nothing is ever evaluated or compiled. Characters are bounded before anything is read; depth, nodes, windows and work
before anything is computed. Errors are values and all are collected, up to the first place where the grammar breaks;
columns count from 1. Python's own `ast` would read the same texts; it takes four times as long.
"""

import re

from agents.strategy.expression import canonical
from agents.strategy.expression.nodes import BOOLEAN, NUMBER, Node, distinct_nodes
from agents.strategy.expression.types import IN_WORDS, Dimension, common, product, quotient
from agents.strategy.functions.elsewhere import BESIDE, ELSEWHERE, spelt_out
from agents.strategy.indicators import (
    ALIASES,
    FIELD_ALIASES,
    FIELDS,
    FUNCTIONS,
    SHORTHANDS,
    Function,
    Parameter,
)
from agents.strategy.spec_error import SpecError, did_you_mean, nearest

MAX_CHARACTERS = 512
MAX_DEPTH = 16
MAX_NODES = 200
MAX_WORK = 10_000
# What texts have been read as, and their canonical texts too; forgetting changes nothing but time.
_MEMO_SIZE = 8192
_MEMO: dict[str, "Node | tuple[SpecError, ...]"] = {}
_CALLS: dict[str, Node] = {}
# Brackets and chains of the text may nest deeper than the tree they make; this only guards our own recursion.
_MAX_NESTING = 64

_UNWANTED = re.compile(r"[^\x20-\x7e]|[#\\`$?@;{}]")
# A number takes every letter that touches it, so that "5d" is one wrong number and not two tokens.
_TOKEN = re.compile(
    r" *(?:([A-Za-z_]\w*)|((?:\d|\.\d)[\w.]*(?:(?<=[\d.][eE])[+-]\d[\w.]*)?)|(<=|>=|==|!=|\*\*|//|:=|&&|\|\||[^ ]))",
    re.ASCII,
)
# A call without brackets inside is one token of a longer text, and remembered: rules share most of these.
_TOKEN_OR_CALL = re.compile(
    r" *(?!(?:not|and|or|if|else|in|is|lambda)\()([A-Za-z_]\w*\([^()]*\))|" + _TOKEN.pattern, re.ASCII
)
_DECIMAL = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_ZERO = re.compile(r"[0.]*[1-9]", re.ASCII)
_EXTREME = f"beyond {canonical.MOST:g}, or nearer to 0 than {canonical.LEAST:g}"
_NUMBERS = f"0, or between {canonical.LEAST:g} and {canonical.MOST:g} in size"
_NAME, _NUMBER, _SIGN = 1, 2, 3
_CALL = 0

# How tightly what stands between two operands binds.
_OR, _AND, _NOT, _COMPARE, _ADD, _TIMES = 1, 2, 3, 4, 5, 6
_LEVELS = {
    "or": _OR,
    "and": _AND,
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), _COMPARE),
    "+": _ADD,
    "-": _ADD,
    "*": _TIMES,
    "/": _TIMES,
}

# What people who know other languages write: what to say, and what to write instead.
_FOREIGN = {
    "[": ("square brackets are not part of the language", "for the value two bars ago write lag(close, 2)"),
    ".": ("dots are not part of the language", "write a plain name or a function call"),
    "if": ("if ... else is not part of the language", "write where(condition, x, y)"),
    "else": ("if ... else is not part of the language", "write where(condition, x, y)"),
    "lambda": ("lambda is not part of the language", "write the condition itself"),
    ":=": ("assignments are not part of the language", "write the expression out"),
    "'": ("text is not part of the language", "write numbers, fields and functions"),
    '"': ("text is not part of the language", "write numbers, fields and functions"),
    "in": ('"is" and "in" are not part of the language', "compare with == or <"),
    "is": ('"is" and "in" are not part of the language', "compare with == or <"),
    "&": ('"&" is not part of the language', "write and"),
    "&&": ('"&&" is not part of the language', "write and"),
    "|": ('"|" is not part of the language', "write or"),
    "||": ('"||" is not part of the language', "write or"),
    "~": ("~ is not part of the language", "write not"),
    "!": ("! is not part of the language", "write not"),
    "**": ('"**" is not part of the language', "write power(x, y), or the product out"),
    "^": ('"^" is not part of the language', "write power(x, y), or the product out"),
    "//": ('"//" is not part of the language', "write floor(x / y)"),
    "%": ('"%" is not part of the language', "write the ratio out"),
    "=": ("not an expression", "a comparison for equality is written =="),
    ":": ("not an expression", "write where(condition, x, y) for a choice"),
    "await": ("not an expression", "write numbers, fields and functions"),
    "yield": ("not an expression", "write numbers, fields and functions"),
    "for": ("loops are not part of the language", "write count_if, sum or holds_for over a window"),
    "while": ("loops are not part of the language", "write count_if, sum or holds_for over a window"),
}
_NEAREST = {"&": "and", "&&": "and", "|": "or", "||": "or", "~": "not", "!": "not", "**": "power", "^": "power"}
_ALLOWED = "numbers, fields, functions, + - * /, comparisons, and, or, not"
_TIGHTER = frozenset(("[", ".", "**", "^", "("))
_OPERATOR_WORDS = frozenset(("not", "and", "or", *_FOREIGN))
_WORDS = {"true": canonical.TRUE, "false": canonical.FALSE}
_FIELD_NODES = {name: canonical.field(name, dimension) for name, dimension in FIELDS.items()}


class _Broken(Exception):
    """The grammar breaks here; the error has been noted. Never leaves this module."""


def parse(text: str) -> Node | tuple[SpecError, ...]:
    """The tree of an expression, or all errors found in it; paths are left empty for the caller to fill.

    Never raises, whatever the text.
    """
    known = _MEMO.get(text)
    if known is None:
        if len(text) > MAX_CHARACTERS:
            return (_bound("length", len(text), MAX_CHARACTERS, "characters"),)
        known = read_afresh(text)
        if len(_MEMO) >= _MEMO_SIZE:
            _MEMO.clear()
        _MEMO[text] = known
        if isinstance(known, Node):
            # A spec keeps the canonical text and asks for its tree later.
            _MEMO[known.text] = known
    return known


def parse_condition(text: str) -> Node | tuple[SpecError, ...]:
    """As `parse`, and the result must be a condition."""
    node = parse(text)
    if isinstance(node, Node) and node.dimension is not Dimension.BOOLEAN:
        what = IN_WORDS[node.dimension]
        return (
            SpecError(
                "",
                "dimension",
                what,
                "a condition",
                "",
                f'a condition is wanted here, "{node.text}" is {what}; compare it',
            ),
        )
    return node


def parse_score(text: str) -> Node | tuple[SpecError, ...]:
    """As `parse`, and the result must be a plain number."""
    node = parse(text)
    if isinstance(node, Node) and node.dimension not in (Dimension.RATIO, Dimension.COUNT):
        what = IN_WORDS[node.dimension]
        hint = (
            "where(condition, 1, -1) makes a number of it"
            if node.dimension is Dimension.BOOLEAN
            else "divide it by something of its kind"
        )
        return (
            SpecError(
                "", "dimension", what, "a ratio", "", f'a plain number is wanted here, "{node.text}" is {what}; {hint}'
            ),
        )
    return node


def too_large(*roots: Node) -> SpecError | None:
    """The error if the trees together are beyond the bounds on nodes or work, else None."""
    if sum(root.size for root in roots) <= MAX_NODES and sum(root.effort for root in roots) <= MAX_WORK:
        return None
    nodes = distinct_nodes(*roots)
    if len(nodes) > MAX_NODES:
        return _bound("nodes", len(nodes), MAX_NODES, "distinct parts")
    work = sum(node.work for node in nodes)
    return _bound("work", work, MAX_WORK, "operations a bar") if work > MAX_WORK else None


def read_afresh(text: str) -> Node | tuple[SpecError, ...]:
    """`parse` without its memory, for texts of at most MAX_CHARACTERS."""
    text = " ".join(text.split())
    if not text:
        return (SpecError("", "empty", "nothing", "an expression", "", "the expression is empty"),)
    if unwanted := _UNWANTED.search(text):
        return (
            _error(
                "character",
                repr(unwanted.group()),
                "letters, digits, brackets and + - * / < > = , .",
                f"character {unwanted.group()!a} is not part of the language",
                unwanted.start() + 1,
            ),
        )
    reader = _Reader(text)
    try:
        node = reader.expression(_OR)
        if reader.at < reader.last:
            reader.stray()
    except _Broken:
        return tuple(reader.errors)
    if node is None or reader.errors:
        return tuple(reader.errors)
    return _within_bounds(node)


def _within_bounds(node: Node) -> Node | tuple[SpecError, ...]:
    errors = []
    if node.depth > MAX_DEPTH:
        errors.append(_bound("depth", node.depth, MAX_DEPTH, "levels"))
    if len(node.text) > MAX_CHARACTERS:
        errors.append(_bound("length", len(node.text), MAX_CHARACTERS, "characters in its full form"))
    if error := too_large(node):
        errors.append(error)
    if node.largest > canonical.MOST:
        errors.append(SpecError("", "number", "an extreme number", _NUMBERS, "", f"a number comes out {_EXTREME}"))
    return tuple(errors) or node


class _Reader:
    """Reads the tokens of one text from left to right and notes what is wrong; a part that is wrong reads as None."""

    def __init__(self, text: str, *, whole_calls: bool = True, before: int = 0) -> None:
        self.text = text
        self.before = before
        self.errors: list[SpecError] = []
        found = list((_TOKEN_OR_CALL if whole_calls else _TOKEN).finditer(text))
        # The last group of a token is the one that matched; the whole call, where it is tried, comes first.
        self.kinds = [(token.lastindex or _SIGN) - whole_calls for token in found]
        self.words = [token[token.lastindex or _SIGN] for token in found]
        self.starts = [token.start(token.lastindex or _SIGN) for token in found]
        self.last = len(found)
        self.kinds.append(_SIGN)
        self.words.append("")
        self.starts.append(len(text))
        self.at = 0
        self.nesting = 0

    # --- operators

    def expression(self, least: int) -> Node | None:
        """Everything from here on that binds at least so tightly."""
        begin = self.at
        left = self._operand(least)
        while True:
            word = self.words[self.at]
            level = _LEVELS.get(word, 0)
            if level < least or level == 0:
                return left
            if level == _ADD:
                self.at += 1
                left = self._sum(left, word, self.expression(_TIMES), begin)
            elif word == "*":
                left = self._product(left, begin)
            elif level == _TIMES:
                self.at += 1
                left = self._quotient(left, self._operand(_TIMES + 1), begin)
            elif level == _COMPARE:
                left = self._comparison(left, begin)
            else:
                left = self._junction(left, word, level, begin)

    def _operand(self, least: int) -> Node | None:
        self.nesting += 1
        if self.nesting > _MAX_NESTING:
            self._say("depth", "deep nesting", f"{MAX_DEPTH} levels", f"nested deeper than {MAX_DEPTH} levels", self.at)
            raise _Broken
        begin, kind, word = self.at, self.kinds[self.at], self.words[self.at]
        self.at += 1
        if kind == _CALL:
            node = self._whole_call(word, begin)
        elif kind == _NAME:
            node = self._named(word, least, begin)
        elif kind == _NUMBER:
            node = self._number(word, begin)
        elif word == "(":
            node = self.expression(_OR)
            self._close(begin)
        elif word in ("-", "+"):
            node = self._operand(_TIMES + 1)
            if node is not None:
                numeric = self._is_numeric(node, "a sign", begin)
                node = (canonical.negate(node) if word == "-" else node) if numeric else None
        else:
            self.at = begin
            self.stray()
        self.nesting -= 1
        word = self.words[self.at]
        if word in _TIGHTER and (word != "(" or kind != _NAME):
            # What would bind tighter than any operator of ours.
            self.stray()
        return node

    def _named(self, word: str, least: int, begin: int) -> Node | None:
        if self.words[self.at] == "(" and word not in _OPERATOR_WORDS:
            return self._call(word, begin)
        if word == "not":
            if least > _NOT:
                self.at = begin
                self.stray()
            operand = self.expression(_NOT)
            if operand is None:
                return None
            return canonical.invert(operand) if self._is_condition(operand, "not", begin) else None
        if word in _OPERATOR_WORDS:
            self.at = begin
            self.stray()
        return self._name(word, begin)

    def _sum(self, left: Node | None, sign: str, right: Node | None, begin: int) -> Node | None:
        if left is None or right is None:
            return None
        if not (self._is_numeric(left, sign, begin) and self._is_numeric(right, sign, begin)):
            return None
        if not self._agree(left, right, "adds" if sign == "+" else "subtracts", begin):
            return None
        return self._bounded(canonical.add((left, right if sign == "+" else canonical.negate(right))), begin)

    def _product(self, first: Node | None, begin: int) -> Node | None:
        # All factors at once: a number is multiplied into a sum only where nothing else stands beside them.
        factors, legal = [first], True
        dimension = first.dimension if first is not None else Dimension.RATIO
        while self.words[self.at] == "*":
            self.at += 1
            left, right = factors[-1], self._operand(_TIMES + 1)
            factors.append(right)
            if left is None or right is None or not legal:
                continue
            if not (self._is_numeric(left, "*", begin) and self._is_numeric(right, "*", begin)):
                legal = False
            elif (together := product(dimension, right.dimension)) is None:
                self._meaningless(dimension, "times", right.dimension, begin)
                legal = False
            else:
                dimension = together
        known = [factor for factor in factors if factor is not None]
        if not legal or len(known) < len(factors):
            return None
        return self._bounded(canonical.multiply(known), begin)

    def _quotient(self, left: Node | None, right: Node | None, begin: int) -> Node | None:
        if left is None or right is None:
            return None
        if not (self._is_numeric(left, "/", begin) and self._is_numeric(right, "/", begin)):
            return None
        if right.is_number and right.value == 0.0:
            self._say("number", "/ 0", "a divisor other than 0", "division by zero", begin)
            return None
        if quotient(left.dimension, right.dimension) is None:
            self._meaningless(left.dimension, "divided by", right.dimension, begin)
            return None
        return self._bounded(canonical.divide(left, right), begin)

    def _bounded(self, node: Node, begin: int) -> Node | None:
        # Said at once: what is computed from such a number would not be what was written.
        if node.largest <= canonical.MOST:
            return node
        said = f"a number in {_short(self._written(begin))} comes out {_EXTREME}"
        self._say("number", "an extreme number", _NUMBERS, said, begin)
        return None

    def _comparison(self, first: Node | None, begin: int) -> Node | None:
        operands, signs = [first], []
        while _LEVELS.get(self.words[self.at]) == _COMPARE:
            signs.append(self.words[self.at])
            self.at += 1
            operands.append(self.expression(_ADD))
        parts: list[Node] = []
        for left, sign, right in zip(operands, signs, operands[1:], strict=False):
            if left is None or right is None:
                continue
            if Dimension.BOOLEAN in (left.dimension, right.dimension):
                self._say(
                    "dimension",
                    "a condition",
                    "two numbers",
                    "a condition cannot be compared",
                    begin,
                    "use it as it is, or with and, or, not",
                )
                continue
            if self._agree(left, right, "compares", begin):
                parts.append(canonical.compare(left, sign, right))
        if len(parts) < len(signs):
            return None
        return parts[0] if len(parts) == 1 else canonical.all_of(parts)

    def _junction(self, first: Node | None, word: str, level: int, begin: int) -> Node | None:
        read = [(first, begin)]
        while self.words[self.at] == word:
            self.at += 1
            here = self.at
            read.append((self.expression(level + 1), here))
        parts = [node for node, place in read if node is not None and self._is_condition(node, word, place)]
        if len(parts) < len(read):
            return None
        return canonical.all_of(parts) if word == "and" else canonical.any_of(parts)

    # --- leaves

    def _number(self, word: str, begin: int) -> Node | None:
        if not _DECIMAL.fullmatch(word):
            self._say("number", word, "a decimal number", f'"{word[:40]}" is not a number', begin)
            return None
        value = float(word)
        if not value <= canonical.MOST:
            self._say("number", "a huge number", _NUMBERS, f"the number is beyond {canonical.MOST:g}", begin)
            return None
        if value < canonical.LEAST and _NOT_ZERO.match(word):
            said = f"the number is nearer to 0 than {canonical.LEAST:g}"
            self._say("number", "a tiny number", _NUMBERS, said, begin, "write 0", nearest="0")
            return None
        return canonical.number(value)

    def _name(self, found: str, begin: int) -> Node | None:
        name = found.lower()
        field = _FIELD_NODES.get(FIELD_ALIASES.get(name, name))
        if field is not None:
            return field
        if name in _WORDS:
            return _WORDS[name]
        if name in SHORTHANDS:
            node = parse(SHORTHANDS[name])
            return node if isinstance(node, Node) else None
        function = FUNCTIONS.get(ALIASES.get(name, name))
        if function is not None:
            self._say(
                "unknown_name",
                found,
                ", ".join(FIELDS),
                f'"{found}" is a function and needs brackets',
                begin,
                f"as in {function.example}",
                nearest=function.example,
            )
            return None
        if self._known_elsewhere(found, begin, "name"):
            return None
        suggestion = nearest(name, [*FIELDS, *SHORTHANDS])
        self._say(
            "unknown_name",
            found,
            f"{', '.join(FIELDS)}, or feature(name)",
            f'unknown name "{found[:40]}"',
            begin,
            "" if suggestion else f"known are {', '.join(FIELDS)}, and feature(name) for further series",
            nearest=suggestion,
            ask=True,
        )
        return None

    # --- calls

    def _whole_call(self, text: str, begin: int) -> Node | None:
        node = _CALLS.get(text)
        if node is None:
            reader = _Reader(text, whole_calls=False, before=self.before + self.starts[begin])
            try:
                node = reader.expression(_OR)
            except _Broken:
                self.errors.extend(reader.errors)
                raise
            self.errors.extend(reader.errors)
            if node is not None and not reader.errors:
                if len(_CALLS) >= _MEMO_SIZE:
                    _CALLS.clear()
                _CALLS[text] = node
        return node

    def _call(self, found: str, begin: int) -> Node | None:
        name = found.lower()
        name = ALIASES.get(name, name)
        if name == "feature":
            return self._feature(begin)
        function = FUNCTIONS.get(name)
        if function is None:
            self._unknown_function(found, begin)
            # What stands in the brackets is still read, for its own errors.
            self._arguments(begin)
            return None
        given = self._arguments(begin)
        slots = self._slots(function, given, begin)
        if slots is None:
            return None
        args: list[Node] = []
        for parameter, part in slots:
            if part is None:
                args.append(canonical.number(float(parameter.default or 0.0)))
            elif part[1] is not None:
                arg = self._argument(function, parameter, part[1], part[2])
                if arg is not None:
                    args.append(arg)
        if len(args) < len(slots):
            return None
        return self._built(function, args, begin)

    def _arguments(self, begin: int) -> list[tuple[str, Node | None, int]]:
        """What stands in the brackets that open here: keyword or nothing, the node, and the place."""
        opening = self.at
        self.at += 1
        given: list[tuple[str, Node | None, int]] = []
        if self.words[self.at] == ")":
            self.at += 1
            return given
        while True:
            keyword, here = "", self.at
            if self.kinds[here] == _NAME and self.words[here + 1] == "=":
                keyword = self.words[here]
                self.at += 2
            elif given and given[-1][0]:
                self._say("syntax", self.words[here], "keywords last", "a plain argument follows a keyword", here)
                raise _Broken
            node = self.expression(_OR)
            given.append((keyword, node, here))
            if self.words[self.at] == ",":
                self.at += 1
                if self.words[self.at] != ")":
                    continue
            self._close(opening)
            return given

    def _close(self, opening: int) -> None:
        if self.words[self.at] != ")":
            if self.at < self.last:
                self.stray()
            self._say("syntax", "(", ")", "not an expression: this bracket is never closed", opening)
            raise _Broken
        self.at += 1

    def _slots(
        self, function: Function, given: list[tuple[str, Node | None, int]], begin: int
    ) -> list[tuple[Parameter, tuple[str, Node | None, int] | None]] | None:
        """Each parameter with what was written for it; None as the part stands for its default."""
        parameters = function.parameters
        if len(given) == len(parameters) and not (given and given[-1][0]):
            return list(zip(parameters, given, strict=True))
        names = [parameter.name for parameter in parameters]
        placed = {}
        plain = [part for part in given if not part[0]]
        if len(plain) > len(parameters):
            self._say(
                "arguments",
                f"{len(plain)} arguments",
                str(len(parameters)),
                f"{function.name} takes {len(parameters)} arguments, {len(plain)} are given",
                begin,
                _usage(function),
            )
            return None
        placed = dict(zip(names, plain, strict=False))
        for part in given[len(plain) :]:
            name = part[0] if part[0] in names else _KEYWORD_ALIASES.get(part[0], part[0])
            if name not in names:
                suggestion = nearest(name, names)
                self._say(
                    "arguments",
                    name,
                    ", ".join(names),
                    f'{function.name} has no parameter "{name[:40]}"',
                    begin,
                    _usage(function),
                    nearest=suggestion,
                )
                return None
            if name in placed:
                self._say("arguments", name, "each parameter once", f'{function.name} is given "{name}" twice', begin)
                return None
            placed[name] = part
        missing = [p.name for p in parameters if p.name not in placed and p.default is None]
        if missing:
            self._say(
                "arguments",
                f"{len(given)} arguments",
                function.signature,
                f"{function.name} needs {' and '.join(missing)}",
                begin,
                "; ".join(filter(None, (_usage(function), BESIDE.get(function.name)))),
                nearest=function.example,
            )
            return None
        return [(parameter, placed.get(parameter.name)) for parameter in parameters]

    def _argument(self, function: Function, parameter: Parameter, node: Node, place: int) -> Node | None:
        rule = parameter.rule
        if parameter.kind in ("window", "number"):
            return self._literal(parameter, node, f"{function.name}'s {parameter.name}", place)
        if node.op in (NUMBER, BOOLEAN) and (parameter.kind == "series" or node.op == BOOLEAN):
            where = f"{function.name}'s {parameter.name}"
            self._say(
                "arguments",
                node.text,
                "a series",
                f"{where} must be a series, {node.text} never changes",
                place,
                f"as in {function.example}",
                nearest=function.example,
            )
            return None
        if rule is Dimension.BOOLEAN:
            return node if self._is_condition(node, f"{function.name}'s {parameter.name}", place) else None
        if node.dimension is Dimension.BOOLEAN:
            self._is_numeric(node, f"{function.name}'s {parameter.name}", place)
            return None
        if isinstance(rule, Dimension) and node.dimension is not rule:
            if rule is Dimension.RATIO and node.dimension is Dimension.COUNT:
                return node
            where = f"{function.name}'s {parameter.name}"
            self._say(
                "dimension",
                IN_WORDS[node.dimension],
                IN_WORDS[rule],
                f"{where} must be {IN_WORDS[rule]}, {_short(node.text)} is {IN_WORDS[node.dimension]}",
                place,
                "divide it by something of its kind, or drop its unit with unitless(x)",
            )
            return None
        return node

    def _literal(self, parameter: Parameter, node: Node, where: str, place: int) -> Node | None:
        counts = parameter.kind == "window"
        whole = not (counts or parameter.whole) or node.value.is_integer()
        if node.is_number and whole and parameter.low <= node.value <= parameter.high:
            return node
        bounds = f"{parameter.low:g} to {parameter.high:g}"
        if not node.is_number:
            self._say("arguments", node.text, f"a number, {bounds}", f"{where} must be a plain number, {bounds}", place)
            return None
        if not whole:
            said = f"{where} {'counts bars and ' if counts else ''}must be whole"
            near = min(max(round(node.value), parameter.low), parameter.high)
            self._say("window", node.text, f"a whole number, {bounds}", said, place, nearest=f"{near:g}")
            return None
        future = node.value < 0 and parameter.kind == "window"
        hint = "a negative one would look into the future" if future else ""
        near = min(max(node.value, parameter.low), parameter.high)
        self._say(
            "window",
            node.text,
            bounds,
            f"{where} is {node.text}, allowed is {bounds}",
            place,
            hint,
            nearest=f"{near:g}",
        )
        return None

    def _built(self, function: Function, args: list[Node], begin: int) -> Node | None:
        same: list[Node] = []
        values = moving = windows = 0
        numbers: list[float] = []
        for parameter, arg in zip(function.parameters, args, strict=True):
            kind = parameter.kind
            if kind in ("window", "number"):
                numbers.append(arg.value)
                if kind == "window":
                    windows = max(windows, int(arg.value))
                continue
            values += kind == "value"
            moving += not arg.is_number
            if parameter.rule == "same":
                same.append(arg)
        for other in same[1:]:
            if not self._agree(same[0], other, "mixes", begin):
                return None
        if values and not moving:
            self._say("arguments", "two numbers", "a series", f"{function.name} needs at least one series", begin)
            return None
        if function.refuses is not None and (why := function.refuses(*numbers)):
            said = f"{function.name}'s {why}"
            self._say("arguments", self._written(begin), function.signature, said, begin, nearest=function.example)
            return None
        if isinstance(function.result, Dimension):
            dimension = function.result
        else:
            dimension = common(arg.dimension for arg in same if not arg.is_number) or Dimension.RATIO
        work = max(windows, 1) if function.scans else 4
        return canonical.function(function.name, args, dimension, warmup=function.warmup(*numbers), work=work)

    def _feature(self, begin: int) -> Node | None:
        words, at = self.words, self.at
        if self.kinds[at + 1] != _NAME or words[at + 2] != ")":
            self._say(
                "arguments",
                "feature(...)",
                "feature(name)",
                "feature takes one plain name",
                begin,
                "as in feature(news)",
            )
            raise _Broken
        self.at += 3
        return canonical.feature(words[at + 1])

    def _unknown_function(self, found: str, begin: int) -> None:
        name = found.lower()
        if name in FIELDS:
            self._say(
                "unknown_function",
                found,
                name,
                f'"{found}" is a field, not a function',
                begin,
                f"write {name}, or lag({name}, 1) for the bar before",
                nearest=name,
            )
            return
        if self._known_elsewhere(found, begin, "function"):
            return
        suggestion = nearest(name, [*FUNCTIONS, *ALIASES])
        self._say(
            "unknown_function",
            found,
            ", ".join(FUNCTIONS),
            f'unknown function "{found[:40]}"',
            begin,
            nearest=ALIASES.get(suggestion, suggestion),
            ask=True,
        )

    def _known_elsewhere(self, found: str, begin: int, what: str) -> bool:
        """Whether other libraries know the name, and what to write instead has been said."""
        name = found.lower()
        if name in ELSEWHERE:
            advice, instead = ELSEWHERE[name]
        elif instead := spelt_out(name, FUNCTIONS, ALIASES):
            advice = f"write {instead}"
        else:
            return False
        said = f'"{found[:40]}" is no {what} here'
        self._say(
            f"unknown_{what}", found, "functions and fields of the language", said, begin, advice, nearest=instead
        )
        return True

    # --- sentences

    def stray(self) -> None:
        """What stands here fits nowhere; the grammar breaks."""
        word = self.words[self.at]
        if not word:
            self._say("syntax", "the end", "an operand", "not an expression: it ends too early", self.at)
        elif word in _FOREIGN:
            said, hint = _FOREIGN[word]
            self._say("syntax", word, _ALLOWED, said, self.at, hint, nearest=_NEAREST.get(word, ""))
        elif word == "(":
            self._say("syntax", "a call", "a function's plain name", "only a plain name can be called", self.at)
        else:
            self._say("syntax", word[:40], _ALLOWED, f'not an expression: "{word[:40]}" is not expected', self.at)
        raise _Broken

    def _written(self, begin: int) -> str:
        """The text from a token up to where the reader stands."""
        end = self.starts[self.at - 1] + len(self.words[self.at - 1])
        return self.text[self.starts[begin] : end]

    def _agree(self, left: Node, right: Node, verb: str, begin: int) -> bool:
        if left.dimension is right.dimension and left.is_number is right.is_number:
            return True
        for this, other in ((left, right), (right, left)):
            if this.is_number and (this.value == 0.0 or other.dimension in (Dimension.RATIO, Dimension.COUNT)):
                return True
        if left.is_number is right.is_number and common((left.dimension, right.dimension)):
            return True
        this, other = (right, left) if left.is_number else (left, right)
        text = self._written(begin)
        join = _JOIN.get(verb, "with")
        if other.is_number:
            what = IN_WORDS[this.dimension]
            level = "a level in currency" if this.dimension is Dimension.PRICE else "such a level"
            example = _INSTEAD[this.dimension]
            advice = "compare" if verb == "compares" else "combine it"
            message = (
                f"{_short(text)} {verb} {what} {join} a plain number; {level} means nothing on another market:"
                f" {advice} with another {what.split(' ', 1)[1]}, e.g. {example}"
            )
            allowed, nearest_text = what, example
        else:
            message = (
                f"{_short(text)} {verb} {IN_WORDS[left.dimension]} {join} {IN_WORDS[right.dimension]};"
                " make ratios of both, e.g. close / sma(close, 100)"
            )
            allowed, nearest_text = "two of a kind", ""
        self._say(
            "dimension",
            f"{left.dimension} and {right.dimension}",
            allowed,
            message,
            begin,
            nearest=nearest_text,
            column=False,
        )
        return False

    def _meaningless(self, left: Dimension, verb: str, right: Dimension, begin: int) -> None:
        what = f"{IN_WORDS[left]} {verb} {IN_WORDS[right]}"
        said = f"{_short(self._written(begin))} is {what}, which has no meaning here"
        self._say(
            "dimension",
            what,
            "a ratio on one side, or two of a kind divided",
            said,
            begin,
            "make a ratio first, e.g. close / sma(close, 100)",
        )

    def _is_condition(self, node: Node, where: str, begin: int) -> bool:
        if node.dimension is Dimension.BOOLEAN:
            return True
        what = IN_WORDS[node.dimension]
        self._say(
            "dimension",
            what,
            "a condition",
            f"{where} needs a condition, {_short(node.text)} is {what}",
            begin,
            f"compare it, e.g. {_short(node.text)} > {_INSTEAD[node.dimension]}",
        )
        return False

    def _is_numeric(self, node: Node, where: str, begin: int) -> bool:
        if node.dimension is not Dimension.BOOLEAN:
            return True
        self._say(
            "dimension",
            "a condition",
            "a number",
            f"{where} needs a number, {_short(node.text)} is a condition",
            begin,
            "where(condition, 1, 0) makes a number of it",
        )
        return False

    def _say(
        self,
        rule: str,
        found: str,
        allowed: str,
        message: str,
        token: int,
        hint: str = "",
        *,
        nearest: str = "",
        ask: bool = False,
        column: bool = True,
    ) -> None:
        sentence = f"{message} (column {self.before + self.starts[token] + 1})" if column else message
        if ask:
            sentence += did_you_mean(nearest)
        if hint:
            sentence += f"; {hint}"
        self.errors.append(SpecError("", rule, found, allowed, nearest, sentence))


_KEYWORD_ALIASES = dict.fromkeys(("length", "period", "n", "timeperiod"), "window")
_JOIN = {"adds": "and", "subtracts": "and", "compares": "with"}
_INSTEAD = {
    Dimension.PRICE: "sma(close, 100)",
    Dimension.VOLUME: "sma(volume, 20)",
    Dimension.VALUE: "adv(20)",
    Dimension.COUNT: "5",
    Dimension.RATIO: "0",
    Dimension.BOOLEAN: "True",
}


def _usage(function: Function) -> str:
    return f"it is {function.signature}, as in {function.example}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _error(rule: str, found: str, allowed: str, message: str, column: int | None) -> SpecError:
    return SpecError("", rule, found, allowed, "", f"{message} (column {column})" if column else message)


def _bound(rule: str, found: int, limit: int, unit: str) -> SpecError:
    return SpecError(
        "", rule, str(found), f"at most {limit}", str(limit), f"the rule has {found} {unit}, allowed are {limit}"
    )
