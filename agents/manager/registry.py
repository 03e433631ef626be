"""Registry: the agents there are, with their states and histories, and the one way into it for a candidate.

An agent changes state only through a recorded transition. Shipped incumbents enter as `active`: they are what a
candidate is compared with. A candidate enters as `shadow`, which is paper trading without capital. One that passed in
an incumbent's place retires that incumbent as it enters. Not done yet: `pilot` and `active` for a candidate, which only
evidence from after the promotion can earn, and retirement for any other reason.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Protocol

from agents.archive.records import AgentRecord, Promotion, ReviewItem, Transition, passed_claims
from agents.archive.store import Archive
from agents.manager.review import digest_of, find_item
from backtesting.errors import CheckFailed, UsageError


class SpecLike(Protocol):
    """What the registry wants to know of a spec of the strategy language."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def spec_id(self) -> str:
        """Of the rule, whatever it is called."""
        ...

    def config(self) -> dict[str, Any]:
        """As JSON-able data that loads back."""
        ...


class Registry:
    """The agents of an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def ensure_shipped(self, specs: Iterable[SpecLike]) -> tuple[AgentRecord, ...]:
        """Register the shipped incumbents that were never registered, as `active`; gives the new ones.

        One that somebody retired stays retired.
        """
        with self._archive.transaction():
            known = {agent.spec_id for agent in self._archive.agents()}
            return tuple(
                self._archive.add_agent(
                    spec.name,
                    spec.spec_id,
                    spec.config(),
                    origin="shipped",
                    state="active",
                    who="touchstone",
                    reason="shipped",
                )
                for spec in specs
                if spec.spec_id not in known
            )

    def agents(self, state: str | None = None) -> tuple[AgentRecord, ...]:
        """All agents, or those in one state, in the order they came."""
        return self._archive.agents(state)

    def agent(self, name: str) -> AgentRecord:
        """The agent of this name; UsageError, with the nearest name, if there is none."""
        known = {agent.agent_id: agent for agent in self._archive.agents()}
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UsageError(
                f"there is no agent {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                next_step="see `touchstone agents list`",
            )
        return known[name]

    def history(self, name: str) -> tuple[Transition, ...]:
        """The transitions of an agent, oldest first."""
        return self._archive.transitions(self.agent(name).agent_id)

    def promote(self, ref: str, *, who: str, code_version: str, replaces: str = "") -> AgentRecord:
        """An approved candidate becomes an agent in `shadow`: candidate, report, review and agent in one transaction.

        Args:
            ref: the candidate, see `find_item`.
            replaces: the agent whose place it takes. Left out, it joins the others if it passed for that, and takes the
                one place that it passed for if not.
            code_version: of the code that runs now; an approval of another version's evidence is stale.

        Raises:
            CheckFailed: no passing report, or none for this claim, no approval, a stale one, an agent already, nobody
                to replace, or a broken audit trail; the attempt is in the audit trail.
        """
        archive = self._archive
        try:
            if (broken := archive.verify_audit()) is not None:
                raise CheckFailed(
                    f"the audit trail is broken: {broken.reason}",
                    next_step="find out who changed the database, and restore a copy from before",
                )
            with archive.transaction():
                item = self._candidate(ref)
                name = item.candidate.name
                if item.review is None:
                    raise CheckFailed(
                        f"{name} cannot be promoted, nobody has reviewed it",
                        next_step=f"review it first: touchstone review show {item.candidate.slot_id}",
                    )
                if not archive.check_report(item):
                    raise CheckFailed(
                        f"spec or gate report of {name} were changed after the judgement",
                        next_step="run the loop again for new evidence",
                    )
                evaluation = archive.evaluation(item.candidate.slot_id)
                if evaluation is None:
                    raise CheckFailed(
                        f"{name} cannot be promoted, it was never evaluated on the open window",
                        next_step="run the loop again for the evidence",
                    )
                joins, places = passed_claims(item.report.report)
                return archive.promote(
                    Promotion(
                        candidate=item.candidate,
                        evaluation=evaluation,
                        report=item.report,
                        review=item.review,
                        digest=digest_of(archive, item, code_version),
                        who=who,
                        replaces=replaces or ("" if joins or len(places) != 1 else places[0]),
                    )
                )
        except CheckFailed as refusal:
            archive.add_audit(who, "promotion.refused", ref, {"why": refusal.what})
            raise

    def _candidate(self, ref: str) -> ReviewItem:
        agents = self._archive.agents()
        try:
            item = find_item(self._archive, ref)
            agent = next((agent for agent in agents if agent.slot_id == item.candidate.slot_id), None)
        except CheckFailed:
            agent = next((agent for agent in agents if agent.agent_id == ref), None)
            if agent is None:
                raise
        if agent is not None:
            raise CheckFailed(
                f"{agent.agent_id} is an agent already, in state {agent.state!r}",
                next_step="further states need evidence from after its promotion, which is not collected yet",
            )
        return item
