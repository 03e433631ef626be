import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import generator.run as run_module
from agents.data_fetch.data_fetch import fetch_bars
from backtesting.bars import Bars
from generator.interfaces.cli.compiling import SENTENCE
from generator.outputs import OUTPUTS

MARKET = "synthetic:trend?years=20&seed=1"
SMALL = ("evolve", "--market", MARKET, "--slots", "3")


def test_json_tells_the_run_from_launch_to_its_slots(judged: Any) -> None:
    kinds = [event["event"] for event in judged.events]
    assert kinds[0] == "launch"
    assert kinds[-7:] == ["run", "validity", *["slot"] * 5]
    assert set(kinds[1:-7]) == {"progress"}
    progress = [event for event in judged.events if event["event"] == "progress"]
    assert [event["done"] for event in progress] == sorted(event["done"] for event in progress)
    assert progress[-1]["done"] == progress[-1]["planned"] == 5
    # Unless this is where a fresh machine compiles.
    assert judged.err.removeprefix(f"{SENTENCE}\n") == ""


def test_a_run_without_a_model_says_so_and_ends_in_a_table(touchstone: Callable[..., Any]) -> None:
    answer = touchstone(*SMALL)
    assert answer.code == 0
    assert "no model is used: proposals come from the arms random 50%, evolved 50%" in answer.err
    assert "sealed window" in answer.err
    assert "Verdicts on the sealed window" in answer.out
    assert "open window, after costs" in answer.out


def test_the_same_command_again_shows_the_finished_run(touchstone: Callable[..., Any]) -> None:
    first = touchstone(*SMALL, "--json").event("run")
    again = touchstone(*SMALL, "--json")
    assert again.event("launch")["finished"] is True
    assert again.event("run") == first


def test_same_seed_same_bytes_in_another_workspace(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    def shown(name: str) -> str:
        home = str(tmp_path / name)
        assert touchstone(*SMALL, TOUCHSTONE_HOME=home).code == 0
        return str(touchstone("runs", "show", "--json", TOUCHSTONE_HOME=home).out)

    assert shown("a") == shown("b")


def test_nothing_to_resume_is_said(touchstone: Callable[..., Any], judged: Any) -> None:
    answer = touchstone("evolve", "--resume")
    assert answer.code in (2, 7)
    assert answer.error


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--slots", "0"), "slots"),
        (("--seed", "-1"), "seed"),
        (("--costs", "cheap"), "unknown cost model 'cheap'"),
        (("--open-share", "0.95"), "open_share"),
        (("--arms", "lmm=1"), "unknown arm 'lmm'"),
        (("--arms", "llm=1"), "the arm 'llm' needs a model"),
        (("--llm", "scripted:/nowhere.jsonl"), "/nowhere.jsonl"),
        (("--llm", "scripted:/nowhere.jsonl", "--prompt", "propse"), "propse"),
    ],
)
def test_an_illegal_configuration_ends_with_3(
    touchstone: Callable[..., Any], options: tuple[str, ...], sentence: str
) -> None:
    answer = touchstone("evolve", "--market", MARKET, *options)
    assert (answer.code, answer.out) == (3, "")
    assert sentence in answer.error


@pytest.mark.parametrize("llm", ["opnai:x", "openai:", "openai", "openai:x@ftp://host"])
def test_an_illegal_model_address_is_named(touchstone: Callable[..., Any], llm: str) -> None:
    answer = touchstone("evolve", "--market", MARKET, "--llm", llm)
    assert answer.code in (2, 3)
    assert llm.rpartition("@")[2].partition(":")[0] in answer.error


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "has no section `evolve`"),
        ('{"evolve": {"slotz": 3}}', "slotz"),
        ('{"evolve": {"slots": "many"}}', "slots"),
        ('{"evolve": {"slots": NaN}}', "slots"),
    ],
)
def test_an_illegal_configuration_file_ends_with_3(
    touchstone: Callable[..., Any], tmp_path: Path, content: str, sentence: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(content, encoding="utf-8")
    answer = touchstone("evolve", "--market", MARKET, "--config", file)
    assert answer.code == 3
    assert sentence in answer.error


def test_flags_win_over_the_file(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"evolve": {"market": MARKET, "slots": 30, "seed": 9}}), encoding="utf-8")
    config = touchstone("evolve", "--config", file, "--slots", "2", "--json").event("run")["config"]["config"]
    assert (config["market"], config["slots"], config["seed"]) == (MARKET, 2, 9)


def test_a_script_that_is_too_short_keeps_what_there_was(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"text": "no"}\n', encoding="utf-8")
    answer = touchstone(*SMALL, "--llm", f"scripted:{script}", "--arms", "llm=1")
    assert answer.code == 5
    assert "all saved. Continue: touchstone evolve --resume" in answer.err
    assert "has no reply left" in answer.error
    assert touchstone("runs", "list", "--json").event("run")["finished"] is False


def test_fork_needs_resume(touchstone: Callable[..., Any]) -> None:
    answer = touchstone(*SMALL, "--fork")
    assert answer.code == 2
    assert "--fork goes on from a stopped run" in answer.error


def _new_prompt(home: Path, prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Path(__file__).parents[4] / "prompts" / "propose.md"
    own = home / "prompts" / "propose.md"
    own.parent.mkdir()
    own.write_text(
        re.sub("\nversion: .*", "\nversion: 91", shipped.read_text(encoding="utf-8"), count=1), encoding="utf-8"
    )


def _new_data(home: Path, prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices.write_text("".join(prices.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")


def _new_schema(home: Path, prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = OUTPUTS["strategy-spec"]
    monkeypatch.setitem(OUTPUTS, "strategy-spec", replace(form, schema={**(form.schema or {}), "description": "new"}))


def _new_engine(home: Path, prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "code_version", lambda: "b2:another")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_new_prompt, r"prompts \(was propose@\d+, is propose@91\)"),
        (_new_data, r"data \(was b2:[0-9a-f]{8}, is b2:[0-9a-f]{8}\)"),
        (_new_schema, r"schemas \(the reply of propose, the reply of repair\)"),
        (_new_engine, r"code \(backtesting or agents\)"),
    ],
)
def test_what_changed_is_named_and_refuses_to_resume_and_a_fork_goes_on(
    touchstone: Callable[..., Any],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., None],
    words: str,
) -> None:
    script, prices = tmp_path / "script.jsonl", tmp_path / "prices.csv"
    prices.write_text(_csv(fetch_bars("synthetic:trend?years=6&seed=1")), encoding="utf-8")
    reply: dict[str, Any] = {
        "kind": "rules",
        "name": "dip_rule",
        "hypothesis": "Dips recover.",
        "long": {"enter": "rsi(close, 2) < 10", "exit": "rsi(close, 2) > 60"},
        "sizing": {"kind": "fraction", "fraction": 1.0},
    }
    script.write_text(json.dumps({"purpose": "propose", "reply": reply}), encoding="utf-8")
    options = ("--market", f"csv:{prices}", "--slots", "3", "--llm", f"scripted:{script}", "--arms", "llm=1")
    begun = touchstone("evolve", *options)
    assert begun.code == 5  # the script is too short
    change(home, prices, monkeypatch)
    refused = touchstone("evolve", "--resume")
    assert refused.code == 3
    assert re.search(rf"cannot go on: {words} changed since it began; what it has done is kept", refused.error)
    assert "--fork" in refused.error
    script.write_text("\n".join([json.dumps({"purpose": "propose", "reply": reply})] * 3), encoding="utf-8")
    forked = touchstone("evolve", "--resume", "--fork")
    assert forked.code == 0, forked.err
    assert re.search(rf"a new segment, forked from run r-[0-9a-f]+ because of {words}\n", forked.err)
    first, second = touchstone("runs", "list", "--json").events
    assert first["forked_into"] == second["run_id"]
    assert f"forked into {second['run_id']}" in touchstone("runs", "list").out
    assert touchstone("runs", "show", "--json").event("run")["config"]["forked_from"] == first["run_id"]
    assert sum(second["outcomes"].values()) == 2
    assert touchstone("evolve", "--resume").code == 7  # nothing is left: the parent went on as the fork
    assert touchstone("runs", "replay").code == 0


COSTS_FILE = """commission_bps: 2
half_spread_bps: 3
slippage_bps: 1
borrow_annual: 0.01
financing_annual: 0.05
commission_minimum: 5
"""


def test_costs_and_terms_of_files_are_part_of_the_run_by_content(
    touchstone: Callable[..., Any], tmp_path: Path
) -> None:
    script, costs, terms = (tmp_path / name for name in ("script.jsonl", "costs.yaml", "terms.json"))
    reply = _rule("rsi(close, 2) < 10", "rsi(close, 2) > 60")
    script.write_text(json.dumps({"purpose": "propose", "reply": reply}), encoding="utf-8")
    costs.write_text(COSTS_FILE, encoding="utf-8")
    terms.write_text('{"lot": 1.0, "roll_every": 21}', encoding="utf-8")
    argv = ("--llm", f"scripted:{script}", "--arms", "llm=1", "--costs", costs, "--terms", terms)
    begun = touchstone(*SMALL, *argv)
    assert begun.code == 5  # the script is too short
    assert "costs 6 basis points a side, 1.00% a year on short positions, commissions that weigh" in begun.err
    assert "terms          lot 1.0, roll_every 21" in begun.err
    stored = touchstone("runs", "show", "--json").event("run")["config"]["config"]
    assert (stored["costs"]["commission_minimum"], stored["terms"]["roll_every"]) == (5.0, 21)

    # The same numbers in another file are the same run; other numbers are not.
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps({**stored["costs"]}), encoding="utf-8")
    terms.write_text('{"lot": 10.0, "roll_every": 21}', encoding="utf-8")
    refused = touchstone("evolve", "--resume", "--costs", copy, "--terms", terms)
    assert refused.code == 2
    assert "with its own settings, but terms differs" in refused.error
    costs.write_text(COSTS_FILE.replace("slippage_bps: 1", "slippage_bps: 2"), encoding="utf-8")
    assert "but costs differs" in touchstone("evolve", "--resume", "--costs", costs).error

    # It goes on, and is replayed, with what it was begun with, whatever became of the files.
    terms.unlink()
    script.write_text("\n".join([json.dumps({"purpose": "propose", "reply": reply})] * 3), encoding="utf-8")
    done = touchstone("evolve", "--resume", "--costs", copy)
    assert done.code == 0, done.err
    costs.unlink()
    assert touchstone("runs", "replay").code == 0


def test_terms_reach_every_simulation_of_a_run(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    terms = tmp_path / "terms.yaml"
    terms.write_text("fill: close\n", encoding="utf-8")
    at_open = touchstone(*SMALL, "--json")
    at_close = touchstone(*SMALL, "--terms", terms, "--json")
    assert at_close.code == 0, at_close.err
    assert at_open.event("launch")["terms"]["fill"] == "open"
    assert at_close.event("launch")["terms"]["fill"] == "close"
    # The judge simulates the open window again and refuses a nominee whose results differ: nobody broke there.
    reports = [event["report"] for event in at_close.events if event["event"] == "slot" and event.get("report")]
    assert reports
    assert "otherwise than when it was nominated" not in str(reports)


@pytest.mark.parametrize(
    ("option", "content", "sentence"),
    [
        ("--costs", "commission_bps: 1", "is missing: a cost that is not written down would be zero in silence"),
        ("--terms", "multiplyer: 50", "unknown key 'multiplyer'; did you mean 'multiplier'?"),
        (
            "--terms",
            "funding: rate",
            "funding reads the feature 'rate', synthetic:trend",
        ),
    ],
)
def test_illegal_costs_and_terms_end_with_the_place(
    touchstone: Callable[..., Any], tmp_path: Path, option: str, content: str, sentence: str
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(content, encoding="utf-8")
    answer = touchstone(*SMALL, option, file)
    assert answer.code in (2, 3)
    assert sentence in answer.error
    assert touchstone("evolve", "--resume").code == 7  # nothing was begun


def _csv(bars: Bars) -> str:
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    rows = [
        ",".join([str(day), *(f"{float(column[at, 0]):.6f}" for column in columns if column is not None)])
        for at, day in enumerate(bars.sessions)
    ]
    return "\n".join(["date,open,high,low,close,volume", *rows]) + "\n"


def test_tokens_that_nobody_counted_are_called_reserved(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    line: dict[str, Any] = {"purpose": "propose", "text": "no", "usage": {"input_tokens": 300, "output_tokens": 40}}
    repair: dict[str, Any] = {"purpose": "repair", "text": "no"}
    script.write_text("\n".join(map(json.dumps, [line, repair])), encoding="utf-8")
    answer = touchstone("evolve", "--market", MARKET, "--slots", "1", "--llm", f"scripted:{script}", "--arms", "llm=1")
    spend = touchstone("runs", "show", "--json").event("run")["spend"]
    assert spend["tokens"] == spend["reserved_tokens"] + 340
    words = f"{spend['tokens']} tokens ({spend['reserved_tokens']} of them reserved, not counted) in 2 calls"
    assert f"Spent: {words}, unpriced." in " ".join(answer.out.split())


def test_on_the_planted_panel_the_planted_edge_passes_and_momentum_does_not(
    touchstone: Callable[..., Any], tmp_path: Path
) -> None:
    surge = {"kind": "score", "name": "surge_share", "position": {"kind": "linear", "scale": 1.0}}
    surge |= {"score": "cs_demean(where(volume > 1.5 * sma(volume, 20), 1, 0))"}
    winners = {"kind": "portfolio", "name": "winners", "score": "roc(lag(close, 21), 105)", "direction": "both"}
    winners |= {"select": {"kind": "share", "share": 0.3}, "rebalance": {"every_bars": 5, "band": 0.0}}
    lines = [{"purpose": "propose", "reply": rule | {"hypothesis": "-"}} for rule in (surge, winners)]
    script = tmp_path / "script.jsonl"
    script.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    panel = ("evolve", "--market", "synthetic:planted-panel?seed=2", "--slots", "2", "--seed", "3")
    answer = touchstone(*panel, "--llm", f"scripted:{script}", "--arms", "llm=1", "--json")
    assert answer.code == 0, answer.err
    verdicts = {event["name"]: event["report"]["verdict"] for event in answer.events if event["event"] == "slot"}
    assert verdicts == {"surge_share": "pass", "winners": "fail"}


BRIEF = {
    "mechanism": "Somebody has to sell.",
    "other_side": "Holders with a limit.",
    "signal_idea": "A fall.",
    "exit_idea": "Volume is back.",
    "what_would_refute_it": "No rise after it.",
}


def _rule(enter: str, leave: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"kind": "rules", "long": {"enter": enter, "exit": leave}, "short": None, "protect": None}
    rule["sizing"] = {"kind": "fraction", "fraction": 1.0}
    return {"hypothesis": "Dips recover.", "name": "dip_rule", "source": None, "rule": rule}


def _action(tool: str, spec: Any = None) -> dict[str, Any]:
    return {"purpose": "agent", "reply": {"thought": "so", "tool": tool, "query": None, "spec": spec}}


def _worked(touchstone: Callable[..., Any], tmp_path: Path, workflow: str, lines: list[dict[str, Any]]) -> str:
    """What `runs show` says of a run of two slots with this script; its replay is identical and its report is there."""
    script = tmp_path / "script.jsonl"
    script.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    argv = ("--market", "synthetic:planted?years=6&seed=1", "--slots", "2", "--arms", "llm=1", "--concurrency", "1")
    made = touchstone("evolve", *argv, "--llm", f"scripted:{script}", "--workflow", workflow)
    assert made.code == 0, made.err
    assert f"workflow {workflow}" in made.err
    assert touchstone("runs", "replay").out.startswith("identical: ")
    assert touchstone("runs", "report").code == 0
    shown = touchstone("runs", "show", COLUMNS="200").out
    assert shown in made.out or made.out.strip().endswith(shown.strip()[-200:])
    return str(shown)


def test_reasoner_from_the_command_line_says_who_was_asked_and_who_did_not_answer(
    touchstone: Callable[..., Any], tmp_path: Path
) -> None:
    lines: list[dict[str, Any]] = [
        {"purpose": "scope", "reply": BRIEF},
        {"purpose": "author", "reply": _rule("rsi(close, 3) < 30", "rsi(close, 3) > 60")},
        {"purpose": "critic", "failure": "timeout"},
        {"purpose": "scope", "refusal": "I give no advice."},
    ]
    shown = _worked(touchstone, tmp_path, "reasoner", lines)
    assert "Questions by role: scope 2, author 1, critic 1 (1 without an answer)." in shown
    assert "Not evaluated: refusal 1." in shown
    assert "refusal, slot 1: the model declined: I give no advice." in shown


def test_tool_agent_from_the_command_line_says_why_nothing_was_submitted(
    touchstone: Callable[..., Any], tmp_path: Path
) -> None:
    rule = _rule("rsi(close, 3) < 30", "rsi(close, 3) > 60")
    lines = [_action("backtest_open", rule), _action("submit_spec", rule), *[_action("describe_data")] * 3]
    shown = _worked(touchstone, tmp_path, "tool-agent", lines)
    assert "dip_rule" in shown
    assert "no_submission, slot 1: no spec was submitted: the same step was taken 3 times: describe_data" in shown
    assert "Questions by role" not in shown  # there is one role, and it always answered


def test_proxy_and_tracer_of_the_environment_are_said_at_the_start(touchstone: Callable[..., Any]) -> None:
    # A proxy that nobody listens at: the run is announced, and each of its three calls fails.
    environ = {
        "HTTPS_PROXY": "http://ann:secret@127.0.0.1:9",
        "LANGSMITH_TRACING": "true",
        "OPENAI_API_KEY": "k-123456",
    }
    answer = touchstone(*SMALL, "--llm", "openai:tiny@https://models.invalid/v1", **environ)
    assert answer.code == 5
    assert "the model is asked through the proxy 127.0.0.1:9" in answer.err
    assert "LANGSMITH_TRACING is set; Touchstone itself sends nothing there" in answer.err
    assert "secret" not in answer.err + answer.out
    assert "none of the 3 calls to openai:tiny@https://models.invalid/v1 brought a reply" in answer.err
    assert "the run and what its other arms found are saved" in answer.err
    assert "propose 3 (3 without an answer)" in touchstone("runs", "show", "last").out
