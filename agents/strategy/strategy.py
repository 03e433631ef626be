"""TradingStrategy: a spec that can be asked for signals.

Pure and causal: the signals on `bars.upto(t)` equal the first t signals on `bars`. It never trades, sees no account,
and has no state beyond its compiled rule, so one instance serves many markets.

On a panel a rule or a score trades each symbol by itself, on a share of the account of its own: what the spec says of
equity, it means of 1/n of it, n being the symbols of the panel, listed or not. The share of a symbol that is not there
stays in cash: a share that grew when another symbol was delisted would trade on a date that the rule knows nothing of.
The orders of a rule may say otherwise (`whole_account`): then its symbols share one account.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from agents.data_fetch.frame import bars_from_frame
from agents.strategy.ensemble import ensemble_targets
from agents.strategy.expression.evaluate import EvaluationCache, condition, numbers
from agents.strategy.expression.nodes import Node
from agents.strategy.incumbents import DEFAULT, shipped_incumbent, shipped_incumbents
from agents.strategy.portfolio import portfolio_targets
from agents.strategy.sizing import largest, paper_sides, sizes
from agents.strategy.spec import (
    EnsembleSpec,
    Halt,
    Orders,
    PortfolioSpec,
    RulesSpec,
    ScoreSpec,
    SignPosition,
    Spec,
    derived_nodes,
    load_spec,
    warmup_bars,
    with_members,
)
from backtesting.bars import Bars, BoolArray, FloatArray
from backtesting.decisions import Decisions, SignalDecisions, Signals, TargetDecisions
from backtesting.errors import InvalidConfig

if TYPE_CHECKING:
    import pandas as pd


class TradingStrategy:
    """A strategy made from a spec, from the entries of a configuration, or the default incumbent (the 50/200 cross).

    Raises:
        InvalidConfig: the configuration is not a legal spec; the sentence lists what is wrong.
    """

    def __init__(self, spec: Spec | None = None, **config: Any) -> None:
        if spec is not None and config:
            raise InvalidConfig(
                "a strategy was given a spec and a configuration",
                next_step="give one of them; the spec holds everything",
            )
        if spec is None:
            spec = _from_config(config) if config else shipped_incumbent(DEFAULT)
        if isinstance(spec, EnsembleSpec) and spec.unresolved:
            raise InvalidConfig(
                f"the ensemble {spec.name} names agents that have not been looked up: {', '.join(spec.unresolved)}",
                next_step="put their specs in their places (`with_members` does), so that the rule says what it is",
            )
        self.spec: Spec = spec
        self._nodes: dict[str, Node] | None = None

    def __repr__(self) -> str:
        return f"TradingStrategy({self.name}, {self.spec_id})"

    @property
    def name(self) -> str:
        """The name that the spec gives itself."""
        return self.spec.name

    @property
    def spec_id(self) -> str:
        """Content id of the rule; the same for the same rule under another name."""
        return self.spec.spec_id

    @property
    def warmup_bars(self) -> int:
        """Leading bars at which some part of the rule cannot be known yet."""
        return warmup_bars(self.spec)

    def load_model(self) -> Self:
        """Compile the rule; may be called again, and need not be called."""
        self._compiled()
        return self

    def generate_signals(self, bars: "Bars | pd.DataFrame", *, cache: EvaluationCache | None = None) -> Signals:
        """What the rule decides at the close of every bar.

        Args:
            bars: Bars, or a DataFrame with Open, High, Low, Close and Volume columns and a DatetimeIndex.
            cache: shared by those who evaluate several rules on the same bars; results do not depend on it.

        Raises:
            DataError: the frame is no price history, or the bars lack a feature that the rule names.
        """
        bars = bars if isinstance(bars, Bars) else bars_from_frame(bars, symbol="asset", source="frame")
        cache = EvaluationCache() if cache is None else cache
        return Signals(name=self.name, bars=bars, decisions=self._decisions(bars, cache))

    def _decisions(self, bars: Bars, cache: EvaluationCache) -> Decisions:
        spec = self.spec
        if isinstance(spec, RulesSpec):
            return self._rules(spec, bars, cache)
        if isinstance(spec, ScoreSpec):
            return self._score(spec, bars, cache)
        if isinstance(spec, PortfolioSpec):
            return replace(portfolio_targets(spec, self._compiled(), bars, cache), **_account_terms(spec))
        decided = [TradingStrategy(member.spec)._decisions(bars, cache) for member, _ in spec.in_order]
        return replace(ensemble_targets(spec, decided, bars), **_account_terms(spec))

    def _compiled(self) -> dict[str, Node]:
        if self._nodes is None:
            self._nodes = derived_nodes(self.spec)
        return self._nodes

    def _rules(self, spec: RulesSpec, bars: Bars, cache: EvaluationCache) -> Decisions:
        nodes = self._compiled()
        never = np.zeros(bars.close.shape, dtype=np.bool_)
        fired = {
            path: condition(nodes[path], bars, cache) if path in nodes else never
            for path in ("long.enter", "long.exit", "short.enter", "short.exit")
        }
        flags = (fired["long.enter"], fired["long.exit"], fired["short.enter"], fired["short.exit"])
        whole = sizes(spec.sizing, nodes.get("sizing"), lambda: paper_sides(*flags), bars, cache)
        orders = spec.orders or Orders()
        size = whole if orders.whole_account else whole / bars.n_assets
        distances = {kind: np.full(bars.close.shape, np.nan) for kind in ("stop", "trail", "target")}
        if spec.protect is not None:
            for kind in tuple(distances):
                share, multiple = getattr(spec.protect, f"{kind}_share"), getattr(spec.protect, f"{kind}_atr")
                if share is not None:
                    distances[kind] = share * bars.close
                if multiple is not None:
                    distances[kind] = multiple * numbers(nodes["protect"], bars, cache)
                if share is not None or multiple is not None:
                    # A position whose protection cannot be placed is not entered.
                    size = np.where(np.isnan(distances[kind]), np.nan, size)
        limit_price = self._limit_price(orders, fired, bars, cache)
        if limit_price is not None:
            # Without a price it would be an order at the market, which nobody asked for.
            size = np.where(limit_price > 0.0, size, np.nan)
        return SignalDecisions(
            enter_long=fired["long.enter"],
            exit_long=fired["long.exit"],
            enter_short=fired["short.enter"],
            exit_short=fired["short.exit"],
            size=size,
            stop_distance=distances["stop"],
            trail_distance=distances["trail"],
            target_distance=distances["target"],
            max_bars=(spec.protect.max_bars or 0) if spec.protect is not None else 0,
            # All shares together are the account, or what the sizing may borrow on top; one that has grown takes its
            # room from entries that come later, not from a lender.
            max_gross=max(1.0, largest(spec.sizing)),
            limit_price=limit_price,
            limit_bars=orders.limit_bars,
            cooldown_bars=orders.cooldown_bars or 0,
            rearm=orders.rearm,
            max_positions=orders.max_positions or 0,
            **_halt_terms(spec.halt),
        )

    def _limit_price(
        self, orders: Orders, fired: Mapping[str, BoolArray], bars: Bars, cache: EvaluationCache
    ) -> FloatArray | None:
        """Where an entry rests: below the close, above it for a short one; None for orders at the market."""
        if not orders.rests:
            return None
        if orders.limit_share is not None:
            away = orders.limit_share * bars.close
        else:
            away = float(orders.limit_atr or 0.0) * numbers(self._compiled()["orders"], bars, cache)
        sells = fired["short.enter"] & ~fired["long.enter"]
        return bars.close + np.where(sells, away, -away)

    def _score(self, spec: ScoreSpec, bars: Bars, cache: EvaluationCache) -> Decisions:
        nodes = self._compiled()
        score = numbers(nodes["score"], bars, cache)
        weight = _weights(spec, score)
        whole = sizes(spec.sizing, nodes.get("sizing"), lambda: np.sign(np.nan_to_num(weight, nan=0.0)), bars, cache)
        target = weight * (whole / bars.n_assets)
        # NaN keeps what is held: on the bars between two looks, and where the score is not known.
        skipped = np.arange(bars.n_bars) % spec.rebalance.every_bars != 0
        target[skipped] = np.nan
        return TargetDecisions(target=target, band=spec.rebalance.band / bars.n_assets, **_account_terms(spec))


def _halt_terms(halt: Halt | None) -> dict[str, Any]:
    return {} if halt is None else {"halt_drawdown": halt.drawdown, "halt_bars": halt.bars or 0}


def _account_terms(spec: ScoreSpec | PortfolioSpec | EnsembleSpec) -> dict[str, Any]:
    """What holds for the account as a whole: the halt, and the limits of targets."""
    limits = {} if spec.limits is None else spec.limits.model_dump(exclude_none=True)
    return _halt_terms(spec.halt) | {f"max_{name}": value for name, value in limits.items()}


def _weights(spec: ScoreSpec, score: FloatArray) -> FloatArray:
    if isinstance(spec.position, SignPosition):
        weight = np.where(
            np.isnan(score), np.nan, np.where(np.abs(score) > spec.position.deadband, np.sign(score), 0.0)
        )
    else:
        weight = np.clip(score * spec.position.scale, -1.0, 1.0)
    if spec.direction == "long":
        return np.maximum(weight, 0.0)
    return np.minimum(weight, 0.0) if spec.direction == "short" else weight


def _from_config(config: dict[str, Any]) -> Spec:
    spec = load_spec(config, origin="")
    if isinstance(spec, EnsembleSpec):
        spec = with_members(spec, {shipped.name: shipped for shipped in shipped_incumbents()})
    if isinstance(spec, list):
        raise InvalidConfig(
            f"the configuration is not a legal strategy: {'; '.join(map(str, spec))}",
            next_step="correct the parts named; docs/how-to/add-an-incumbent.md shows a legal one",
        )
    return spec
