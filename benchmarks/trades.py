"""Do all sides make the same trades? Entry and exit bar of every trade of every candidate, compared one by one."""

from typing import Any

import works

Trades = list[list[list[int]]]
"""By candidate: entry bar and exit bar of every trade, in order; -1 for an exit that has not come."""

# Peers that are asked for some candidates only, at equal distances: a Python loop a bar takes its time.
PEERS = {
    "vectorbt": ("a", "b1000", "c"),
    "raptorbt": ("a", "b1000", "c fixed"),
    "backtesting.py": ("a", "b1000", "c"),
}
WORKS = ("a", "b1000", "c", "c fixed")


def compared(ours: Trades, theirs: Trades) -> dict[str, int]:
    """How many candidates have as many trades, how many the same ones, and how many trades are in both lists."""
    ours = works.some(ours, len(theirs))
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "candidates": len(pairs),
        "same_number": sum(len(mine) == len(other) for mine, other in pairs),
        "same_trades": sum(mine == other for mine, other in pairs),
        "theirs": sum(map(len, theirs)),
        "ours": sum(map(len, ours)),
        "in_both": sum(len(set(map(tuple, mine)) & set(map(tuple, other))) for mine, other in pairs),
    }


def found(sides: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By work and peer what `compared` says, or the error; `sides` answer `trades WORK` (see run.py)."""
    mine = {work: sides["touchstone"].ask(f"trades {work}") for work in WORKS}
    out: dict[str, dict[str, Any]] = {}
    for name, known in PEERS.items():
        for work in known if name in sides else ():
            answer = sides[name].ask(f"trades {work}")
            wrong = mine[work].get("error") or answer.get("error")
            cell = {"error": wrong} if wrong else compared(mine[work]["trades"], answer["trades"])
            out.setdefault(work, {})[name] = cell
    return out


def section(trades: dict[str, dict[str, Any]]) -> list[str]:
    """The lines of docs/performance.md."""
    lines = [
        "", "### Trade by trade", "",
        "Entry and exit bar of every trade, ours by the general engine. backtesting.py is asked for 20 candidates of "
        "b1000 and 5 of c, whose levels it is told from the next open. Of c, raptorbt can say a lighter rule only "
        "(`c fixed`): a stop that does not trail, an exit at RSI > 70, and an entry only at the first signal since the "
        "last exit signal; ours is given those entries. What is left there: its target is a share of the fill, ours "
        "of the close that decided, and its ATR begins a bar earlier.", "",
        "| work | peer | candidates | same number of trades | same trades | trades: theirs, ours | in both |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for work, cells in trades.items():
        for name, cell in cells.items():
            if "error" in cell:
                lines.append(f"| {work} | {name} | failed: {cell['error'][:80]} | | | | |")
                continue
            lines.append(
                f"| {work} | {name} | {cell['candidates']} | {cell['same_number']} | {cell['same_trades']} | "
                f"{cell['theirs']:,}, {cell['ours']:,} | {cell['in_both']:,} |"
            )
    return lines
