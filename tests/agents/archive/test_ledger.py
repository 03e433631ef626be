from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.archive.records import Call, Spend, Trial
from agents.archive.store import Archive
from backtesting.errors import StorageError


def reserve(archive: Archive, slot_id: str = "r1/0000", attempt: int = 0, usd: float | None = 0.10) -> int:
    return archive.reserve_call(
        "r1", slot_id, purpose="propose", attempt=attempt, payload_id="b2:p", reserved_usd=usd, reserved_tokens=1000
    )


USAGE = {"input_tokens": 300, "output_tokens": 40}


def test_a_settled_call_costs_what_it_cost(planned: Archive) -> None:
    call_id = reserve(planned)
    # Open: the worst case counts.
    assert planned.spend("r1") == Spend(usd=0.10, tokens=1000, calls=1, unpriced=0, reserved_tokens=1000)
    planned.settle_call(call_id, reply="{}", usage=USAGE, cost_usd=0.02)
    # 300 + 40 = 340 tokens.
    assert planned.spend("r1") == Spend(usd=0.02, tokens=340, calls=1, unpriced=0)


def test_every_way_to_end_is_in_the_sum(planned: Archive) -> None:
    planned.settle_call(reserve(planned, "r1/0000"), reply="{}", usage=USAGE, cost_usd=0.02)
    planned.settle_call(reserve(planned, "r1/0001"), reply="{}", usage=None, cost_usd=None)
    planned.fail_call(reserve(planned, "r1/0002"), "timeout")
    planned.fail_call(reserve(planned, "r1/0002"), "truncated", reply="{", usage=USAGE, cost_usd=0.03)
    reserve(planned, "r1/0002")
    assert planned.abandon_calls("r1") == 1
    planned.settle_call(reserve(planned, "r1/0002", usd=None), reply="{}", usage=USAGE, cost_usd=None)
    # 0.02 + 0.10 (no usage) + 0.10 (timeout) + 0.03 + 0.10 (abandoned), and one call without a price;
    # 340 + 1000 + 1000 + 340 + 1000 + 340 tokens, and three of the thousands were only reserved.
    spend = planned.spend("r1")
    assert spend == Spend(usd=pytest.approx(0.35), tokens=4020, calls=6, unpriced=1, reserved_tokens=3000)
    assert spend.tokens_in_words == "4020 tokens (3000 of them reserved, not counted)"
    assert spend.in_words == f"{spend.tokens_in_words} in 6 calls, $0.3500 and 1 unpriced"
    assert Spend(0.0, 340, 1, 1).in_words == "340 tokens in 1 call, unpriced"
    assert Spend(0.5, 340, 2, 0).in_words == "340 tokens in 2 calls, $0.5000"
    one_by_one = sum((planned.spend_of(call) for call in planned.calls("r1")), Spend(0.0, 0, 0, 0))
    assert one_by_one == replace(spend, usd=pytest.approx(0.35))
    assert planned.spend() == planned.spend("r1")
    assert planned.spend("other") == Spend(0.0, 0, 0, 0)


def test_ten_cents_ten_times_is_a_dollar(planned: Archive) -> None:
    for attempt in range(10):
        planned.settle_call(reserve(planned, attempt=attempt), reply="", usage=USAGE, cost_usd=0.1)
    assert planned.spend("r1").usd == 1.0


def test_a_paid_reply_is_found_and_not_paid_again(planned: Archive) -> None:
    assert planned.settled_call("r1/0000", "propose", 0) is None
    call_id = reserve(planned)
    assert planned.settled_call("r1/0000", "propose", 0) is None
    planned.settle_call(call_id, reply='{"a": 1}', usage=USAGE, cost_usd=0.02)
    found = planned.settled_call("r1/0000", "propose", 0)
    assert isinstance(found, Call)
    assert (found.reply, found.usage, found.status) == ('{"a": 1}', USAGE, "settled")
    with pytest.raises(StorageError, match="refused a row"):
        reserve(planned)


def test_the_same_call_cannot_be_open_twice(planned: Archive) -> None:
    reserve(planned)
    with pytest.raises(StorageError, match="refused a row"):
        reserve(planned)
    planned.abandon_calls("r1")
    reserve(planned)
    assert [call.status for call in planned.calls("r1")] == ["abandoned", "reserved"]


def test_a_call_ends_once(planned: Archive) -> None:
    call_id = reserve(planned)
    planned.fail_call(call_id, "timeout")
    with pytest.raises(StorageError, match=f"call {call_id} is not open, so it cannot become 'settled'"):
        planned.settle_call(call_id, reply="", usage=None, cost_usd=0.0)
    with pytest.raises(StorageError, match="a finished call never changes"), planned.transaction() as connection:
        connection.exec_driver_sql("UPDATE calls SET cost_usd = 0")
    with pytest.raises(StorageError, match="calls is append-only"), planned.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM calls")


def trial(**changes: object) -> Trial:
    values = {
        "spec_id": "b2:rule",
        "bars_id": "b2:bars",
        "series": "SP500",
        "window_start": 300,
        "window_stop": 1500,
        "first_session": "2000-03-01",
        "last_session": "2004-12-31",
        "purpose": "open",
        "by": "random",
        "metrics": {"sharpe_ratio": float("nan"), "n_trades": 4},
        **changes,
    }
    return Trial(**values)  # type: ignore[arg-type]


def test_every_look_of_a_person_counts(planned: Archive) -> None:
    for _ in range(3):
        planned.add_trial(trial(by="ann", purpose="backtest"))
    planned.add_trial(trial(series="NASDAQ"))
    assert planned.count_trials("SP500") == 3
    assert planned.count_trials() == 4
    assert planned.count_trials("SP500", purpose="open") == 0
    assert planned.count_trials("GOLD") == 0


def test_a_look_at_a_panel_counts_for_each_of_its_symbols_and_the_other_way_round(planned: Archive) -> None:
    for series in ("GOLD,OIL", "GOLD", "OIL,WHEAT", "SP500"):
        planned.add_trial(trial(series=series))
    assert planned.count_trials("GOLD") == 2  # alone, and with oil
    assert planned.count_trials("GOLD,OIL") == 3  # all but the index
    assert planned.count_trials("OIL") == 2
    assert planned.count_trials("WHEAT,SP500") == 2
    assert planned.count_trials("GOL") == 0  # a symbol, not a part of its name
    assert planned.count_trials() == 4


def test_a_slot_that_looks_again_after_a_kill_counts_once(planned: Archive) -> None:
    for _ in range(2):
        planned.add_trial(trial(run_id="r1", slot_id="r1/0000"))
    planned.add_trial(trial(run_id="r1", slot_id="r1/0000", window_stop=1600))
    planned.add_trial(trial(run_id="r1", slot_id="r1/0001"))
    assert planned.count_trials("SP500") == 3
    assert planned.trials("r1")[0].metrics == {"sharpe_ratio": None, "n_trades": 4}


@pytest.mark.parametrize("statement", ["DELETE FROM trials", "UPDATE trials SET series = 'X'"])
def test_a_trial_cannot_be_taken_back(planned: Archive, statement: str) -> None:
    planned.add_trial(trial())
    with pytest.raises(StorageError, match="trials is append-only"), planned.transaction() as connection:
        connection.exec_driver_sql(statement)


@given(st.lists(st.floats(allow_nan=True, width=64), max_size=60))
def test_a_stream_comes_back_bit_by_bit(values: list[float]) -> None:
    with Archive.in_memory() as archive:
        stream_id = archive.add_stream(np.array(values, dtype=np.float64))
        assert archive.stream(stream_id).tobytes() == np.array(values, dtype=np.float64).tobytes()
        assert archive.add_stream(np.array(values)) == stream_id


def test_a_damaged_stream_is_noticed(archive: Archive) -> None:
    stream_id = archive.add_stream(np.array([0.01, -0.02]))
    with archive.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER streams_no_update")
        connection.exec_driver_sql("UPDATE streams SET data = x'00'")
    with pytest.raises(StorageError, match=f"the return stream {stream_id} is damaged"):
        archive.stream(stream_id)
    with pytest.raises(StorageError, match="there is no return stream b2:none"):
        archive.stream("b2:none")


def test_a_stream_has_one_dimension(archive: Archive) -> None:
    with pytest.raises(ValueError, match="this one has 2"):
        archive.add_stream(np.zeros((2, 2)))


def test_looks_of_later_slots_of_the_same_run_can_be_left_out(planned: Archive) -> None:
    first, second = planned.slots("r1")[:2]
    planned.add_trial(trial(by="ann", purpose="backtest"))
    for slot in (first, second):
        planned.add_trial(trial(run_id="r1", slot_id=slot.slot_id))
    assert planned.count_trials("SP500") == 3
    assert planned.count_trials("SP500", up_to=second) == 3
    assert planned.count_trials("SP500", up_to=first) == 2
    assert planned.count_trials("SP500", purpose="open", up_to=first) == 1
