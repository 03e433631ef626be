"""parse: text to a typed canonical tree, or to everything that is wrong with it.

Python's own grammar reads the text (`ast.parse`), our own walker decides: only what is listed here exists, nothing is
ever evaluated or compiled. Bytes are bounded before the grammar sees them; depth, nodes, windows and work are bounded
before anything is computed. Errors are values and all are collected; columns count from 1.
"""

import ast
import re

from agents.strategy.expression import canonical
from agents.strategy.expression.nodes import BOOLEAN, NUMBER, Node, distinct_nodes
from agents.strategy.expression.types import IN_WORDS, Dimension, common, product, quotient
from agents.strategy.indicators import (
    ALIASES,
    COMMUTATIVE,
    FIELD_ALIASES,
    FIELDS,
    FUNCTIONS,
    Function,
    Parameter,
)
from agents.strategy.spec_error import SpecError, did_you_mean, nearest

MAX_CHARACTERS = 512
MAX_DEPTH = 16
MAX_NODES = 200
MAX_WORK = 10_000
MAX_NUMBER = 1e12
# What texts have been read as, and their canonical texts too; forgetting changes nothing but time.
_MEMO_SIZE = 8192
_MEMO: dict[str, "Node | tuple[SpecError, ...]"] = {}
# Brackets and chains of the text may nest deeper than the tree they make; this only guards our own recursion.
_MAX_NESTING = 64

_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}

_HINTS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Subscript: ("square brackets are not part of the language", "for the value two bars ago write lag(close, 2)"),
    ast.Attribute: ("dots are not part of the language", "write a plain name or a function call"),
    ast.IfExp: ("if ... else is not part of the language", "write where(condition, x, y)"),
    ast.Lambda: ("lambda is not part of the language", "write the condition itself"),
    ast.NamedExpr: ("assignments are not part of the language", "write the expression out"),
    ast.JoinedStr: ("text is not part of the language", "write numbers, fields and functions"),
}

_NUMBER_THEN_LETTER = re.compile(r"(?<![A-Za-z0-9_.])\d[\d.]*+(?:[eE][+-]?\d++)?+([A-Za-z_]\w*)")
_UNWANTED = re.compile(r"[^\x20-\x7e]|[#\\`$?@;{}]")
_WORDS = {"true": True, "false": False}


def parse(text: str) -> Node | tuple[SpecError, ...]:
    """The tree of an expression, or all errors found in it; paths are left empty for the caller to fill.

    Never raises, whatever the text.
    """
    if len(text) > MAX_CHARACTERS:
        return (_bound("length", len(text), MAX_CHARACTERS, "characters"),)
    known = _MEMO.get(text)
    if known is None:
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
    if glued := _NUMBER_THEN_LETTER.search(text):
        return (
            _error(
                "number", glued.group(), "a decimal number", f'"{glued.group()}" is not a number', glued.start() + 1
            ),
        )
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as broken:
        hint = _syntax_hint(text)
        said = (broken.msg or "invalid syntax").split(". ")[0]
        return (
            _error(
                "syntax", text, "one expression in Python's syntax", f"not an expression: {said}{hint}", broken.offset
            ),
        )
    except (RecursionError, MemoryError, ValueError, OverflowError):
        return (
            SpecError(
                "", "syntax", text[:60], "a shallow expression", "", "the expression is nested too deeply to read"
            ),
        )
    walker = _Walker()
    node = walker.read(tree, 0)
    if node is None or walker.errors:
        return tuple(walker.errors)
    return _within_bounds(node)


def _within_bounds(node: Node) -> Node | tuple[SpecError, ...]:
    errors = []
    if node.depth > MAX_DEPTH:
        errors.append(_bound("depth", node.depth, MAX_DEPTH, "levels"))
    if len(node.text) > MAX_CHARACTERS:
        errors.append(_bound("length", len(node.text), MAX_CHARACTERS, "characters in its full form"))
    if error := too_large(node):
        errors.append(error)
    if any(part.is_number and not abs(part.value) <= MAX_NUMBER for part in distinct_nodes(node)):
        errors.append(
            SpecError(
                "", "number", "a huge number", f"at most {MAX_NUMBER:g}", "", f"a number is beyond {MAX_NUMBER:g}"
            )
        )
    return tuple(errors) or node


class _Walker:
    """Reads one tree of `ast` and collects what is wrong with it; a part that is wrong reads as None."""

    def __init__(self) -> None:
        self.errors: list[SpecError] = []

    def read(self, tree: ast.expr, nesting: int) -> Node | None:
        if nesting > _MAX_NESTING:
            self._say("depth", "deep nesting", f"{MAX_DEPTH} levels", f"nested deeper than {MAX_DEPTH} levels", tree)
            return None
        match tree:
            case ast.Constant():
                return self._constant(tree)
            case ast.Name():
                return self._name(tree)
            case ast.UnaryOp():
                return self._unary(tree, nesting + 1)
            case ast.BinOp():
                return self._binary(tree, nesting + 1)
            case ast.Compare():
                return self._comparison(tree, nesting + 1)
            case ast.BoolOp():
                return self._junction(tree, nesting + 1)
            case ast.Call():
                return self._call(tree, nesting + 1)
        said, hint = _HINTS.get(
            type(tree), (f"{type(tree).__name__} is not part of the language", "write it in other words")
        )
        self._say(
            "syntax",
            type(tree).__name__,
            "numbers, fields, functions, + - * /, comparisons, and, or, not",
            said,
            tree,
            hint,
        )
        return None

    # --- leaves

    def _constant(self, tree: ast.Constant) -> Node | None:
        value = tree.value
        if isinstance(value, bool):
            return canonical.boolean(value)
        if isinstance(value, int | float):
            # An int too long for a float compares without overflowing.
            if not abs(value) <= MAX_NUMBER:
                self._say(
                    "number", "a huge number", f"at most {MAX_NUMBER:g}", f"the number is beyond {MAX_NUMBER:g}", tree
                )
                return None
            return canonical.number(float(value))
        self._say("syntax", "text", "numbers, fields and functions", "text is not part of the language", tree)
        return None

    def _name(self, tree: ast.Name) -> Node | None:
        name = FIELD_ALIASES.get(tree.id.lower(), tree.id.lower())
        if name in FIELDS:
            return canonical.field(name, FIELDS[name])
        if name in _WORDS:
            return canonical.boolean(_WORDS[name])
        function = FUNCTIONS.get(ALIASES.get(name, name))
        if function is not None:
            self._say(
                "unknown_name",
                tree.id,
                ", ".join(FIELDS),
                f'"{tree.id}" is a function and needs brackets',
                tree,
                f"as in {function.example}",
                nearest=function.example,
            )
            return None
        suggestion = nearest(name, FIELDS)
        self._say(
            "unknown_name",
            tree.id,
            f"{', '.join(FIELDS)}, or feature(name)",
            f'unknown name "{tree.id}"',
            tree,
            "" if suggestion else f"known are {', '.join(FIELDS)}, and feature(name) for further series",
            nearest=suggestion,
            ask=True,
        )
        return None

    # --- operators

    def _unary(self, tree: ast.UnaryOp, nesting: int) -> Node | None:
        operand = self.read(tree.operand, nesting)
        if operand is None:
            return None
        if isinstance(tree.op, ast.Not):
            return canonical.invert(operand) if self._is_condition(operand, "not", tree) else None
        if isinstance(tree.op, ast.USub | ast.UAdd):
            if not self._is_numeric(operand, "a sign", tree):
                return None
            return canonical.negate(operand) if isinstance(tree.op, ast.USub) else operand
        self._say("syntax", "~", "not", "~ is not part of the language", tree, "write not")
        return None

    def _binary(self, tree: ast.BinOp, nesting: int) -> Node | None:
        left, right = self.read(tree.left, nesting), self.read(tree.right, nesting)
        if left is None or right is None:
            return None
        match tree.op:
            case ast.Add() | ast.Sub():
                sign = "+" if isinstance(tree.op, ast.Add) else "-"
                if not (self._is_numeric(left, sign, tree) and self._is_numeric(right, sign, tree)):
                    return None
                if not self._agree(left, right, "adds" if sign == "+" else "subtracts", tree):
                    return None
                return canonical.add((left, right if sign == "+" else canonical.negate(right)))
            case ast.Mult():
                if not (self._is_numeric(left, "*", tree) and self._is_numeric(right, "*", tree)):
                    return None
                if product(left.dimension, right.dimension) is None:
                    self._meaningless(left, "times", right, tree)
                    return None
                return canonical.multiply((left, right))
            case ast.Div():
                if not (self._is_numeric(left, "/", tree) and self._is_numeric(right, "/", tree)):
                    return None
                if right.is_number and right.value == 0.0:
                    self._say("number", "/ 0", "a divisor other than 0", "division by zero", tree)
                    return None
                if quotient(left.dimension, right.dimension) is None:
                    self._meaningless(left, "divided by", right, tree)
                    return None
                return canonical.divide(left, right)
            case ast.BitAnd() | ast.BitOr():
                word = "and" if isinstance(tree.op, ast.BitAnd) else "or"
                sign = "&" if word == "and" else "|"
                self._say(
                    "syntax", sign, word, f'"{sign}" is not part of the language', tree, f"write {word}", nearest=word
                )
            case ast.Pow():
                self._say(
                    "syntax",
                    "**",
                    "+ - * /",
                    '"**" is not part of the language',
                    tree,
                    "write the product out, or sqrt(x)",
                )
            case _:
                self._say(
                    "syntax", type(tree.op).__name__, "+ - * /", "this operator is not part of the language", tree
                )
        return None

    def _comparison(self, tree: ast.Compare, nesting: int) -> Node | None:
        operands = [self.read(part, nesting) for part in (tree.left, *tree.comparators)]
        parts: list[Node] = []
        for left, sign, right in zip(operands, tree.ops, operands[1:], strict=False):
            if type(sign) not in _SIGNS:
                self._say(
                    "syntax", type(sign).__name__, "< <= > >= == !=", '"is" and "in" are not part of the language', tree
                )
                return None
            if left is None or right is None:
                continue
            if Dimension.BOOLEAN in (left.dimension, right.dimension):
                self._say(
                    "dimension",
                    "a condition",
                    "two numbers",
                    "a condition cannot be compared",
                    tree,
                    "use it as it is, or with and, or, not",
                )
                continue
            if self._agree(left, right, "compares", tree):
                parts.append(canonical.compare(left, _SIGNS[type(sign)], right))
        return canonical.all_of(parts) if len(parts) == len(tree.ops) else None

    def _junction(self, tree: ast.BoolOp, nesting: int) -> Node | None:
        word = "and" if isinstance(tree.op, ast.And) else "or"
        read = [(self.read(part, nesting), part) for part in tree.values]
        parts = [node for node, part in read if node is not None and self._is_condition(node, word, part)]
        if len(parts) < len(read):
            return None
        return canonical.all_of(parts) if word == "and" else canonical.any_of(parts)

    # --- calls

    def _call(self, tree: ast.Call, nesting: int) -> Node | None:
        if not isinstance(tree.func, ast.Name):
            self._say("syntax", "a call", "a function's plain name", "only a plain name can be called", tree)
            return None
        found = tree.func.id
        name = ALIASES.get(found.lower(), found.lower())
        if name == "feature":
            return self._feature(tree)
        function = FUNCTIONS.get(name)
        if function is None:
            self._unknown_function(found, tree)
            return None
        slots = self._slots(function, tree)
        if slots is None:
            return None
        args: list[Node] = []
        for parameter, part in slots:
            arg = self._argument(function, parameter, part, nesting)
            if arg is not None:
                args.append(arg)
        if len(args) < len(slots):
            return None
        return self._built(function, args, tree)

    def _slots(self, function: Function, tree: ast.Call) -> list[tuple[Parameter, ast.expr | None]] | None:
        """Each parameter with what was written for it; None as the part stands for its default."""
        parameters = function.parameters
        names = [parameter.name for parameter in parameters]
        given: dict[str, ast.expr] = dict(zip(names, tree.args, strict=False))
        if len(tree.args) > len(parameters):
            self._say(
                "arguments",
                f"{len(tree.args)} arguments",
                str(len(parameters)),
                f"{function.name} takes {len(parameters)} arguments, {len(tree.args)} are given",
                tree,
                _usage(function),
            )
            return None
        for keyword in tree.keywords:
            name = keyword.arg or "**"
            if name not in names:
                name = _KEYWORD_ALIASES.get(name, name)
            if name not in names:
                suggestion = nearest(name, names)
                self._say(
                    "arguments",
                    name,
                    ", ".join(names),
                    f'{function.name} has no parameter "{name}"',
                    tree,
                    _usage(function),
                    nearest=suggestion,
                )
                return None
            if name in given:
                self._say("arguments", name, "each parameter once", f'{function.name} is given "{name}" twice', tree)
                return None
            given[name] = keyword.value
        missing = [p.name for p in parameters if p.name not in given and p.default is None]
        if missing:
            self._say(
                "arguments",
                f"{len(given)} arguments",
                function.signature,
                f"{function.name} needs {' and '.join(missing)}",
                tree,
                _usage(function),
                nearest=function.example,
            )
            return None
        return [(parameter, given.get(parameter.name)) for parameter in parameters]

    def _argument(self, function: Function, parameter: Parameter, part: ast.expr | None, nesting: int) -> Node | None:
        if part is None:
            return canonical.number(parameter.default or 0.0)
        node = self.read(part, nesting)
        if node is None:
            return None
        where = f"{function.name}'s {parameter.name}"
        if parameter.kind in ("window", "number"):
            return self._literal(parameter, node, where, part)
        if node.op in (NUMBER, BOOLEAN) and (parameter.kind == "series" or node.op == BOOLEAN):
            self._say(
                "arguments",
                node.text,
                "a series",
                f"{where} must be a series, {node.text} never changes",
                part,
                f"as in {function.example}",
                nearest=function.example,
            )
            return None
        is_condition = node.dimension is Dimension.BOOLEAN
        if parameter.rule is Dimension.BOOLEAN:
            return node if self._is_condition(node, where, part) else None
        if is_condition:
            self._is_numeric(node, where, part)
            return None
        if isinstance(parameter.rule, Dimension) and node.dimension is not parameter.rule:
            if parameter.rule is Dimension.RATIO and node.dimension is Dimension.COUNT:
                return node
            self._say(
                "dimension",
                IN_WORDS[node.dimension],
                IN_WORDS[parameter.rule],
                f"{where} must be {IN_WORDS[parameter.rule]}, {node.text} is {IN_WORDS[node.dimension]}",
                part,
                "divide it by something of its kind",
            )
            return None
        return node

    def _literal(self, parameter: Parameter, node: Node, where: str, part: ast.expr) -> Node | None:
        bounds = f"{parameter.low:g} to {parameter.high:g}"
        if not node.is_number:
            self._say("arguments", node.text, f"a number, {bounds}", f"{where} must be a plain number, {bounds}", part)
            return None
        if parameter.kind == "window" and not node.value.is_integer():
            self._say("window", node.text, f"a whole number, {bounds}", f"{where} counts bars and must be whole", part)
            return None
        if not parameter.low <= node.value <= parameter.high:
            future = node.value < 0 and parameter.kind == "window"
            hint = "a negative one would look into the future" if future else ""
            near = min(max(node.value, parameter.low), parameter.high)
            self._say(
                "window",
                node.text,
                bounds,
                f"{where} is {node.text}, allowed is {bounds}",
                part,
                hint,
                nearest=f"{near:g}",
            )
            return None
        return node

    def _built(self, function: Function, args: list[Node], tree: ast.Call) -> Node | None:
        pairs = list(zip(function.parameters, args, strict=True))
        same = [arg for parameter, arg in pairs if parameter.rule == "same"]
        moving = [arg for arg in same if not arg.is_number]
        values = [arg for parameter, arg in pairs if parameter.kind == "value"]
        for other in same[1:]:
            if not self._agree(same[0], other, "mixes", tree):
                return None
        if values and len(values) == len(pairs) and not moving:
            self._say("arguments", "two numbers", "a series", f"{function.name} needs at least one series", tree)
            return None
        if function.result == "same":
            dimension = common(arg.dimension for arg in moving) or Dimension.RATIO
        elif isinstance(function.result, Dimension):
            dimension = function.result
        else:
            raise TypeError(f"{function.name} has result {function.result!r}")
        name = function.name
        if name in COMMUTATIVE:
            args[:2] = sorted(args[:2], key=lambda arg: (arg.is_number, arg.text))
        if name in _MIRRORED:
            # Two series crossing: always "above". A level stands second.
            first, second = args
            if first.is_number or (name == "crosses_below" and not second.is_number):
                name, args = _MIRRORED[name], [second, first]
        numbers = [arg.value for parameter, arg in pairs if parameter.kind in ("window", "number")]
        windows = [arg.value for parameter, arg in pairs if parameter.kind == "window"]
        work = int(max(windows, default=1)) if function.scans else 4
        return canonical.call(name, tuple(args), dimension, warmup=function.warmup(*numbers), work=work)

    def _feature(self, tree: ast.Call) -> Node | None:
        if len(tree.args) != 1 or tree.keywords or not isinstance(tree.args[0], ast.Name):
            self._say(
                "arguments",
                "feature(...)",
                "feature(name)",
                "feature takes one plain name",
                tree,
                "as in feature(news)",
            )
            return None
        return canonical.feature(tree.args[0].id)

    def _unknown_function(self, found: str, tree: ast.Call) -> None:
        name = found.lower()
        if name in FIELDS:
            self._say(
                "unknown_function",
                found,
                name,
                f'"{found}" is a field, not a function',
                tree,
                f"write {name}, or lag({name}, 1) for the bar before",
                nearest=name,
            )
            return
        suggestion = nearest(name, [*FUNCTIONS, *ALIASES])
        self._say(
            "unknown_function",
            found,
            ", ".join(FUNCTIONS),
            f'unknown function "{found}"',
            tree,
            nearest=ALIASES.get(suggestion, suggestion),
            ask=True,
        )

    # --- sentences

    def _agree(self, left: Node, right: Node, verb: str, tree: ast.expr) -> bool:
        for this, other in ((left, right), (right, left)):
            if this.is_number and (this.value == 0.0 or other.dimension in (Dimension.RATIO, Dimension.COUNT)):
                return True
        if left.is_number is right.is_number and common((left.dimension, right.dimension)):
            return True
        this, other = (right, left) if left.is_number else (left, right)
        text = ast.unparse(tree)
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
            tree,
            nearest=nearest_text,
            column=False,
        )
        return False

    def _meaningless(self, left: Node, verb: str, right: Node, tree: ast.expr) -> None:
        what = f"{IN_WORDS[left.dimension]} {verb} {IN_WORDS[right.dimension]}"
        said = f"{_short(ast.unparse(tree))} is {what}, which has no meaning here"
        self._say(
            "dimension",
            what,
            "a ratio on one side, or two of a kind divided",
            said,
            tree,
            "make a ratio first, e.g. close / sma(close, 100)",
        )

    def _is_condition(self, node: Node, where: str, tree: ast.expr) -> bool:
        if node.dimension is Dimension.BOOLEAN:
            return True
        what = IN_WORDS[node.dimension]
        self._say(
            "dimension",
            what,
            "a condition",
            f"{where} needs a condition, {_short(node.text)} is {what}",
            tree,
            f"compare it, e.g. {_short(node.text)} > {_INSTEAD[node.dimension]}",
        )
        return False

    def _is_numeric(self, node: Node, where: str, tree: ast.expr) -> bool:
        if node.dimension is not Dimension.BOOLEAN:
            return True
        self._say(
            "dimension",
            "a condition",
            "a number",
            f"{where} needs a number, {_short(node.text)} is a condition",
            tree,
            "where(condition, 1, 0) makes a number of it",
        )
        return False

    def _say(
        self,
        rule: str,
        found: str,
        allowed: str,
        message: str,
        tree: ast.expr,
        hint: str = "",
        *,
        nearest: str = "",
        ask: bool = False,
        column: bool = True,
    ) -> None:
        sentence = f"{message} (column {tree.col_offset + 1})" if column else message
        if ask:
            sentence += did_you_mean(nearest)
        if hint:
            sentence += f"; {hint}"
        self.errors.append(SpecError("", rule, found, allowed, nearest, sentence))


_KEYWORD_ALIASES = dict.fromkeys(("length", "period", "n", "timeperiod"), "window")
_JOIN = {"adds": "and", "subtracts": "and", "compares": "with"}
_MIRRORED = {"crosses_above": "crosses_below", "crosses_below": "crosses_above"}
_INSTEAD = {
    Dimension.PRICE: "sma(close, 100)",
    Dimension.VOLUME: "sma(volume, 20)",
    Dimension.VALUE: "sma(close * volume, 20)",
    Dimension.COUNT: "5",
    Dimension.RATIO: "0",
    Dimension.BOOLEAN: "True",
}


def _usage(function: Function) -> str:
    return f"it is {function.signature}, as in {function.example}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _syntax_hint(text: str) -> str:
    if "&&" in text or "||" in text:
        return "; write and, or"
    if re.search(r"(?<![<>=!])=(?!=)", text):
        return "; a comparison for equality is written =="
    return ""


def _error(rule: str, found: str, allowed: str, message: str, column: int | None) -> SpecError:
    return SpecError("", rule, found, allowed, "", f"{message} (column {column})" if column else message)


def _bound(rule: str, found: int, limit: int, unit: str) -> SpecError:
    return SpecError(
        "", rule, str(found), f"at most {limit}", str(limit), f"the rule has {found} {unit}, allowed are {limit}"
    )
