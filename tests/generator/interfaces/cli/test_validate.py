from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.strategy.incumbents import shipped_incumbents


def test_a_legal_file_is_said_to_be_legal_and_what_it_does(touchstone: Callable[..., Any], spec_file: Path) -> None:
    answer = touchstone("validate", spec_file)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[:2] == ["my_rule is legal.", "Enter long when close > sma(close, 50)."]
    event = touchstone("validate", spec_file, "--json").event("valid")
    # sma(close, 50) is first known at the 50th bar: 49 bars before it are not.
    assert (event["name"], event["warmup_bars"]) == ("my_rule", 49)
    assert event["spec_id"] in answer.out


@pytest.mark.parametrize("spec", shipped_incumbents(), ids=lambda spec: spec.name)
def test_a_shipped_incumbent_goes_by_its_name(touchstone: Callable[..., Any], spec: Any) -> None:
    event = touchstone("validate", spec.name, "--market", "sample:sp500", "--json").event("valid")
    assert event["spec_id"] == spec.spec_id


def test_every_error_of_a_file_is_listed_with_its_place_and_the_nearest_legal_thing(
    touchstone: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "kind: rules\nname: Bad Name\nhypothesis: x\nlong: {enter: 'smaa(close, 20) > close', exit: 'close > volume'}\n"
        "sizing: {kind: fraction, fraction: 99}\nlevrage: 3\n",
        encoding="utf-8",
    )
    answer = touchstone("validate", file)
    assert (answer.code, answer.err) == (3, "")
    for part in ("name", "long.enter", "long.exit", "levrage", 'did you mean "sma"'):
        assert part in answer.out
    event = touchstone("validate", file, "--json").event("invalid")
    paths = [error["path"] for error in event["errors"]]
    assert sorted(paths) == sorted({*paths})
    assert {"name", "long.enter", "long.exit", "sizing.fraction"} <= set(paths)
    assert f"{len(paths)} errors; nothing was run." in answer.out
    assert next(error for error in event["errors"] if "smaa" in error["message"] + error["found"])["nearest"] == "sma"


HOSTILE = {
    "bytes": bytes(range(256)) * 4,
    "empty": b"",
    "nul": b"\0" * 100,
    "list": b"[1, 2, 3]",
    "scalar": b"42",
    "deep": b"[" * 50_000,
    "deep_expression": b"kind: rules\nname: abc\nlong: {enter: '" + b"(" * 900 + b"close > open" + b")" * 900 + b"'}",
    "tag": b"!!python/object/apply:os.system ['true']",
    "alias": b"a: &a [1]\nb: [" + b"*a, " * 1000 + b"*a]",
    "escapes": 'kind: rules\nname: "\\e[31mred"\nlong: {enter: "\\e[2J\u202e"}'.encode(),
    "duplicate": b"kind: rules\nkind: score\nname: abc",
    "megabyte": b"kind: rules\nname: abc\nlong: {enter: 'close > open" + b" " * 1_000_000 + b"'}",
    "million_keys": b"{" + b",".join(b'"k%d":1' % i for i in range(80_000)) + b"}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_get_a_short_sentence_without_any_control_character(
    touchstone: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_bytes(HOSTILE[name])
    answer = touchstone("validate", file)
    assert answer.code == 3
    shown = answer.out + answer.err
    assert 0 < len(shown) < 20_000
    assert not set(shown) & set("\x1b\x00\x07\x9b\u202e")
    assert len(touchstone("validate", file, "--json").event("invalid")["errors"]) >= 1


def test_a_folder_and_a_missing_file_are_told_apart(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    folder = touchstone("validate", tmp_path)
    assert folder.code == 3
    assert folder.error == f"{tmp_path} is a folder; nothing was changed; name one YAML or JSON spec in it"
    missing = touchstone("validate", tmp_path / "no.yaml")
    assert missing.code == 3
    assert "there is no file" in missing.error
    assert "golden_cross" in missing.error


def test_a_rule_on_volume_is_refused_on_a_market_without_it(
    touchstone: Callable[..., Any], tmp_path: Path, price_file: Callable[..., Path]
) -> None:
    file = tmp_path / "surge.yaml"
    file.write_text(
        'kind: rules\nname: surge\nhypothesis: x\nlong: {enter: "volume > 1.5 * sma(volume, 20)"}\n', encoding="utf-8"
    )
    market = f"csv:{price_file([100.0 + i % 7 for i in range(900)], volume=False)}"
    answer = touchstone("validate", file, "--market", market)
    assert answer.code == 3
    assert "volume" in answer.out
    assert "nothing was run" in answer.out
    assert touchstone("validate", file, "--market", "synthetic:planted").code == 0


def test_a_rule_that_looks_back_further_than_a_run_allows_is_legal_and_says_so(
    touchstone: Callable[..., Any], tmp_path: Path, price_file: Callable[..., Path]
) -> None:
    file = tmp_path / "long.yaml"

    def validated(window: int, market: str) -> Any:
        enter = f"close > sma(close, {window})"
        file.write_text(f'kind: rules\nname: far\nhypothesis: x\nlong: {{enter: "{enter}"}}\n', encoding="utf-8")
        return touchstone("validate", file, "--market", market)

    # 301 bars are needed, so 300 come before the first value: just what the lead of a run holds.
    assert "Warm-up 300 bars. " in validated(301, "sample:sp500").out
    assert "Warm-up 301 bars, more than the 300 of a run; touchstone backtest begins later." in (
        validated(302, "sample:sp500").out
    )
    # Of 400 bars the first is known only where 399 come before it.
    market = f"csv:{price_file([100.0 + i % 7 for i in range(400)])}"
    assert validated(400, market).code == 0
    refused = validated(401, market)
    assert refused.code == 3
    assert "long.enter: needs 400 bars of warm-up, allowed are 399; use shorter windows" in refused.out


def test_a_file_of_named_expressions_is_checked_one_by_one(touchstone: Callable[..., Any], tmp_path: Path) -> None:
    examples = Path(__file__).parents[4] / "docs" / "examples"
    answer = touchstone("validate", str(examples / "alpha101.yaml"))
    assert answer.code == 0
    assert "101 expressions are legal: 101 numbers and 0 conditions" in answer.out
    own = tmp_path / "own.yaml"
    own.write_text('up: "close > open"\nwrong: "closee / open"\nranked: "cs_rank(close)"\n')
    answer = touchstone("validate", str(own))
    assert answer.code == 3
    assert 'own.yaml: wrong: unknown name "closee"' in answer.out
    own.write_text('up: "close > open"\nranked: "cs_rank(close)"\n')
    assert "1 numbers and 1 conditions" in touchstone("validate", str(own)).out
    alone = touchstone("validate", str(own), "--market", "sample:sp500")
    assert alone.code == 3
    assert "all assets of a panel" in alone.out
    assert touchstone("validate", str(own), "--market", "synthetic:panel?years=2&assets=3").code == 0
