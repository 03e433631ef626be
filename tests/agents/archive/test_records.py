import pytest

from agents.archive.records import (
    REJECTION_CODES,
    Candidate,
    Promotion,
    Rejection,
    Review,
    Slot,
    StoredReport,
    series_key,
)
from backtesting.errors import CheckFailed

CANDIDATE = Candidate("r1/0000", "b2:rule", {"name": "golden"}, "llm")
REPORT = StoredReport("b2:report", "r1/0000", "b2:rule", "b2:nom", "pass", {"verdict": "pass"}, "")
REVIEW = Review("r1/0000", "b2:rule", "b2:report", "approve", "ann", "the margin convinces", "b2:digest")


def test_slot_id_is_run_and_four_digits() -> None:
    assert Slot("r1", 7, "random", 0).slot_id == "r1/0007"


def test_same_symbols_in_another_order_are_the_same_series() -> None:
    assert series_key(["SPY", "GLD"]) == series_key(("GLD", "SPY")) == "GLD,SPY"


def test_rejection_refuses_a_code_outside_the_fixed_set() -> None:
    assert Rejection("validation", "schema", "no entry").as_dict()["code"] == "schema"
    with pytest.raises(ValueError, match="unknown rejection code 'nonsense'"):
        Rejection("validation", "nonsense", "no entry")


def test_there_are_twenty_rejection_codes_each_once() -> None:
    assert len(REJECTION_CODES) == len(set(REJECTION_CODES)) == 20


def test_promotion_holds_what_belongs_together() -> None:
    assert Promotion(CANDIDATE, {}, REPORT, REVIEW, "b2:digest", "ann").review is REVIEW


@pytest.mark.parametrize(
    ("report", "review", "digest", "sentence"),
    [
        ({"verdict": "fail"}, {}, "b2:digest", "its verdict is 'fail'"),
        ({"verdict": "underpowered"}, {}, "b2:digest", "its verdict is 'underpowered'"),
        ({}, {"decision": "waive"}, "b2:digest", "the review says 'waive'"),
        ({}, {"decision": "defer"}, "b2:digest", "the review says 'defer'"),
        ({}, {}, "b2:other", "the approval of golden is stale"),
        ({"slot_id": "r1/0001"}, {}, "b2:digest", "are about different things"),
        ({"spec_id": "b2:else"}, {}, "b2:digest", "are about different things"),
        ({}, {"report_id": "b2:else"}, "b2:digest", "are about different things"),
    ],
)
def test_promotion_cannot_be_built_without_its_evidence(
    report: dict[str, str], review: dict[str, str], digest: str, sentence: str
) -> None:
    changed_report = StoredReport(**{**vars(REPORT), **report})
    changed_review = Review(**{**vars(REVIEW), **review})
    with pytest.raises(CheckFailed, match=sentence):
        Promotion(CANDIDATE, {}, changed_report, changed_review, digest, "ann")
