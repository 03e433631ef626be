"""Function and Parameter: what one entry of the registry says, and the few ways in which entries are written.

An entry is data for many readers (parser, type checker, evaluator, prompts, docs, tests, random proposer); it never
computes by itself. NaN rule for all: a windowed function is NaN until its window is full, one missing bar spoils only
the windows that hold it; a recursive one skips the missing bar and keeps its state; a division by zero is NaN.
`nan_rule` says the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from agents.strategy.expression.types import Dimension

PRICE, RATIO, VOLUME, VALUE, COUNT, BOOLEAN = (
    Dimension.PRICE,
    Dimension.RATIO,
    Dimension.VOLUME,
    Dimension.VALUE,
    Dimension.COUNT,
    Dimension.BOOLEAN,
)

# A parameter or a result is of a fixed dimension; or "any" number; or "same", one dimension for all that say "same".
Rule = Dimension | Literal["any", "same"]

# series: an expression that moves; value: that or a literal number; window: a whole number of bars; number: a literal.
Kind = Literal["series", "value", "window", "number"]

WINDOWED = "NaN until the window is full; a missing bar spoils the windows that hold it"
RECURSIVE = "NaN until the first full window; a missing bar is skipped and the state kept"
POINTWISE = "NaN where an input is"
NO_RANGE = "as any window, and NaN where the range is 0"
NO_MOVE = "as any window, and NaN where nothing moved"
UNKNOWN_UNTIL_FULL = "unknown until the window is full"

BASIC = "elementary"
WILDER = "Wilder, New Concepts in Technical Trading Systems, 1978"

HLC = ("high", "low", "close")
OHLC = ("open", *HLC)

MAX_WINDOW = 1000


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function.

    Attributes:
        name: as it may be used as a keyword.
        kind: see `Kind`.
        rule: dimension of a series or value.
        default: value that may be left out; None if it must be given.
        low, high: bounds of a window or number, both allowed.
        grid: typical values of a window or number, for those who sample.
        whole: whether a number must be a whole one, as a window always must.
    """

    name: str
    kind: Kind
    rule: Rule = RATIO
    default: float | None = None
    low: float = 0.0
    high: float = 0.0
    grid: tuple[float, ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class Function:
    """One function of the language; the attributes are what people, prompts and proposers read.

    Attributes:
        name, family, formula, source, nan_rule: words.
        parameters: in order; those with a default come last.
        result: dimension of the result; "same" is that of the parameters that say "same".
        warmup: leading bars without a value, given the windows and numbers in order; on top of the arguments' own.
        compute: (bars, *arguments) -> (n_bars, n_assets) float64, or uint8 truth for a condition.
        example: a call that parses.
        aliases: other names that are accepted.
        reads: fields of the bars that it reads beside its arguments.
        scans: True if one bar costs a whole window.
        between: what `compute` makes of x now and x `window` bars ago, for a function of (x, window) that reads nothing
            else: with it some bars are computed without the others.
        lies_in: least and largest value, by construction or, for a volatility, on any market there is; None for no
            bounds. A comparison with a number beyond them says nothing.
        refuses: (windows and numbers in order) -> why they do not fit together, empty if they do.
        differs: where other libraries compute something else under this name, empty if none is known to.
        finite: True if `compute` itself leaves nothing infinite and warns of nothing, so that nobody has to look.
    """

    name: str
    family: str
    parameters: tuple[Parameter, ...]
    result: Rule
    warmup: Callable[..., int]
    compute: Callable[..., Any]
    formula: str
    source: str
    example: str
    nan_rule: str = WINDOWED
    aliases: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    scans: bool = False
    between: Callable[[Any, Any], Any] | None = None
    lies_in: tuple[float, float] | None = None
    refuses: Callable[..., str] | None = None
    differs: str = ""
    finite: bool = False

    @property
    def signature(self) -> str:
        """As `sma(x: any, window)`, for vocabularies."""
        parts = []
        for parameter in self.parameters:
            part = parameter.name
            if parameter.kind in ("series", "value"):
                part += f": {parameter.rule}"
            if parameter.default is not None:
                part += f" = {parameter.default:g}"
            parts.append(part)
        return f"{self.name}({', '.join(parts)}) -> {self.result}"


# --- parameters -------------------------------------------------------------------------------------------------------


def series(name: str = "x", rule: Rule = "same") -> Parameter:
    """An expression that moves."""
    return Parameter(name, "series", rule)


def value(name: str, rule: Rule = "same") -> Parameter:
    """An expression that moves, or a literal number."""
    return Parameter(name, "value", rule)


def bars_back(
    default: int | None = None,
    *,
    name: str = "window",
    low: int = 1,
    high: int = MAX_WINDOW,
    grid: tuple[int, ...] = (5, 10, 20, 50, 100, 200),
) -> Parameter:
    """A whole number of bars."""
    return Parameter(name, "window", COUNT, default, low, high, grid)


def number(
    name: str, default: float, low: float, high: float, grid: tuple[float, ...], *, whole: bool = False
) -> Parameter:
    """A literal number."""
    return Parameter(name, "number", RATIO, default, low, high, grid, whole)


def multiple(default: float) -> Parameter:
    """How many ranges or deviations a band stands off."""
    return number("multiple", default, 0.1, 10.0, (1.0, 1.5, 2.0, 2.5, 3.0))


CONDITION = series("condition", BOOLEAN)
SHORT = (2, 3, 5, 10, 14, 20)
SWING = (5, 10, 14, 20, 30, 50)

# --- warm-up rules: leading bars without a value, from the windows and numbers in order -------------------------------


def none(*_: float) -> int:
    """A value from the first bar on."""
    return 0


def one(*_: float) -> int:
    """Needs the bar before."""
    return 1


def window(length: float, *_: float) -> int:
    """Needs a whole window before this bar."""
    return int(length)


def window_less_one(length: float, *_: float) -> int:
    """Needs a full window that ends with this bar."""
    return int(length) - 1
