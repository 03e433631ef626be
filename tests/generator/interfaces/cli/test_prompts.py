import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_list_names_the_shipped_prompts(touchstone: Callable[..., Any]) -> None:
    events = touchstone("prompts", "list", "--json").events
    shipped = sorted(path.stem for path in (Path(__file__).parents[4] / "prompts").glob("[a-z]*.md"))
    assert {"propose", "repair", "market-card"} <= set(shipped)
    assert [event["id"] for event in events] == shipped
    assert all(Path(event["path"]).is_file() for event in events)
    assert "propose" in touchstone("prompts", "list").out


def test_the_workspace_has_the_first_word(touchstone: Callable[..., Any], home: Path) -> None:
    text = touchstone("prompts", "show", "propose", "--json").event("prompt")["text"]
    (home / "prompts").mkdir(parents=True)
    (home / "prompts" / "propose.md").write_text(text.replace("version: 2", "version: 7", 1), encoding="utf-8")
    assert [e["version"] for e in touchstone("prompts", "list", "--json").events if e["id"] == "propose"] == [7]


def test_show_is_the_file_as_it_is(touchstone: Callable[..., Any]) -> None:
    event = touchstone("prompts", "show", "propose", "--json").event("prompt")
    listed = next(e for e in touchstone("prompts", "list", "--json").events if e["id"] == "propose")
    assert event["text"] == Path(listed["path"]).read_text(encoding="utf-8")
    assert touchstone("prompts", "show", "propose").out.startswith("---\nid: propose")


def test_render_fills_in_the_samples(touchstone: Callable[..., Any]) -> None:
    events = touchstone("prompts", "render", "propose", "--json").events
    assert [event["role"] for event in events if event["event"] == "message"] == ["system", "user"]
    answer = touchstone("prompts", "render", "propose")
    assert "--- system" in answer.out
    assert "tokens (est.)" in answer.err


def test_render_with_a_market_shows_neither_its_name_nor_its_dates(touchstone: Callable[..., Any]) -> None:
    with_market = touchstone("prompts", "render", "propose", "--market", "sample:sp500", "--json")
    assert with_market.code == 0
    samples = touchstone("prompts", "render", "propose", "--json")
    text, other = (
        "\n".join(event["content"] for event in answer.events if event["event"] == "message")
        for answer in (with_market, samples)
    )
    assert text != other
    assert not re.search(r"sp500|S&P|SPX|\b\d{4}-\d\d-\d\d\b", text, re.IGNORECASE)


def test_render_takes_inputs_from_a_file(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text(json.dumps({"n_tried": 987654}), encoding="utf-8")
    answer = touchstone("prompts", "render", "propose", "--inputs", file)
    assert answer.code == 0
    assert "987654" in answer.out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "cannot be read as JSON"),
        (b"[1]", "holds no JSON object"),
        (b"\xff", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"n_tired": 1}', "n_tired"),
        (b'{"n_tried": "many"}', "n_tried"),
    ],
)
def test_unusable_inputs_end_with_3(
    touchstone: Callable[..., Any], tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "inputs.json"
    file.write_bytes(content)
    answer = touchstone("prompts", "render", "propose", "--inputs", file)
    assert answer.code == 3
    assert sentence in answer.error


@pytest.mark.parametrize("command", ["show", "render"])
@pytest.mark.parametrize("name", ["propse", "../propose", "/etc/passwd", ""])
def test_an_unknown_prompt_ends_with_3_and_suggests_the_nearest(
    touchstone: Callable[..., Any], command: str, name: str
) -> None:
    answer = touchstone("prompts", command, name)
    assert answer.code == 3
    if name == "propse":
        assert "did you mean 'propose'?" in answer.error.replace('"', "'")


def test_a_broken_prompt_of_the_workspace_ends_with_3_and_names_the_file(
    touchstone: Callable[..., Any], home: Path
) -> None:
    (home / "prompts").mkdir(parents=True)
    (home / "prompts" / "propose.md").write_text("---\nid: propose\n---\n## user\n\n{{ nothing }}\n", encoding="utf-8")
    for argv in (("show", "propose"), ("render", "propose"), ("list",)):
        answer = touchstone("prompts", *argv)
        assert answer.code == 3, argv
        assert "propose.md" in answer.error


# -- new, diff, render ----------------------------------------------------------------------------------------------


def own(home: Path, name: str, text: str) -> Path:
    file = home / "prompts" / f"{name}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_new_prompt_is_a_copy_that_is_clean(touchstone: Callable[..., Any], home: Path) -> None:
    made = touchstone("prompts", "new", "breakout", "--from", "tune", "--json").event("prompt_made")
    assert made["path"] == str(home / "prompts" / "breakout.md")
    text = touchstone("prompts", "show", "breakout", "--json").event("prompt")["text"]
    shipped = touchstone("prompts", "show", "shipped:tune", "--json").event("prompt")["text"]
    assert text == shipped.replace("id: tune", "id: breakout", 1)
    assert touchstone("prompts", "lint", "breakout").code == 0
    again = touchstone("prompts", "new", "breakout")
    assert again.code == 2
    assert "exists already" in again.error


def test_a_new_prompt_in_the_place_of_a_shipped_one_is_said(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("prompts", "new", "propose")
    assert answer.code == 0
    assert "takes the place of the shipped prompt" in answer.err
    assert touchstone("prompts", "diff", "shipped:propose", "propose").out.count("\n-version: 2") == 1


@pytest.mark.parametrize("name", ["../x", "Big", "", "a b"])
def test_a_new_prompt_needs_a_legal_name(touchstone: Callable[..., Any], home: Path, name: str) -> None:
    assert touchstone("prompts", "new", name).code == 3
    assert not list(home.rglob("*.md"))


def test_diff_of_a_prompt_with_itself_is_none(touchstone: Callable[..., Any]) -> None:
    assert touchstone("prompts", "diff", "propose", "propose").out == "No difference.\n"
    lines = touchstone("prompts", "diff", "propose", "mutate", "--json").event("diff")["lines"]
    assert "-id: propose" in lines
    assert "+id: mutate" in lines


def test_render_can_show_what_another_prompt_says_differently(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text("n_tried: 31\n", encoding="utf-8")
    answer = touchstone("prompts", "render", "propose", "--inputs", file, "--diff", "regime-aware", "--json")
    lines = answer.event("diff")["lines"]
    assert any(line.startswith("+What a state of the market is") for line in lines)
    # Both are filled with the same number, so the line with it is no difference.
    assert not [line for line in lines if line[0] in "+-" and "31 rules have been tried" in line]


def test_render_says_where_each_input_lands(touchstone: Callable[..., Any]) -> None:
    places = touchstone("prompts", "render", "propose", "--json").event("inputs")["places"]
    assert places["market_card"][0].startswith("user:")
    assert "market_card (untrusted, fenced): user, line" in touchstone("prompts", "render", "propose").err


# -- lint -----------------------------------------------------------------------------------------------------------


def test_lint_of_everything_is_clean_at_first(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("prompts", "lint", "--json")
    assert answer.code == 0
    assert answer.event("linted") == {"v": 1, "event": "linted", "files": 17, "findings": 0}


def test_lint_names_file_line_column_and_rule_and_ends_with_8(touchstone: Callable[..., Any], home: Path) -> None:
    touchstone("prompts", "new", "breakout")
    file = home / "prompts" / "breakout.md"
    file.write_text(file.read_text(encoding="utf-8") + "Since 2009.\u200b\n", encoding="utf-8")
    answer = touchstone("prompts", "lint", "breakout")
    assert answer.code == 8
    line = len(file.read_text(encoding="utf-8").splitlines())
    assert f"{file}:{line}:7: leak-date: 2009 is a date" in answer.out
    assert f"{file}:{line}:12: invisible-character: U+200B" in answer.out
    assert "2 findings in 1 prompt, 1 of them can be put right with --fix" in answer.out
    fixed = touchstone("prompts", "lint", "breakout", "--fix", "--json")
    assert fixed.code == 8
    assert [event["rule"] for event in fixed.events if event["event"] == "finding"] == ["leak-date"]
    assert "\u200b" not in file.read_text(encoding="utf-8")


def test_lint_leaves_shipped_prompts_as_they_are(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("prompts", "lint", "propose", "--fix")
    assert answer.code == 0
    assert "is a shipped prompt and stays as it is" in answer.err


def test_lint_of_a_broken_file_is_a_finding_and_of_no_file_an_error(touchstone: Callable[..., Any], home: Path) -> None:
    own(home, "torn", "---\nid: torn\n")
    answer = touchstone("prompts", "lint", "torn")
    assert answer.code == 8
    assert "torn.md:1:1: broken: " in answer.out
    assert touchstone("prompts", "lint", "nothing").code == 3
    assert touchstone("prompts", "lint", home / "nothing.md").code == 8


# -- try, keep, watch -----------------------------------------------------------------------------------------------


def up_days(folder: Path) -> Path:
    """A reply in a file, as somebody copied it out of a chat window."""
    side = {"enter": "close > open", "exit": None}
    rule = {"kind": "rules", "long": side, "sizing": {"kind": "fraction", "fraction": 1.0}}
    file = folder / "reply.txt"
    file.write_text(json.dumps({"hypothesis": "h", "name": "up_days", "source": None, "rule": rule}), encoding="utf-8")
    return file


def test_try_goes_through_the_stages_of_a_reply(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    file = up_days(tmp_path)
    good = touchstone("prompts", "try", "propose", "--reply", file)
    assert good.code == 0
    assert [line[:5] for line in good.out.splitlines()[:6]] == ["ok   "] * 6
    assert "up_days: Sharpe" in good.out
    file.write_text(file.read_text(encoding="utf-8").replace("> open", "> opn"), encoding="utf-8")
    bad = touchstone("prompts", "try", "propose", "--reply", file)
    assert bad.code == 8
    assert bad.out.splitlines()[3].startswith('STOP  semantics: semantics: long.enter: unknown name "opn"')
    assert bad.out.splitlines()[4:6] == ["      close > opn", "              ^"]


def test_try_on_a_real_market_is_a_trial(judged: Any, touchstone: Callable[..., Any], tmp_path: Path) -> None:
    from agents.archive.store import Archive

    file = up_days(tmp_path)

    def trials() -> list[Any]:
        with Archive.open(tmp_path / "workspace" / "touchstone.db") as archive:
            return list(archive.trials())

    before = len(trials())
    assert touchstone("prompts", "try", "propose", "--reply", file).code == 0
    assert len(trials()) == before
    assert touchstone("prompts", "try", "propose", "--reply", file, "--market", "sample:sp500").code == 0
    assert [(trial.by, trial.purpose) for trial in trials()[before:]] == [("ann", "open")]


def test_try_without_a_reply_runs_the_prompts_tests(touchstone: Callable[..., Any], home: Path) -> None:
    answer = touchstone("prompts", "try", "tune", "--json")
    assert answer.code == 0
    assert [event["as_expected"] for event in answer.events] == [True] * 4
    touchstone("prompts", "new", "other", "--from", "tune")
    file = home / "prompts" / "other.md"
    file.write_text(file.read_text(encoding="utf-8").replace("leads_to: backtested", "leads_to: schema"), "utf-8")
    wrong = touchstone("prompts", "try", "other")
    assert wrong.code == 8
    assert "1 of 4 replies do not lead where their tests say." in wrong.out
    assert touchstone("prompts", "try", "market-card").code == 2


def test_a_paid_reply_becomes_a_test(judged: Any, touchstone: Callable[..., Any], home: Path) -> None:
    listed = touchstone("prompts", "keep", "--json").events
    assert [event["prompt"] for event in listed][:5] == ["propose"] * 5
    first = listed[0]["call"]
    kept = touchstone("prompts", "keep", str(first), "--json").event("kept")
    assert (kept["prompt"], kept["leads_to"]) == ("propose", "backtested")
    assert Path(kept["path"]).is_relative_to(home / "prompts" / "replies" / "propose")
    names = [event["name"] for event in touchstone("prompts", "try", "propose", "--json").events]
    assert names[-1] == f"call-{first}.reply.json"
    assert touchstone("prompts", "lint", "propose").code == 0
    assert touchstone("prompts", "try", "propose", "--reply", kept["path"]).code == 0
    assert touchstone("prompts", "keep", "9999").code == 2


def test_keep_without_a_workspace_says_so(touchstone: Callable[..., Any]) -> None:
    assert touchstone("prompts", "keep").code == 7


def test_a_change_is_seen_once_and_a_file_that_is_gone_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    from generator.interfaces.cli.prompt_bench import changes

    file = tmp_path / "a.md"
    file.write_text("1", encoding="utf-8")
    steps = iter(
        [
            lambda: None,
            lambda: file.write_text("22", encoding="utf-8"),
            file.unlink,
            lambda: file.write_text("333", encoding="utf-8"),
        ]
    )
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        next(steps)()

    seen = changes(lambda: [file], sleep)
    assert [next(seen), next(seen), next(seen)] == [file] * 3
    # At once; after the second sleep; after the fourth, the third having found no file.
    assert len(slept) == 4


def test_watch_looks_at_once_and_ends_with_the_interrupt(
    touchstone: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from generator.interfaces.cli import prompt_bench

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prompt_bench.time, "sleep", interrupt)
    touchstone("prompts", "new", "breakout")
    answer = touchstone("prompts", "watch")
    assert answer.code == 130
    assert "ok  a legal rule is traded: backtested" in answer.out
    assert answer.out.endswith("clean\n")
    own(home, "breakout", "---\nid: breakout\n")
    assert "broken" in touchstone("prompts", "watch", "breakout").out


def test_watch_without_a_prompt_of_ones_own_says_what_to_do(touchstone: Callable[..., Any]) -> None:
    answer = touchstone("prompts", "watch")
    assert answer.code == 2
    assert "touchstone prompts new" in answer.error


# -- ab -------------------------------------------------------------------------------------------------------------

PLANTED = "synthetic:planted?years=6&seed=1"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Replies for four pairs: rules that differ in a number, each with its usage."""
    lines = []
    for number in range(8):
        rule = {
            "kind": "rules",
            "long": {"enter": f"rsi(close, {2 + number}) < 30", "exit": "rsi(close, 3) > 60"},
            "sizing": {"kind": "fraction", "fraction": 1.0},
        }
        reply = {"hypothesis": "Dips recover.", "name": f"dip_{number}", "source": None, "rule": rule}
        lines.append(json.dumps({"reply": reply, "usage": {"input_tokens": 900, "output_tokens": 100}}))
    file = tmp_path / "replies.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_ab_says_what_it_can_show_before_it_asks(touchstone: Callable[..., Any], home: Path) -> None:
    model = ("--market", PLANTED, "--llm", "openai:gpt-4o-mini", "-n", "20")
    plan = touchstone("prompts", "ab", "propose", "mutate", *model, "--plan", "--json").event("plan")
    assert plan["detectable_rise"] is None
    assert 0.4 < plan["detectable_fall"] < 0.5
    assert plan["worst_case_usd"] > 0
    assert not home.exists()
    # Without a key nothing is asked, and what could be shown has been said before.
    answer = touchstone("prompts", "ab", "propose", "mutate", *model)
    assert answer.code == 5
    assert answer.err.index("20 pairs find, 4 times in 5") < answer.err.index("OPENAI_API_KEY is not set")


def test_ab_reports_every_measure_and_is_shown_again(touchstone: Callable[..., Any], script: Path) -> None:
    argv = ("prompts", "ab", "propose", "mutate", "--market", PLANTED, "--llm", f"scripted:{script}", "-n", "4")
    answer = touchstone(*argv, "--json")
    assert answer.code == 0, answer.err
    found = answer.event("comparison")
    names = [measure["name"] for measure in found["comparison"]["measures"]]
    assert names == ["valid", "legal", "novel", "score", "cost"]
    assert found["comparison"]["verdict"] == "no difference shown"
    again = touchstone(*argv, "--json").event("comparison")
    assert again == found
    shown = touchstone("runs", "show", "last", "--json").event("comparison")
    assert shown == found
    text = touchstone(*argv).out
    assert "no difference shown in valid replies at first try (none was seen)." in text
    assert "valid at first try" in text
    assert "All pairs" not in text


def test_ab_lists_the_pairs_side_by_side(touchstone: Callable[..., Any], script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    lines[3] = json.dumps({"text": "I would rather not.", "finish_reason": "refusal"})
    script.write_text("\n".join(lines), encoding="utf-8")
    # One call at a time: a script answers in the order in which it is asked.
    model = ("--llm", f"scripted:{script}", "-n", "4", "--concurrency", "1")
    argv = ("prompts", "ab", "propose", "mutate", "--market", PLANTED, *model)
    found = touchstone(*argv, "--json").event("comparison")
    cells = found["cells"]
    assert [cell["pair"] for cell in cells] == [0, 1, 2, 3]
    for side in ("a", "b"):
        ends = [cell[side]["ended"] for cell in cells]
        assert {end: ends.count(end) for end in ends} == found["ended"][side]
        assert all((cell[side]["score"] is None) == (cell[side]["ended"] != "evaluated") for cell in cells)
    # The fourth question is the second of the second pair.
    refused = next(cell["pair"] for cell in cells if "refusal" in (cell["a"]["ended"], cell["b"]["ended"]))
    assert refused == 1
    listed = {wanted: touchstone(*argv, "--cells", wanted).out for wanted in ("all", "different", "failed", "none")}
    assert "All pairs" in listed["all"]
    assert "Pairs that ended differently" in listed["different"]
    assert "refusal" in listed["failed"].partition("Pairs with a failure")[2]
    assert "Pairs" not in listed["none"].partition("measure")[0]


def test_ab_stops_at_the_budget_with_what_it_has(touchstone: Callable[..., Any], script: Path) -> None:
    argv = ("prompts", "ab", "propose", "mutate", "--market", PLANTED, "--llm", f"scripted:{script}", "-n", "4")
    answer = touchstone(*argv, "--max-tokens", "9000", "--json")
    assert answer.code == 6
    assert answer.event("comparison")["complete"] < 4
    assert touchstone("runs", "show", "last").code == 7
    assert touchstone(*argv, "--json").event("comparison")["complete"] == 4


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--llm", "none"), 2),
        ((), 2),
        (("--llm", "openai:gpt-4o-mini", "--primary", "taste"), 3),
        (("--llm", "openai:nobody-knows", "--max-usd", "1"), 3),
        (("--llm", "openai:gpt-4o-mini", "-n", "0"), 2),
        (("--llm", "openai:gpt-4o-mini", "--cells", "pretty"), 2),
    ],
)
def test_ab_refuses_what_it_cannot_do(touchstone: Callable[..., Any], more: tuple[str, ...], code: int) -> None:
    assert touchstone("prompts", "ab", "propose", "mutate", "--market", PLANTED, *more).code == code
