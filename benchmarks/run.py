"""Time our side beside the peers, in turns, and write benchmarks/results.json and docs/performance.md.

Usage: python benchmarks/run.py [--rounds N] [--peers FOLDER] [--only WORK,...] [--trades]. With --trades nothing is
timed: the trades are compared anew, and the figures of before are kept. The peers' environments are made by
benchmarks/peers.sh; a peer without an environment is left out, and said so. Every round asks every side for one run of
every work, so that whatever else happens on the machine happens to all of them.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import trades
import works

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"
OURS = (
    "a",
    "a warm",
    "a simulate",
    "b1000",
    "b1000 reports",
    "b10000",
    "c",
    "d",
    "e",
    "x",
    "x report",
    "population",
    "population warm",
    "plan",
    "long",
    "loop",
)
PEERS = {
    "vectorbt": (
        "peer_vectorbt.py",
        {"COLD": "b10000,e,trades a,trades b1000,trades c"},
        ("a", "b1000", "b10000", "c", "d", "e", "x"),
    ),
    "vectorbt-rust": ("peer_vectorbt.py", {"ENGINE": "rust"}, ("a", "b1000", "x")),
    "raptorbt": ("peer_raptorbt.py", {}, ("a", "b1000", "b10000", "c", "d")),
    "backtesting.py": ("peer_backtesting.py", {}, ("a",)),
}
# Works of which one run takes a peer so long that one of several rounds has to do.
# Works whose memory is measured in a process of their own, with so many threads.
ALONE = {"b10000": 1, "e": 2}
SELDOM = {("vectorbt", "b10000"), ("vectorbt", "e")}
RETURNS = {
    "touchstone": "a, a warm, d, b1000 reports: equity curve, trades with their excursions, 35 metrics (exposure and "
    "turnover curves when a report is opened). a warm: its averages and comparisons kept from before, as raptorbt is "
    "handed its signals. a simulate: the same report by the general engine, and x report. Elsewhere 6 gate "
    "metrics a candidate and window (final equity, trades, mean, variance, Sharpe ratio, drawdown), no curve; e: they "
    "for every account, and for every pair the mean of its 500 accounts as a curve with the same 6 metrics",
    "vectorbt": "order records, final value, trade count, Sharpe ratio, drawdown; indicators included. c is an order "
    "function of its own with our rules, since its built-in trailing stop is another one",
    "raptorbt": "48 metrics, trades, equity, drawdown and return curves; signals of a, b1000, c, d ready before",
    "backtesting.py": "its statistics, trades and equity curve; indicators included",
}
# id: (work, sides compared, factor wanted, absolute goal in ms or None); from the targets of the project.
TARGETS: tuple[tuple[str, str, str, float | None, dict[str, float]], ...] = (
    ("P1", "one strategy, full report, signals kept", "a warm", 0.15, {"raptorbt": 5}),
    ("P1", "one strategy, full report, from the spec", "a", None, {"vectorbt": 100, "backtesting.py": 390}),
    ("P2", "1,000 candidates, gate metrics", "b1000", 8, {"raptorbt": 70, "vectorbt": 140}),
    ("P3", "10,000 candidates, gate metrics", "b10000", 35, {"raptorbt": 85, "vectorbt": 320}),
    ("P3b", "10,000 candidates x 200,000 bars", "long", 1_500, {}),
    ("P4", "1,000 full reports", "b1000 reports", 60, {"raptorbt": 9.5, "vectorbt": 19}),
    ("P5", "path-dependent exits, 1,000 sets", "c", 9, {"vectorbt": 90, "raptorbt": 39}),
    ("P6", "1,000,000 bars, full report", "d", 12, {"raptorbt": 5.4, "vectorbt": 20}),
    ("P7", "100 strategies x 500 symbols", "e", 160, {"vectorbt": 100}),
    ("P8", "one portfolio of 50 of 500 symbols", "x", 6, {"vectorbt-rust": 75}),
    ("P9", "population from JSON, first", "population", 600, {"raptorbt:b10000": 5}),
    ("P9", "population from JSON, warm nodes", "population warm", 400, {"raptorbt:b10000": 5}),
    ("P10", "10,000 configurations to a plan", "plan", 80, {}),
)  # fmt: skip


class Side:
    """One process that waits for the name of a work."""

    def __init__(self, python: Path, script: str, prices: Path, env: dict[str, str]) -> None:
        folders = str(ROOT) if script == "ours.py" else ""
        self.process = subprocess.Popen(
            [str(python), str(HERE / script), str(prices)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": folders, **env},
        )  # fmt: skip

    def ask(self, work: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(work + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def prices(folder: Path) -> Path:
    from arch.data import sp500, wti

    close = wti.load().iloc[:, 0].to_numpy(float)
    frame = sp500.load()
    names = {name: frame[name.capitalize()].to_numpy(float) for name in ("open", "high", "low", "close")}
    return works.make(folder, names, close[close > 0][:8_321])


def cold_start(python: Path) -> list[float]:
    """Seconds of a whole process that makes one backtest through the command line, three times."""
    start = "from generator.interfaces.cli.app import run; run()"
    command = [
        str(python),
        "-c",
        start,
        "backtest",
        "golden_cross",
        "--market",
        "sample:sp500",
        "--costs",
        "liquid-index",
    ]
    seconds = []
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TOUCHSTONE_HOME": home}
        for _ in range(4):
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
            seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument(
        "--peers", type=Path, default=Path(os.environ.get("TOUCHSTONE_PEERS", "~/.cache/touchstone-peers"))
    )
    asked.add_argument("--only", default="")
    asked.add_argument("--trades", action="store_true")
    given = asked.parse_args()
    home = given.peers.expanduser()
    chosen = set(given.only.split(",")) - {""}
    data = prices(home)
    sides: dict[str, Side] = {"touchstone": Side(Path(sys.executable), "ours.py", data, {"THREADS": "1"})}
    sides["touchstone (2 threads)"] = Side(Path(sys.executable), "ours.py", data, {"THREADS": "2"})
    plan: dict[str, tuple[str, ...]] = {
        "touchstone": OURS,
        "touchstone (2 threads)": ("b1000", "b10000", "c", "e", "population", "population warm", "long", "loop"),
    }  # fmt: skip
    absent = []
    for name, (script, env, known) in PEERS.items():
        python = home / name.split("-")[0].removesuffix(".py") / "bin" / "python"
        if python.exists():
            sides[name], plan[name] = Side(python, script, data, env), known
        else:
            absent.append(name)
    if given.trades:
        results = json.loads((HERE / "results.json").read_text())
        write(results | {"trades": trades.found(sides)})
        return
    answers: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in sides}
    ticks, stolen = processor_time()
    for at in range(given.rounds):
        for work in OURS:
            if chosen and work not in chosen:
                continue
            for name, side in sides.items():
                if work in plan[name] and (at == 0 or (name, work) not in SELDOM):
                    answer = side.ask(work)
                    answers[name].setdefault(work, []).append(answer)
                    shown = answer.get("error") or f"{answer['ms']:.3f} ms"
                    print(f"round {at + 1}: {work}, {name}: {shown}", file=sys.stderr)
    traded = trades.found(sides)
    for side in sides.values():
        side.close()
    with np.load(data) as file:
        closes = file["wti"]
    results = summary(answers, given.rounds, absent, closes) | {"trades": traded}
    ticks_now, stolen_now = processor_time()
    results["machine"]["stolen"] = (stolen_now - stolen) / max(ticks_now - ticks, 1)
    results["cold_start_s"] = spread(cold_start(Path(sys.executable)))
    results["alone_mb"] = {work: peak_alone(work, threads, data) for work, threads in ALONE.items()}
    write(results)


def write(results: dict[str, Any]) -> None:
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (ROOT / "docs" / "performance.md").write_text(page(results))


def peak_alone(work: str, threads: int, data: Path) -> float:
    """Peak memory in MB of a process that runs one work and nothing else."""
    alone = Side(Path(sys.executable), "ours.py", data, {"THREADS": str(threads)})
    peak: float = alone.ask(work)["peak_mb"]
    alone.close()
    return peak


def summary(
    answers: dict[str, dict[str, list[dict[str, Any]]]], rounds: int, absent: list[str], closes: np.ndarray
) -> dict[str, Any]:
    works_found: dict[str, Any] = {}
    for name, by_work in answers.items():
        for work, runs in by_work.items():
            good = [run for run in runs if "ms" in run]
            cell: dict[str, Any] = {"error": runs[-1]["error"]} if not good else {
                "ms": spread([run["ms"] for run in good]), "cpu_ms": spread([run["cpu_ms"] for run in good]),
                "runs": len(good), "peak_mb": good[-1]["peak_mb"],
                **{key: good[-1][key] for key in ("final_equity", "trades") if key in good[-1]},
            }  # fmt: skip
            works_found.setdefault(work, {})[name] = cell
    return {
        "machine": machine(), "rounds": rounds, "absent": absent, "works": works_found,
        "ratios": ratios(answers), "parity": parity(answers, closes), "returns": RETURNS,
    }  # fmt: skip


def ratios(answers: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Peer over ours in processor time of all threads, round by round; ours on one thread.

    Not wall time: on a machine that others use as well, that is mostly their doing.
    """
    out: dict[str, Any] = {}
    ours, two = answers["touchstone"], answers["touchstone (2 threads)"]
    for name in PEERS:
        for work in OURS:
            theirs_work = (
                "a"
                if work.startswith("a ")
                else "b1000"
                if work == "b1000 reports"
                else "x"
                if work == "x report"
                else "b10000"
                if work.startswith("population")
                else work
            )
            theirs = answers.get(name, {}).get(theirs_work, [])
            mine = ours.get(work, [])
            pairs = [(t["cpu_ms"], m["cpu_ms"]) for t, m in zip(theirs, mine, strict=False) if "ms" in t and "ms" in m]
            if pairs:
                out.setdefault(work, {})[name] = spread([t / m for t, m in pairs])
    for work, runs in two.items():
        pairs = [(m["ms"], t["ms"]) for m, t in zip(ours.get(work, []), runs, strict=False) if "ms" in m and "ms" in t]
        if pairs:
            out.setdefault(work, {})["one thread over two"] = spread([m / t for m, t in pairs])
    return out


def parity(answers: dict[str, dict[str, list[dict[str, Any]]]], closes: np.ndarray) -> dict[str, Any]:
    """Final equity, candidate by candidate: how many are equal to 1e-9, and by how much the others differ.

    Of b1000 also how many candidates meet a tie, two averages that are equal in exact arithmetic, and how many of those
    that differ meet none: 0 if ties are all that there is to it.
    """
    out: dict[str, Any] = {}
    tied = np.array(works.ties(closes, works.pairs(1_000))) > 0
    for work in ("a", "b1000", "c"):
        mine = next((run["finals"] for run in answers["touchstone"].get(work, []) if "finals" in run), None)
        for name in PEERS:
            theirs = next((run for run in answers.get(name, {}).get(work, []) if "finals" in run), None)
            if mine is None or theirs is None:
                continue
            apart = np.abs(np.array(theirs["finals"]) / np.array(mine) - 1.0)
            out.setdefault(work, {})[name] = {
                "equal": int((apart < 1e-9).sum()), "of": len(apart), "largest": float(apart.max()),
                "median": float(np.median(apart)), "trades": theirs["trades"],
                "our_trades": answers["touchstone"][work][0]["trades"],
                **({"with_ties": int(tied.sum()), "without_tie": int(((apart >= 1e-9) & ~tied).sum())}
                   if work == "b1000" else {}),
            }  # fmt: skip
    return out


def processor_time() -> tuple[int, int]:
    """Ticks of all cores since the start, and those of them that the host gave to others; 0 if unknown."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0, 0
    ticks = [int(number) for number in stat.read_text().splitlines()[0].split()[1:9]]
    return sum(ticks), ticks[7]


def machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return {
        "cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system(),
        "load_at_end": list(os.getloadavg()),
    }  # fmt: skip


def page(results: dict[str, Any]) -> str:
    box = results["machine"]
    lines = [
        "# Performance", "",
        "Written by `make bench`; do not edit. The figures are those of `benchmarks/results.json`.", "",
        f"Machine: {box['cpu']}, {box['cores']} cores, Python {box['python']}; load average at the end "
        f"{box['load_at_end'][0]:.1f}; {box['stolen']:.0%} of its processor time went to other guests of the host "
        f"while it ran. {results['rounds']} rounds, all sides in turns in every round; min - median - max. "
        "Milliseconds are wall time. Ratios are of processor time, of all threads of a side together: on a machine "
        "that others use as well, wall time is mostly their doing.",
        "",
    ]  # fmt: skip
    if results["absent"]:
        lines += [f"Not measured here: {', '.join(results['absent'])} (no environment; see benchmarks/peers.sh).", ""]
    lines += ["## Works", ""]
    lines += [f"- **{name}**: {text}" for name, text in works.WORKS.items()]
    lines += ["", "WTI prices: sample:wti. What each side returns:", ""]
    lines += [f"- **{name}**: {text}" for name, text in results["returns"].items()]
    lines += [
        "",
        "## Milliseconds",
        "",
        "| work | side | ms (min - median - max) | processor ms | runs | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for work in OURS:
        for name, cell in results["works"].get(work, {}).items():
            if "error" in cell:
                lines.append(f"| {work} | {name} | failed: {cell['error'][:80]} | | | |")
                continue
            lines.append(
                f"| {work} | {name} | {_span(cell['ms'])} | {_span(cell['cpu_ms'])} | {cell['runs']} | "
                f"{cell['peak_mb']:.0f} |"
            )
    lines += [
        "", "Peak memory is that of the whole process so far, so it only grows down the table.", "",
        "## Ratios", "",
        "Peer over ours on one thread, in processor time, round by round. `b1000 reports` is set against the peers' "
        "b1000, and `x report` against their x: like for like, since "
        "raptorbt reports fully. The populations are set against the peers' b10000.", "",
        "| work | against | ratio (min - median - max) |", "|---|---|---|",
    ]  # fmt: skip
    for work, cells in results["ratios"].items():
        lines += [f"| {work} | {name} | {_span(cell)} |" for name, cell in cells.items()]
    lines += [
        "", "## Parity", "",
        "Final equity, candidate by candidate, relative to ours. Averages of equal prices differ in the last digit "
        "with the order of summation, so two averages that are equal in exact arithmetic compare one way here and the "
        "other way there; on prices with two decimals that happens, and moves a trade by some bars. backtesting.py "
        "charges its spread when buying only. raptorbt's c is another, lighter work and is not expected to agree; the "
        "same work is compared trade by trade below.", "",
        "| work | peer | equal to 1e-9 | median apart | largest apart | trades: theirs, ours |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for work, cells in results["parity"].items():
        lines += [
            f"| {work} | {name} | {cell['equal']} of {cell['of']} | {cell['median']:.1e} | {cell['largest']:.1e} | "
            f"{cell['trades']:.3f}, {cell['our_trades']:.3f} |"
            for name, cell in cells.items()
        ]
    tied = results["parity"].get("b1000", {})
    lines += [""] if any("with_ties" in cell for cell in tied.values()) else []
    lines += [
        f"Of the candidates of b1000, {cell['with_ties']} meet a bar on which their two averages are equal in exact "
        f"arithmetic (the prices are whole cents). Of those whose final equity differs from {name}'s, "
        f"{cell['without_tie']} meet none."
        for name, cell in tied.items() if "with_ties" in cell
    ]  # fmt: skip
    lines += trades.section(results["trades"])
    lines += ["", "## Targets", "", "Goals in milliseconds: of one thread in processor time, of two in wall time.", ""]
    lines += ["| id | what | goal | measured | met |", "|---|---|---|---|---|"]
    for identity, what, work, goal, factors in TARGETS:
        lines += list(_target(results, identity, what, work, goal, factors))
    cold = results["cold_start_s"]
    lines += [
        f"| P11 | cold process, one backtest | 0.9 s | {_span(cold)} s | {_met(cold['median'] <= 0.9)} |",
        *(
            f"| {identity} | peak memory of a process that runs {work} alone, {ALONE[work]} thread(s) | 250 MB |"
            f" {results['alone_mb'][work]:.0f} MB | {_met(results['alone_mb'][work] <= 250)} |"
            for identity, work in (("P7", "e"), ("P12", "b10000"))
        ),
        "", *NOTES, "",
    ]  # fmt: skip
    return "\n".join(lines)


NOTES = (
    "What keeps a goal from being met, beside a machine that is busy:",
    "",
    "- P4: a full report writes a curve of every bar and takes 35 metrics from it, order statistics too.",
    "- P6: a million bars do not fit into the caches of a core: averages, curve and returns are written to memory and",
    "  read back, which takes longer than the arithmetic.",
    "- P3, P3b, P7 in two threads: `loop` says what two threads gain here where nothing is shared but the core.",
    "- P7: averages and comparisons are made anew for every symbol, most of the work. Of its memory more than half is",
    "  Python, numba and the compiled loops, and most of the rest the prices themselves, five fields of them.",
    "- P8: half of it is reading prices: those of the bars that rebalance, and of what is held on the others.",
    "- P10: Python reads JSON-like mappings one by one, and its garbage collector walks what was made of them.",
    "",
    "P13 is timed by benchmarks/gates.py, P14 is the line `one thread over two` beside that of `loop`, P15 a test",
    "(`test_threads_blocks_and_caches_do_not_change_a_byte`).",
)


def _target(
    results: dict[str, Any], identity: str, what: str, work: str, goal: float | None, factors: dict[str, float]
):
    two = work in ("b10000", "e", "long") or work.startswith("population")
    side = "touchstone (2 threads)" if two else "touchstone"
    cell = results["works"].get(work, {}).get(side, {})
    if "ms" in cell and goal is not None:
        measured = cell["ms" if two else "cpu_ms"]
        yield f"| {identity} | {what} | {goal:g} ms | {_span(measured)} ms | {_met(measured['median'] <= goal)} |"
    for peer, factor in factors.items():
        ratio = results["ratios"].get(work, {}).get(peer.split(":")[0])
        if ratio is not None:
            yield f"| {identity} | {what} | {factor:g} x {peer} | {_span(ratio)} | {_met(ratio['median'] >= factor)} |"


def _met(reached: bool) -> str:
    return "yes" if reached else "no"


def _span(cell: dict[str, float]) -> str:
    return " - ".join(f"{cell[key]:.3g}" for key in ("min", "median", "max"))


if __name__ == "__main__":
    main()
