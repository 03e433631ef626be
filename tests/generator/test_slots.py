"""The plan: shares of the arms, and random streams that nothing but their name decides."""

import hashlib
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from generator.slots import plan_slots, random_stream


def test_plan_has_every_slot_once_with_its_block() -> None:
    plan = plan_slots("r", n_slots=7, block=3, shares={"a": 1.0}, seed=1)
    assert [slot.index for slot in plan] == list(range(7))
    assert [slot.block for slot in plan] == [0, 0, 0, 1, 1, 1, 2]
    assert [slot.slot_id for slot in plan][:2] == ["r/0000", "r/0001"]


def test_arms_get_their_shares_in_every_block() -> None:
    plan = plan_slots("r", n_slots=40, block=10, shares={"llm": 0.6, "random": 0.2, "evolved": 0.2}, seed=7)
    for block in range(4):
        arms = Counter(slot.arm for slot in plan if slot.block == block)
        assert arms == {"llm": 6, "random": 2, "evolved": 2}


def test_order_within_a_block_is_random_and_the_same_for_the_same_seed() -> None:
    def arms(seed: int) -> list[str]:
        return [slot.arm for slot in plan_slots("r", n_slots=20, block=10, shares={"a": 0.5, "b": 0.5}, seed=seed)]

    assert arms(1) == arms(1)
    assert len({tuple(arms(seed)) for seed in range(10)}) > 5
    assert arms(1)[:10] != arms(1)[10:]


@given(
    st.lists(st.floats(0.01, 10.0), min_size=1, max_size=3),
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(0, 2**63 - 1),
)
def test_no_arm_is_a_whole_slot_off_its_share_at_the_end_of_any_block(
    weights: list[float], n_slots: int, block: int, seed: int
) -> None:
    shares = {f"arm{i}": weight / sum(weights) for i, weight in enumerate(weights)}
    plan = plan_slots("r", n_slots=n_slots, block=block, shares=shares, seed=seed)
    assert len(plan) == n_slots
    for end in {*range(block, n_slots, block), n_slots}:
        arms = Counter(slot.arm for slot in plan[:end])
        assert all(abs(arms[arm] - share * end) < 1.0 + 1e-9 for arm, share in shares.items())


def test_stream_depends_on_seed_subject_and_purpose_and_on_nothing_else() -> None:
    def first(*name: object) -> float:
        return float(random_stream(*name).random())  # type: ignore[arg-type]

    same = first(1, "slot-3", "llm")
    _ = [random_stream(1, f"slot-{i}", "llm").random(100) for i in range(5)]
    assert first(1, "slot-3", "llm") == same
    others = {first(2, "slot-3", "llm"), first(1, "slot-4", "llm"), first(1, "slot-3", "parents")}
    assert len(others) == 3
    assert same not in others


def test_stream_is_the_one_that_is_written_in_stored_runs() -> None:
    # A change here would make a resumed run a different one: 16 bytes of blake2b("5/slot-0/random"), little endian.
    number = int.from_bytes(hashlib.blake2b(b"5/slot-0/random", digest_size=16).digest(), "little")
    expected = np.random.Generator(np.random.PCG64(number)).random(3)
    assert random_stream(5, "slot-0", "random").random(3).tolist() == expected.tolist()
