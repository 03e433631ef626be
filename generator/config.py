"""RunConfig: everything that decides what a run will propose and judge, in one frozen record.

What only limits a run (budgets, concurrency) is not part of it: raising a budget must not make it another run. The
identity of a run is the content id of its RunConfig together with the data, prompts and code used.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from backtesting.costs import COSTS, CostModel
from backtesting.errors import InvalidConfig
from backtesting.terms import CASH, Terms

Made = TypeVar("Made")

MODEL_ARMS = ("llm", "llm-independent")
"""`llm-independent` gets the same prompt without parents and without feedback: what a model does without the search."""
CONTROL_ARMS = ("llm-independent", "random", "evolved")
ARMS = ("llm", "llm-independent", "random", "evolved")
WITHOUT_MODEL = {"random": 1.0, "evolved": 1.0}
WITH_MODEL = {"llm": 12.0, "llm-independent": 3.0, "random": 2.0, "evolved": 3.0}
CARD = "market-card"
"""The prompt that the market card is written with; an input of the others, sent to nobody by itself."""

WORKFLOWS: dict[str, dict[str, str]] = {
    "one-shot": {"propose": "propose", "repair": "repair"},
    "reasoner": {
        "scope": "reason_scope",
        "author": "reason_author",
        "critic": "reason_critique",
        "refine_brief": "refine_brief",
        "refine_spec": "refine_spec",
        "refine_risk": "refine_risk",
        "repair": "repair",
    },
    "tool-agent": {"agent": "tool_agent", "result": "tool_result"},
}
"""The ways of asking a model for one candidate: each one's roles, and the prompt that a role uses by itself."""


def read_costs(values: Mapping[str, Any]) -> CostModel:
    """A cost model from plain data, as strictly as a spec is read; ValueError says what is wrong."""
    _refuse_unknown(values, CostModel)
    missing = [item.name for item in fields(CostModel) if item.default is MISSING and item.name not in values]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing: a cost that is not written down would be zero in silence")
    return _checked(lambda: CostModel(**{name: _number(name, value) for name, value in values.items()}))


def read_terms(values: Mapping[str, Any]) -> Terms:
    """Terms from plain data; what is left out is the default of `Terms`. ValueError says what is wrong."""
    _refuse_unknown(values, Terms)
    found: dict[str, Any] = {}
    for name, value in values.items():
        if value is None and name in _WORDS:
            found[name] = None
        elif name in _WORDS:
            if not isinstance(value, str):
                raise ValueError(f"{name} is {value!r}, wanted is a word")
            found[name] = value
        elif name in _WHOLE:
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} is {value!r}, wanted is a whole number")
            found[name] = value
        elif isinstance(value, list | tuple):
            if name not in ("multiplier", "lot"):
                raise ValueError(f"{name} is one number, not a list")
            found[name] = tuple(_number(name, item) for item in value)
        else:
            found[name] = _number(name, value)
    return _checked(lambda: Terms(**found))


_WORDS = ("fill", "roll", "funding")
_WHOLE = ("roll_every", "delisted_after")


def _checked(make: Callable[[], Made]) -> Made:
    try:
        return make()
    except InvalidConfig as error:
        raise ValueError(error.what) from None


def _refuse_unknown(values: Mapping[str, Any], kind: type[CostModel] | type[Terms]) -> None:
    known = [item.name for item in fields(kind)]
    for name in values:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {str(name)[:40]!r}{hint}; known are {', '.join(known)}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r}, wanted is a number")
    return float(value)


class RoleConfig(BaseModel):
    """What one role of a workflow does otherwise than the run; None leaves it to the run, or to the prompt.

    Attributes:
        llm, llm_mode: another model for this role, and how its replies' form is asked for.
        prompt: id of the prompt.
        max_output_tokens, temperature: sent to the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    llm: str | None = None
    llm_mode: Annotated[str, Field(pattern="^(schema|json|text)$")] | None = None
    prompt: str | None = None
    max_output_tokens: Annotated[int, Field(ge=64, le=100_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None


class RunConfig(BaseModel):
    """What a run is.

    Attributes:
        market: address of the market, `sample:sp500`, `csv:PATH`, ...
        slots: how many proposals are planned.
        seed: of everything random in the run; 0 to 2**63 - 1.
        llm: address of the model, or `none`.
        llm_mode: how the wire schema is asked for: enforced by the server, as JSON, or in words only.
        arms: shares of the slots by arm; empty for the usual ones (with a model 60, 15, 10 and 15 %, without 1:1).
        block: slots a block; every slot of a block sees the archive as it was when the block began.
        costs: name of a cost model, or the numbers of one, all of them.
        terms: the conventions of the market where they are not those of a cash account in shares, all of them. Numbers
            and conventions are part of the run, and not the files that they were read from.
        open_share: share of the history that proposers may see.
        alpha: chance of promoting anything worthless that the sealed window may be spent on, over all runs on it.
        edge_of_interest: annual Sharpe of the residual that would be worth having; decides what "underpowered" means.
        replace: an active agent; each candidate is then nominated to take its place as well. Empty for none.
        after_cutoff: judge what a model proposed that may know the first sealed days blindly on the days after, instead
            of by its length on all of them.
        queue: how many candidates go into the review queue.
        prompt: id of the prompt that proposes; repair_prompt: of the one that repairs.
        reflect: after each block the model may write a few lessons, which later prompts of the arm `llm` see.
        max_output_tokens, temperature: sent to the model; None takes what the prompt recommends.
        workflow: how a model is asked for one candidate: `one-shot`, `reasoner` or `tool-agent`.
        roles: by role of the workflow, what differs there (`critic: {temperature: 0.2}`).
        max_steps: calls that one slot may take in the workflows that take several.
        max_backtests: looks at the open window that a tool agent may take in one slot; each is a trial.
        max_slot_tokens: tokens after which a tool agent is not asked again in one slot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    market: str
    slots: Annotated[int, Field(ge=1, le=100_000)] = 40
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    llm: str = "none"
    llm_mode: Annotated[str, Field(pattern="^(schema|json|text)$")] = "schema"
    arms: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    block: Annotated[int, Field(ge=1, le=1_000)] = 10
    costs: str | dict[str, Any] = "liquid-index"
    terms: dict[str, Any] | None = None
    open_share: Annotated[float, Field(ge=0.1, le=0.9)] = 0.30
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    edge_of_interest: Annotated[float, Field(gt=0, le=10)] = 1.0
    replace: Annotated[str, Field(max_length=100)] = ""
    after_cutoff: bool = False
    queue: Annotated[int, Field(ge=1, le=100)] = 5
    prompt: str = "propose"
    repair_prompt: str = "repair"
    reflect: bool = False
    max_output_tokens: Annotated[int, Field(ge=64, le=100_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    workflow: str = "one-shot"
    roles: dict[str, RoleConfig] = Field(default_factory=dict)
    max_steps: Annotated[int, Field(ge=2, le=50)] = 10
    max_backtests: Annotated[int, Field(ge=0, le=20)] = 3
    max_slot_tokens: Annotated[int, Field(ge=1_000, le=2_000_000)] = 120_000

    @field_validator("costs")
    @classmethod
    def _known_costs(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if isinstance(value, str):
            if value not in COSTS:
                raise ValueError(f"unknown cost model {value!r}; known: {', '.join(COSTS)}, or a file with the numbers")
            return value
        # In full, so that what a number would be by default is written on the run as well.
        return read_costs(value).as_dict()

    @field_validator("terms")
    @classmethod
    def _known_terms(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        terms = read_terms(value)
        return None if terms == CASH else terms.as_dict()

    @model_validator(mode="after")
    def _known_arms(self) -> Self:
        unknown = set(self.arms) - set(ARMS)
        if unknown:
            raise ValueError(f"unknown arm {sorted(unknown)[0]!r}; known: {', '.join(ARMS)}")
        if self.arms and not sum(self.arms.values()) > 0:
            raise ValueError("the shares of the arms add up to nothing")
        asking = [arm for arm in MODEL_ARMS if self.arms.get(arm, 0) > 0]
        if self.llm == "none" and asking:
            raise ValueError(f"the arm {asking[0]!r} needs a model; set llm, or leave the arm out")
        if self.reflect and self.shares.get("llm", 0.0) == 0.0:
            raise ValueError("reflect writes lessons for the arm 'llm', which has no slots in this run")
        return self

    @model_validator(mode="after")
    def _known_roles(self) -> Self:
        if self.workflow not in WORKFLOWS:
            raise ValueError(f"unknown workflow {self.workflow!r}; known: {', '.join(WORKFLOWS)}")
        unknown = set(self.roles) - set(WORKFLOWS[self.workflow])
        if unknown:
            known = ", ".join(WORKFLOWS[self.workflow])
            raise ValueError(f"the workflow {self.workflow} has no role {sorted(unknown)[0]!r}; known: {known}")
        asked = {name for name, role in self.roles.items() if role.llm == "none"}
        if asked:
            raise ValueError(f"the role {sorted(asked)[0]!r} needs a model; leave its llm out to use the run's")
        return self

    @property
    def cost_model(self) -> CostModel:
        """What trading costs in this run."""
        return COSTS[self.costs] if isinstance(self.costs, str) else CostModel(**self.costs)

    @property
    def market_terms(self) -> Terms:
        """How the market of this run trades."""
        return CASH if self.terms is None else Terms.of(self.terms)

    def role(self, name: str) -> RoleConfig:
        """The settings of a role of the workflow, the run's own filled in where it has none."""
        own = self.roles.get(name, RoleConfig())
        plain = {"propose": self.prompt, "repair": self.repair_prompt, "reflect": "reflect"}
        return RoleConfig(
            llm=own.llm or self.llm,
            # A mode is a property of an endpoint: another model does not inherit it by accident.
            llm_mode=own.llm_mode or ("schema" if own.llm not in (None, self.llm) else self.llm_mode),
            prompt=own.prompt or plain.get(name) or WORKFLOWS[self.workflow][name],
            max_output_tokens=own.max_output_tokens or self.max_output_tokens,
            temperature=self.temperature if own.temperature is None else own.temperature,
        )

    @property
    def prompts(self) -> dict[str, str]:
        """Prompt id by role of the workflow, and the market card's; empty without a model."""
        if self.llm == "none":
            return {}
        return {**{name: str(self.role(name).prompt) for name in self.asked}, CARD: CARD}

    @property
    def asked(self) -> tuple[str, ...]:
        """The roles that a model is asked in."""
        return (*WORKFLOWS[self.workflow], *(("reflect",) if self.reflect else ()))

    @property
    def shares(self) -> dict[str, float]:
        """Share of each arm that takes part; adds up to 1, in the order of ARMS."""
        weights = self.arms or (WITHOUT_MODEL if self.llm == "none" else WITH_MODEL)
        total = sum(weights.values())
        return {arm: weights[arm] / total for arm in ARMS if weights.get(arm, 0) > 0}
