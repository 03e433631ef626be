"""Tool agent: a model that looks around with tools before it hands a spec in, a LangGraph loop of two nodes.

    model -> tool -> model -> ... until submit_spec, or until steps, tokens or repetitions are used up

An action is a JSON object in the reply, not a provider's tool call: every client speaks it (a compatible server, a
recording, a person), the raw reply is kept whole, and a cut or refused one stays visible. A reply with several
objects is no action, so nothing that was not meant is executed. A loop that ends without a submission has no
candidate: nothing that the model did not hand in is called its proposal.
"""

from dataclasses import dataclass
from typing import Any, TypedDict

from agents.archive.records import Rejection
from agents.strategy.spec import Spec
from generator.extraction import ExtractionError, extract, judge_completion
from generator.llm.client import Message
from generator.outputs import TOOLS
from generator.templates import render
from generator.workflows.dialogue import Desk, Dialogue
from generator.workflows.tools import Action, Looking, Toolbox, read_action
from generator.workflows.workflow import Task

MAX_REPEATS = 3
MAX_KEPT_REPLY = 12_000


class _State(TypedDict):
    """The conversation so far, the action that waits, and the end once there is one."""

    messages: tuple[Message, ...]
    action: Action | Rejection | None
    ended: Rejection | None


@dataclass(frozen=True, eq=False)
class ToolAgent:
    """The workflow. Roles: `agent`, which is asked, and `result`, whose prompt tells it what a tool answered."""

    desk: Desk
    looking: Looking

    async def propose(self, task: Task) -> tuple[Spec, int] | Rejection:
        """The spec that was submitted and the number of submissions that were not legal, or why there is none."""
        from langsmith import tracing_context

        config = self.desk.config
        toolbox = Toolbox(self.looking, task, self.desk.max_warmup, config.max_backtests)
        steps = _Steps(self.desk, task, toolbox)
        start: _State = {"messages": steps.opening(), "action": None, "ended": None}
        # LangGraph would report each state, prompts and all, to a tracer that the environment names.
        with tracing_context(enabled=False):
            end = await _graph(steps).ainvoke(start, {"recursion_limit": 2 * config.max_steps + 8})
        if toolbox.submitted is not None:
            return toolbox.submitted, toolbox.n_refused
        ended: Rejection = end["ended"]
        return ended


class _Steps:
    """The nodes of the graph, for one slot."""

    def __init__(self, desk: Desk, task: Task, toolbox: Toolbox) -> None:
        self.dialogue = Dialogue(desk, task)
        self._desk = desk
        self._task = task
        self._toolbox = toolbox
        self._seen: dict[str, int] = {}

    def opening(self) -> tuple[Message, ...]:
        """The conversation's beginning: what the tools are, and what is wanted."""
        prompt, config = self._desk.prompts["agent"], self._desk.config
        values: dict[str, Any] = {
            "tools": [f"{name}: {use}" for name, use in TOOLS.items()],
            "max_steps": config.max_steps,
            "max_backtests": config.max_backtests,
        }
        return render(prompt, self.dialogue.inputs("agent", values))

    async def model(self, state: _State) -> dict[str, Any]:
        """The model's next action."""
        answer = await self.dialogue.send("agent", state["messages"])
        if isinstance(answer, Rejection):
            return {"ended": answer}
        refused = judge_completion(answer)
        if refused is not None:
            return {"ended": Rejection("agent", refused.code, refused.reason)}
        said = Message("assistant", (answer.text or "")[:MAX_KEPT_REPLY])
        found = extract(answer.text or "")
        action = (
            Rejection("agent", found.code, found.reason) if isinstance(found, ExtractionError) else read_action(found)
        )
        return {"messages": (*state["messages"], said), "action": action}

    async def tool(self, state: _State) -> dict[str, Any]:
        """What the tool answers, as the next message; or the end."""
        action = state["action"]
        if isinstance(action, Action):
            repeats = self._seen[action.key] = self._seen.get(action.key, 0) + 1
            if repeats >= MAX_REPEATS:
                return {"ended": self._no_submission(f"the same step was taken {repeats} times: {action.tool}")}
            result = await self._toolbox.use(action.tool, action.query, action.spec)
        else:
            result = "" if action is None else f"nothing was done: {action.reason}"
        if self._toolbox.submitted is not None:
            return {}
        config = self._desk.config
        if self.dialogue.n_asked >= config.max_steps:
            return {"ended": self._no_submission(f"all {config.max_steps} steps were used up")}
        if self.dialogue.n_tokens >= config.max_slot_tokens:
            return {"ended": self._no_submission(f"{self.dialogue.n_tokens} tokens were used, the limit of the slot")}
        values = {
            "tool": action.tool if isinstance(action, Action) else "none",
            "result": result,
            "steps_left": config.max_steps - self.dialogue.n_asked,
        }
        prompt = self._desk.prompts["result"]
        told = render(prompt, self.dialogue.inputs("result", values))
        return {"messages": (*state["messages"], *told), "action": None}

    def after_model(self, state: _State) -> str:
        """A reply without an action ends the slot where asking again would ask for something else."""
        return "end" if state["ended"] else "tool"

    def after_tool(self, state: _State) -> str:
        """On, unless a spec was handed in or a limit is reached."""
        return "end" if state["ended"] or self._toolbox.submitted is not None else "model"

    def _no_submission(self, why: str) -> Rejection:
        detail = {"steps": self.dialogue.n_asked, "tokens": self.dialogue.n_tokens}
        return Rejection("agent", "no_submission", f"no spec was submitted: {why}", detail)


def _graph(steps: _Steps) -> Any:
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(_State)
    graph.add_node("model", steps.model)
    graph.add_node("tool", steps.tool)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", steps.after_model, {"tool": "tool", "end": END})
    graph.add_conditional_edges("tool", steps.after_tool, {"model": "model", "end": END})
    return graph.compile()
