"""BUILDERS: how each workflow of `config.WORKFLOWS` is made for a run. A new one is a file, and an entry in both."""

from collections.abc import Callable, Mapping

from backtesting.splits import LEAD_BARS
from generator.calls import PaidCalls
from generator.config import CARD
from generator.run import Run
from generator.workflows.dialogue import Desk
from generator.workflows.one_shot import OneShot
from generator.workflows.reasoner import Reasoner
from generator.workflows.tool_agent import ToolAgent
from generator.workflows.tools import Looking
from generator.workflows.workflow import Workflow


def build_workflow(run: Run, calls: Mapping[str, PaidCalls]) -> Workflow:
    """The run's workflow; `calls` are by role."""
    desk = Desk(run.archive, calls, run.prompts, run.config, run.open.bars, LEAD_BARS)
    return BUILDERS[run.config.workflow](run, desk)


def _one_shot(run: Run, desk: Desk) -> Workflow:
    return OneShot(desk)


def _reasoner(run: Run, desk: Desk) -> Workflow:
    return Reasoner(desk)


def _tool_agent(run: Run, desk: Desk) -> Workflow:
    return ToolAgent(
        desk, Looking(run.open, run.archive, run.record.bars_id, run.series, run.config.seed, run.prompts[CARD])
    )


BUILDERS: dict[str, Callable[[Run, Desk], Workflow]] = {
    "one-shot": _one_shot,
    "reasoner": _reasoner,
    "tool-agent": _tool_agent,
}
