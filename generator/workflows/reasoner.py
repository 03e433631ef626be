"""Reasoner: a brief first, then a spec from the brief, then a critic's reading of it, then refinements.

    scope -> author -> critic -> refine_brief -> author -> critic -> refine_spec / refine_risk, in the critic's order

The steps are a LangGraph graph over plain data; each node asks through the Dialogue, so the graph adds no memory, no
retry and no call of its own, and a resumed run walks the same way through stored answers. The critic explains, and the
order of its findings is the order of the refinements. It gives no score, its answer has no number in it, and it can
stop nothing: a spec that was legal before a refinement stays the proposal when the refinement fails.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from agents.archive.records import Rejection
from agents.strategy.spec import Spec
from agents.strategy.wire import to_wire
from generator.extraction import ExtractionError, extract, judge_completion
from generator.llm.client import Completion
from generator.outputs import BRIEF_FIELDS, SUBJECTS
from generator.workflows.dialogue import Desk, Dialogue
from generator.workflows.workflow import Task

MAX_FINDINGS = 6
MAX_WORDS = 600


class _State(TypedDict):
    """Where a slot stands; each node gives back what it changes.

    `pending` are the subjects that wait for a refinement, in the critic's order; `failed` ends the slot.
    """

    brief: dict[str, str]
    revised: bool
    spec: Spec | None
    findings: list[dict[str, str]]
    pending: list[str]
    failed: Rejection | None


@dataclass(frozen=True, eq=False)
class Reasoner:
    """The workflow. Roles: `scope`, `author`, `critic`, `refine_brief`, `refine_spec`, `refine_risk`, `repair`."""

    desk: Desk

    async def propose(self, task: Task) -> tuple[Spec, int] | Rejection:
        """A legal spec and the number of repairs it took, or why there is none."""
        from langsmith import tracing_context

        steps = _Steps(self.desk, task)
        start: _State = {
            "brief": {},
            "revised": False,
            "spec": None,
            "findings": [],
            "pending": [],
            "failed": None,
        }
        # LangGraph would report each state, prompts and all, to a tracer that the environment names.
        with tracing_context(enabled=False):
            end = await _graph(steps).ainvoke(start, {"recursion_limit": 2 * self.desk.config.max_steps + 8})
        spec: Spec | None = end["spec"]
        if spec is None:
            failed: Rejection | None = end["failed"]
            return failed or Rejection("workflow", "no_submission", "the steps were used up before a spec was written")
        return spec, steps.dialogue.n_repairs


class _Steps:
    """The nodes of the graph, for one slot."""

    def __init__(self, desk: Desk, task: Task) -> None:
        self.dialogue = Dialogue(desk, task)
        self._max_steps = desk.config.max_steps

    async def scope(self, state: _State) -> dict[str, Any]:
        """A brief: the mechanism before any rule."""
        return _briefed(await self.dialogue.ask("scope"), "scope")

    async def refine_brief(self, state: _State) -> dict[str, Any]:
        """The brief again, with the critic's objections to it; the old one stays if nothing usable comes."""
        values = {"brief": _lines(state["brief"]), "findings": _about(state, "brief")}
        found = _briefed(await self.dialogue.ask("refine_brief", values), "refine_brief")
        return {"brief": found.get("brief", state["brief"]), "revised": True, "pending": []}

    async def author(self, state: _State) -> dict[str, Any]:
        """A spec from the brief."""
        values = {"brief": _lines(state["brief"])}
        spec = await self.dialogue.legal_spec("author", values)
        if isinstance(spec, Rejection):
            return {"failed": spec} if state["spec"] is None else {}
        return {"spec": spec}

    async def critic(self, state: _State) -> dict[str, Any]:
        """What somebody who wants it to fail would say; without a usable answer there is nothing to refine."""
        values = {"brief": _lines(state["brief"]), "spec": _text(state["spec"])}
        findings = _findings(await self.dialogue.ask("critic", values))
        pending = list(dict.fromkeys(finding["about"] for finding in findings))
        return {"findings": findings, "pending": pending}

    async def refine_spec(self, state: _State) -> dict[str, Any]:
        """The spec again, with the objections to its rule."""
        return await self._refined(state, "spec")

    async def refine_risk(self, state: _State) -> dict[str, Any]:
        """The spec again, with the objections to its exits, protection and size."""
        return await self._refined(state, "risk")

    def after_scope(self, state: _State) -> str:
        """No brief, no spec."""
        return "end" if state["failed"] else "author"

    def after_author(self, state: _State) -> str:
        """A spec is criticised, if a step is left for it."""
        return "end" if state["failed"] or self._used_up else "critic"

    def next_refinement(self, state: _State) -> str:
        """The brief first, because all else follows from it, and once only; then the critic's order."""
        if self._used_up or not state["pending"]:
            return "end"
        if "brief" in state["pending"] and not state["revised"]:
            return "refine_brief"
        left = [subject for subject in state["pending"] if subject != "brief"]
        return f"refine_{left[0]}" if left else "end"

    @property
    def _used_up(self) -> bool:
        return self.dialogue.n_asked >= self._max_steps

    async def _refined(self, state: _State, subject: str) -> dict[str, Any]:
        values = {"spec": _text(state["spec"]), "findings": _about(state, subject)}
        spec = await self.dialogue.legal_spec(f"refine_{subject}", values)
        left = [other for other in state["pending"] if other != subject]
        return {"pending": left} if isinstance(spec, Rejection) else {"pending": left, "spec": spec}


def _graph(steps: _Steps) -> Any:
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(_State)
    for name in ("scope", "author", "critic", "refine_brief", "refine_spec", "refine_risk"):
        graph.add_node(name, getattr(steps, name))
    graph.add_edge(START, "scope")
    graph.add_conditional_edges("scope", steps.after_scope, {"author": "author", "end": END})
    graph.add_conditional_edges("author", steps.after_author, {"critic": "critic", "end": END})
    ways: dict[Any, str] = {f"refine_{subject}": f"refine_{subject}" for subject in SUBJECTS} | {"end": END}
    for name in ("critic", "refine_spec", "refine_risk"):
        graph.add_conditional_edges(name, steps.next_refinement, ways)
    graph.add_edge("refine_brief", "author")
    return graph.compile()


def _briefed(answer: Completion | Rejection, role: str) -> dict[str, Any]:
    """The brief in an answer, or the rejection that an unusable one is."""
    found = _object(answer, role)
    if isinstance(found, Rejection):
        return {"failed": found}
    missing = [name for name in BRIEF_FIELDS if not isinstance(found.get(name), str) or not found[name].strip()]
    if missing:
        reason = f"the brief has no text for {', '.join(missing)}"
        return {"failed": Rejection(role, "schema", reason, {"missing": missing})}
    return {"brief": {name: found[name][:MAX_WORDS] for name in BRIEF_FIELDS}}


def _findings(answer: Completion | Rejection) -> list[dict[str, str]]:
    """The critic's findings, most important first; none where the answer is not usable."""
    found = _object(answer, "critic")
    listed = [] if isinstance(found, Rejection) else found.get("findings")
    findings = []
    for item in listed if isinstance(listed, list) else []:
        texts = item if isinstance(item, dict) else {}
        about, problem, suggestion = (texts.get(name) for name in ("about", "problem", "suggestion"))
        if about in SUBJECTS and isinstance(problem, str) and isinstance(suggestion, str):
            findings.append({"about": about, "problem": problem[:MAX_WORDS], "suggestion": suggestion[:MAX_WORDS]})
    return findings[:MAX_FINDINGS]


def _object(answer: Completion | Rejection, stage: str) -> dict[str, Any] | Rejection:
    if isinstance(answer, Rejection):
        return answer
    refused = judge_completion(answer)
    found = refused or extract(answer.text or "")
    return Rejection(stage, found.code, found.reason) if isinstance(found, ExtractionError) else found


def _about(state: _State, subject: str) -> list[str]:
    return [f"{item['problem']} -> {item['suggestion']}" for item in state["findings"] if item["about"] == subject]


def _lines(brief: Mapping[str, str]) -> list[str]:
    return [f"{name.replace('_', ' ')}: {text}" for name, text in brief.items()]


def _text(spec: Spec | None) -> str:
    return "" if spec is None else json.dumps(to_wire(spec), ensure_ascii=False)
