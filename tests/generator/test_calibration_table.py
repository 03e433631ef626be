"""CalibrationTable: what ships, what is quoted, and how an interrupted measurement goes on."""

import json

import pytest
from typer.testing import CliRunner

from backtesting.calibration import Cell, Row
from backtesting.errors import StorageError
from generator.calibration_table import NAME, load_table, quote, write_table
from generator.interfaces.cli import calibrate
from generator.interfaces.cli.calibrate import PIECES, Piece, read_pieces, rows_of

ROWS = (Row(Cell("factor", 50, 20.0), 200, 8, 0), Row(Cell("factor", 50, 20.0, 1.0), 200, 3, 180))


def test_the_shipped_table_reads_and_has_nulls_and_planted_edges():
    rows = load_table()
    assert any(row.cell.sharpe == 0.0 for row in rows)
    assert any(row.cell.sharpe > 0.0 for row in rows)


def test_a_workspaces_own_table_goes_first(tmp_path):
    write_table(ROWS, tmp_path / NAME)
    assert load_table(tmp_path) == ROWS
    assert load_table(tmp_path / "elsewhere") == load_table()


def test_a_broken_table_is_refused_in_one_sentence(tmp_path):
    (tmp_path / NAME).write_text('{"rows": [{}]}')
    with pytest.raises(StorageError, match=r"calibration table calibration\.json cannot be read: KeyError"):
        load_table(tmp_path)


def test_the_quote_states_rate_interval_and_power():
    # 8 of 200: 1.7 % to 7.7 % (Clopper-Pearson).
    assert quote(ROWS, candidates=40, years=18.0, alpha=0.03) == (
        "Measured on 200 runs without any edge (factor, 50 candidates, 20 years, alpha 0.05): 4.0% promoted"
        " something (1.7% to 7.7%); a planted edge was found 90% at Sharpe 1 and alpha 0.05."
    )
    # A run that may spend 0.03 is told the power at the nearest level that was measured.
    weaker = Row(Cell("factor", 50, 20.0, 1.0, 0.0304), 100, 1, 80)
    assert quote((*ROWS, weaker), candidates=40, years=18.0, alpha=0.03).endswith("80% at Sharpe 1 and alpha 0.0304.")
    assert quote(ROWS, candidates=40, years=18.0, alpha=0.0).startswith("The blind test was not made")
    assert quote(ROWS[1:], candidates=40, years=18.0, alpha=0.03).startswith(
        "The error rate of this gate has not been measured"
    )


def test_pieces_add_up_and_a_torn_last_line_is_measured_again(tmp_path):
    file = tmp_path / PIECES
    cell = Cell("factor", 10, 5.0)
    whole = [Piece(cell.key, first, 20, 1, 1, 0) for first in (0, 20)]
    file.write_text("".join(json.dumps(vars(piece)) + "\n" for piece in whole) + '{"cell": "fac')
    pieces = read_pieces(file)
    assert rows_of(pieces.values()) == (Row(cell, 40, 2, 0),)
    assert file.read_text().count("\n") == 2
    file.write_text("nonsense\n" + file.read_text())
    with pytest.raises(StorageError, match=r"line 1 of calibration\.jsonl is no piece"):
        read_pieces(file)


def test_pieces_of_an_earlier_gate_are_measured_again(tmp_path):
    file = tmp_path / PIECES
    old = Piece("factor:10:5:0:0.05", 0, 20, 1, 1, 0, gate=1)
    file.write_text(json.dumps(vars(old)) + "\n")
    assert read_pieces(file) == {}
    assert json.loads(file.read_text()) == vars(old)


def test_an_interrupted_calibration_goes_on_and_gives_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    arguments = ["--families", "random-walk", "--candidates", "5", "--years", "5", "--reps", "40", "--json"]
    first = CliRunner().invoke(calibrate.app, arguments)
    assert first.exit_code == 0, first.output
    table = (tmp_path / NAME).read_bytes()
    lines = (tmp_path / PIECES).read_text().splitlines()
    # Two pieces of twenty, each at two levels; the second piece is lost at one of them.
    assert len(lines) == 4
    (tmp_path / PIECES).write_text("".join(f"{line}\n" for line in lines[:3]))
    (tmp_path / NAME).unlink()
    again = CliRunner().invoke(calibrate.app, arguments)
    assert again.exit_code == 0, again.output
    assert "1 pieces to measure, 3 kept" in again.output
    assert (tmp_path / NAME).read_bytes() == table


def test_an_unknown_null_market_is_a_usage_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    result = CliRunner().invoke(calibrate.app, ["--families", "weird"])
    assert "unknown null market 'weird'" in str(result.exception)
