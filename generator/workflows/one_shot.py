"""One shot: ask once for a whole spec, then let the model repair what the validator found, at most twice."""

from dataclasses import dataclass

from agents.archive.records import Rejection
from agents.strategy.spec import Spec
from generator.workflows.dialogue import Desk, Dialogue
from generator.workflows.workflow import Task


@dataclass(frozen=True, eq=False)
class OneShot:
    """The workflow with everything it uses. Roles: `propose`, `repair`."""

    desk: Desk

    async def propose(self, task: Task) -> tuple[Spec, int] | Rejection:
        """A legal spec and the number of repairs it took, or why there is none."""
        dialogue = Dialogue(self.desk, task)
        spec = await dialogue.legal_spec("propose")
        return spec if isinstance(spec, Rejection) else (spec, dialogue.n_repairs)
