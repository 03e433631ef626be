"""Workflow: one way to come from a slot to a legal spec. The loop knows `propose` and nothing else about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agents.archive.records import Rejection, Slot
from agents.strategy.spec import Spec
from generator.selection import Chosen, Snapshot


@dataclass(frozen=True, eq=False)
class Task:
    """What a slot is about.

    Attributes:
        inputs: by role, what its prompt may be told, by name; of the open window only.
        parents: the rules shown as earlier ones, with the probability of each draw.
        snapshot: the archive as this slot may see it.
        asking: tells two askings of the same words apart; None for the number of the slot.
    """

    slot: Slot
    inputs: Mapping[str, Mapping[str, Any]]
    parents: tuple[Chosen, ...]
    snapshot: Snapshot
    asking: int | None = None

    @property
    def repeat_index(self) -> int:
        """Sent along with each question of the slot."""
        return self.slot.index if self.asking is None else self.asking


class Workflow(Protocol):
    """Asks a model, or several, for one candidate."""

    async def propose(self, task: Task) -> tuple[Spec, int] | Rejection:
        """A legal spec and the number of repairs it took, or why there is none.

        Raises:
            BudgetReached, EndpointError: the run stops; what was asked so far is stored and is not paid again.
        """
        ...
