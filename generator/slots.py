"""The plan of a run: which arm proposes in which slot, fixed and stored before the first call.

Arms are interleaved block by block in random order, so that every arm meets the same archive ages. A slot has its own
random streams, named by purpose; order, concurrency and resumption cannot change them.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from agents.archive.records import Slot


def plan_slots(run_id: str, *, n_slots: int, block: int, shares: Mapping[str, float], seed: int) -> tuple[Slot, ...]:
    """Slots 0 to n_slots - 1; at the end of every block each arm has had its share so far to within one slot."""
    slots: list[Slot] = []
    planned = dict.fromkeys(shares, 0)
    for start in range(0, n_slots, block):
        size = min(block, n_slots - start)
        arms: list[str] = []
        for _ in range(size):
            # The arm furthest behind its share goes next; ties go to the first named.
            due = {arm: share * (start + len(arms) + 1) - planned[arm] for arm, share in shares.items()}
            arm = max(due, key=lambda name: due[name])
            planned[arm] += 1
            arms.append(arm)
        random_stream(seed, f"block-{start // block}", "order").shuffle(arms)
        slots += [
            Slot(run_id=run_id, index=start + offset, arm=arm, block=start // block) for offset, arm in enumerate(arms)
        ]
    return tuple(slots)


def random_stream(seed: int, subject: str, purpose: str) -> np.random.Generator:
    """The random numbers of one subject (a slot, a block) for one purpose: the same whenever they are asked for."""
    digest = hashlib.blake2b(f"{seed}/{subject}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
