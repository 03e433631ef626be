"""Plots: small SVG drawings with axes, names on hover, and attributes only, so that a strict policy lets them stand.

They are drawn by hand and not by a plotting library: those write their colours as inline styles, which the policy of a
page without script should refuse, and nothing that can be pointed at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10
from sys import float_info

from generator.interfaces.html.markup import Child, Markup, join, tag

INK, FAINT, GRID = "#3a3a3a", "#8a8a8a", "#e4e4e4"
WIDTH, HEIGHT = 860.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 16.0, 14.0, 40.0


@dataclass(frozen=True)
class Frame:
    """The coordinates of a plot: data to pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = WIDTH
    height: float = HEIGHT

    def at_x(self, value: float) -> float:
        """Pixel of a value on the x axis."""
        share = (value - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        return LEFT + share * (self.width - LEFT - RIGHT)

    def at_y(self, value: float) -> float:
        """Pixel of a value on the y axis."""
        share = (value - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)


@dataclass(frozen=True)
class Curve:
    """A line with a band: values at 1, 2, 3, ..."""

    name: str
    colour: str
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Dot:
    """One point of a lineage: where it stands, and the points that it comes from."""

    ref: str
    x: float
    y: float
    colour: str
    title: str
    parents: tuple[str, ...]
    strong: bool = False


def curves(found: Sequence[Curve], *, x_name: str, y_name: str) -> Markup:
    """Lines with their bands."""
    values = [v for curve in found for part in (curve.low, curve.high, curve.middle) for v in part if isfinite(v)]
    frame = Frame((1.0, max((len(c.middle) for c in found), default=2)), _span([*values, 0.0]))
    shapes: list[Child] = []
    for curve in found:
        places = [frame.at_x(i + 1.0) for i in range(len(curve.middle))]
        upper = _points(zip(places, map(frame.at_y, curve.high), strict=True))
        lower = _points(reversed(list(zip(places, map(frame.at_y, curve.low), strict=True))))
        shapes.append(tag("polygon", points=f"{upper} {lower}", fill=curve.colour, fill_opacity=0.13))
        line = _points(zip(places, map(frame.at_y, curve.middle), strict=True))
        shapes.append(
            tag("polyline", tag("title", curve.name), points=line, fill="none", stroke=curve.colour, stroke_width=2.0)
        )
    return _plot(frame, shapes, x_name, y_name)


def stacks(
    names: Sequence[str], parts: Mapping[str, tuple[str, Sequence[float]]], *, x_name: str, y_name: str
) -> Markup:
    """Stacked bars; `parts` is colour and one value a bar, by the name of the part."""
    totals = [sum(values[i] for _, values in parts.values()) for i in range(len(names))]
    frame = Frame((0.0, max(1, len(names))), (0.0, max([1.0, *totals])))
    shapes: list[Child] = []
    for i, name in enumerate(names):
        base = 0.0
        for part, (colour, values) in parts.items():
            if values[i] <= 0:
                continue
            left, right = frame.at_x(i + 0.08), frame.at_x(i + 0.92)
            top, bottom = frame.at_y(base + values[i]), frame.at_y(base)
            title = tag("title", f"{x_name} {name}: {part} {values[i]:g}")
            shapes.append(tag("rect", title, x=left, y=top, width=right - left, height=bottom - top, fill=colour))
            base += values[i]
    step = max(1, -(-len(names) // 16))
    marks = [(i + 0.5, name) for i, name in enumerate(names) if i % step == 0]
    return _plot(frame, shapes, x_name, y_name, marks)


def bars(rows: Sequence[tuple[str, float, str, str]]) -> Markup:
    """Lying bars: name, value, colour, and the value in words."""
    height, most = 26.0, max([value for _, value, _, _ in rows] or [1.0]) or 1.0
    shapes: list[Child] = []
    for i, (name, value, colour, words) in enumerate(rows):
        y = 6.0 + i * height
        shapes += [
            _label(150.0, y + 14.0, name, anchor="end"),
            tag("rect", x=158.0, y=y, width=max(1.0, value / most * 480.0), height=height - 8.0, fill=colour),
            _label(166.0 + value / most * 480.0, y + 14.0, words),
        ]
    return _svg(WIDTH, 12.0 + len(rows) * height, shapes)


def grid(columns: Sequence[str], rows: Sequence[str], cells: Mapping[tuple[int, int], tuple[str, str, str]]) -> Markup:
    """A map: colour, short text and title by (column, row)."""
    side, high, left, top = 36.0, 22.0, 250.0, 96.0
    shapes: list[Child] = []
    for j, name in enumerate(rows):
        shapes.append(_label(left - 8.0, top + j * high + 15.0, name, anchor="end"))
    for i, name in enumerate(columns):
        x, y = left + i * side + side / 2.0 + 4.0, top - 8.0
        shapes.append(_label(x, y, name, transform=f"rotate(-45 {x:g} {y:g})"))
    for j in range(len(rows)):
        for i in range(len(columns)):
            colour, words, title = cells.get((i, j), ("#f6f6f6", "", ""))
            box = {"x": left + i * side + 1.0, "y": top + j * high + 1.0, "width": side - 2.0, "height": high - 2.0}
            shapes.append(tag("rect", *([tag("title", title)] if title else []), fill=colour, rx=2.0, **box))
            if words:
                shapes.append(
                    _label(left + i * side + side / 2.0, top + j * high + 15.0, words, anchor="middle", fill=INK)
                )
    # The last column's name leans out to the right.
    return _svg(left + len(columns) * side + 70.0, top + len(rows) * high + 8.0, shapes)


def lineage(dots: Sequence[Dot], *, x_name: str, y_name: str) -> Markup:
    """Points with lines to where they come from; the lines of a strong one are dark."""
    frame = Frame(
        (-1.0, max([1.0, *(dot.x + 1.0 for dot in dots)])), _span([0.0, *(dot.y for dot in dots)]), height=360.0
    )
    known = {dot.ref: dot for dot in dots}
    lines: list[Child] = []
    for dot in sorted(dots, key=lambda dot: dot.strong):
        for ref in dot.parents:
            if (parent := known.get(ref)) is None:
                continue
            strong = dot.strong and parent.strong
            lines.append(
                tag(
                    "line",
                    x1=frame.at_x(parent.x),
                    y1=frame.at_y(parent.y),
                    x2=frame.at_x(dot.x),
                    y2=frame.at_y(dot.y),
                    stroke=INK if strong else "#c4c4c4",
                    stroke_width=1.4 if strong else 0.6,
                )
            )
    points = [
        tag(
            "circle",
            tag("title", dot.title),
            cx=frame.at_x(dot.x),
            cy=frame.at_y(dot.y),
            r=4.5 if dot.strong else 3.2,
            fill=dot.colour,
            stroke=INK if dot.strong else "#ffffff",
            stroke_width=1.2 if dot.strong else 0.5,
        )
        for dot in dots
    ]
    return _plot(frame, [*lines, *points], x_name, y_name)


def legend(names: Mapping[str, str]) -> Markup:
    """Colour by name, in one line."""
    shapes: list[Child] = []
    x = LEFT
    for name, colour in names.items():
        shapes += [tag("rect", x=x, y=3.0, width=11.0, height=11.0, fill=colour, rx=2.0), _label(x + 16.0, 13.0, name)]
        x += 34.0 + 7.2 * len(name)
    return _svg(WIDTH, 20.0, shapes)


def shade(value: float | None, worst: float, best: float) -> str:
    """A colour for a score: grey where undefined, from pale to full green above 0, pale red below."""
    if value is None or not isfinite(value):
        return "#d9d9d9"
    share = min(1.0, abs(value) / ((best if value > 0 else -worst) or 1.0))
    full = (46, 139, 87) if value > 0 else (196, 92, 80)
    red, green, blue = (round(245 - (245 - part) * (0.2 + 0.8 * share)) for part in full)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _plot(
    frame: Frame,
    shapes: Sequence[Child],
    x_name: str,
    y_name: str,
    marks: Sequence[tuple[float, str]] | None = None,
) -> Markup:
    lines: list[Child] = []
    bottom, right = frame.height - BOTTOM, frame.width - RIGHT
    for value in _ticks(*frame.y):
        y = frame.at_y(value)
        lines.append(tag("line", x1=LEFT, y1=y, x2=right, y2=y, stroke=FAINT if value == 0 else GRID, stroke_width=1.0))
        lines.append(_label(LEFT - 8.0, y + 4.0, f"{value:g}", anchor="end"))
    for value, name in marks if marks is not None else [(v, f"{v:g}") for v in _ticks(*frame.x) if v == floor(v)]:
        lines.append(_label(frame.at_x(value), bottom + 16.0, name, anchor="middle"))
    lines.append(_label((LEFT + right) / 2.0, frame.height - 6.0, x_name, anchor="middle"))
    middle = (TOP + bottom) / 2.0
    lines.append(_label(14.0, middle, y_name, anchor="middle", transform=f"rotate(-90 14 {middle:g})"))
    return _svg(frame.width, frame.height, [*lines, *shapes])


def _svg(width: float, height: float, shapes: Sequence[Child]) -> Markup:
    box = f"0 0 {width:g} {height:g}"
    drawn = tag("svg", join(shapes), viewBox=box, width=width, height=height, role="img", font_size=12.0)
    # On a narrow screen it is moved sideways, as a wide table is: shrunk, nobody could read it.
    return tag("div", drawn, class_="wide")


def _label(x: float, y: float, words: str, *, anchor: str = "start", fill: str = "#5c5c5c", **more: str) -> Markup:
    return tag("text", words, x=x, y=y, text_anchor=anchor, fill=fill, **more)


def _points(places: object) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)  # type: ignore[attr-defined]


def _span(values: Sequence[float]) -> tuple[float, float]:
    known = [value for value in values if isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = 0.06 * ((high - low) or 1.0)
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about six of them."""
    rough = (high - low) / 6.0
    # Nothing apart, or by less than what has a logarithm.
    rough = rough if rough > float_info.min else 1.0 / 6.0
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1.0, 2.0, 5.0, 10.0) if unit * factor >= rough)
    first = floor(low / step) + (low % step > 0)
    return [round(first * step + i * step, 10) for i in range(12) if first * step + i * step <= high + 1e-9]
