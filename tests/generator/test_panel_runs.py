"""A run on a panel, by the same loop: what is drawn, varied, asked for, compared and judged."""

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest

from agents.archive.store import Archive
from agents.strategy.expression.evaluate import EvaluationCache
from agents.strategy.spec import check_for_bars, load_spec
from agents.strategy.strategy import TradingStrategy
from agents.strategy.wire import to_wire
from backtesting.backtest import simulate
from backtesting.costs import LIQUID_INDEX
from backtesting.splits import LEAD_BARS, plan_split
from generator.context import card_inputs, market_card, schema_notes, vocabulary
from generator.grammar import Grammar
from generator.novelty import Known, positions_of, refuse_positions
from generator.outputs import against, form_of
from generator.templates import load_prompt, prompt_folders
from generator.variation import OPERATORS, PANEL_OPERATORS, PORTFOLIO_OPERATORS, cross, mutate

PANEL = "synthetic:planted-panel?years=7&seed=1&assets=6"


@pytest.fixture(scope="module")
def grammar(kit: Any) -> Grammar:
    bars = kit.market(PANEL)
    return Grammar(bars.upto(plan_split(bars).open.stop), EvaluationCache(), LEAD_BARS)


def drawn(grammar: Grammar, count: int) -> list[dict[str, Any]]:
    return [grammar.spec(np.random.default_rng(seed), f"draw_{seed:04d}") for seed in range(count)]


def test_the_grammar_draws_portfolios_comparisons_and_groups_and_they_are_legal(grammar: Grammar) -> None:
    configs = drawn(grammar, 150)
    kinds = Counter(config["kind"] for config in configs)
    assert kinds["portfolio"] > 45  # half of the draws
    assert kinds["rules"] > 30
    assert any("cs_" in str(config) for config in configs)
    assert any("feature(sector)" in str(config) for config in configs)
    assert any(config.get("neutralise") == "sector" for config in configs)
    legal = 0
    for config in configs:
        spec = load_spec(config, origin="")
        assert not isinstance(spec, list) or {error.rule for error in spec} <= {"bounds", "work", "too_large"}, spec
        legal += not isinstance(spec, list) and not check_for_bars(spec, grammar.bars, max_warmup=LEAD_BARS)
    assert legal > 135


def test_every_operator_for_portfolios_gives_a_legal_portfolio(grammar: Grammar) -> None:
    parents = [config for config in drawn(grammar, 40) if config["kind"] == "portfolio"]
    for name, operator in PORTFOLIO_OPERATORS.items():
        children = [
            operator(copy.deepcopy(parent), grammar, np.random.default_rng(seed)) for seed, parent in enumerate(parents)
        ]
        found = [load_spec(child, origin="") for child in children if child is not None]
        assert found, name
        assert all(not isinstance(spec, list) for spec in found), name
    crossed = cross(parents[0], parents[1], np.random.default_rng(1))
    assert crossed is not None
    assert crossed["score"] == parents[1]["score"]
    assert crossed["select"] == parents[0]["select"]


def test_a_score_becomes_a_ranking_on_a_panel_and_only_there(grammar: Grammar) -> None:
    score = {"kind": "score", "name": "abc", "hypothesis": "x", "score": "roc(close, 60)"}
    child = PANEL_OPERATORS["rank"](dict(score), grammar, np.random.default_rng(1))
    assert child is not None
    assert child["kind"] == "portfolio"
    assert child["score"] == "roc(close, 60)"
    assert not isinstance(load_spec(child, origin=""), list)
    names = {found[0] for seed in range(80) if (found := mutate(score, grammar, np.random.default_rng(seed)))}
    assert "rank" in names
    assert set(OPERATORS).isdisjoint(PANEL_OPERATORS)


def test_the_vocabulary_has_the_cross_section_on_a_panel_only(kit: Any, grammar: Grammar) -> None:
    here, there = vocabulary(grammar.bars), vocabulary(kit.market("synthetic:planted?years=6&seed=1"))
    assert "neutralise(x: same, group: ratio)" in here
    assert "Features: feature(sector) (numbers of groups)" in here
    assert "cs_" not in there
    assert "feature(" not in there


def test_the_card_speaks_of_all_assets_and_of_what_a_rule_does_with_them(kit: Any, grammar: Grammar) -> None:
    bars, window = grammar.bars, plan_split(kit.market(PANEL)).open
    card = market_card(load_prompt("market-card", prompt_folders()), bars, window)
    assert card[0] == "6 assets, traded on the days that an exchange is open"
    assert "features that hold groups: sector" in card
    assert "a rule or a score trades each asset by itself, on 1/6 of the account" in card
    # By hand: mean of the correlations of all pairs, on days that both have.
    moves = bars.close[window.start + 1 : window.stop] / bars.close[window.start : window.stop - 1] - 1
    pairs = []
    for k in range(6):
        for m in range(k):
            both = np.isfinite(moves[:, k]) & np.isfinite(moves[:, m])
            if both.sum() > 2:
                pairs.append(np.corrcoef(moves[both, k], moves[both, m])[0, 1])
    assert float(card_inputs(bars, window)["together"]) == pytest.approx(np.mean(pairs), abs=0.02)


def test_the_reply_may_be_a_portfolio_on_a_panel(grammar: Grammar) -> None:
    plain, panel = form_of("strategy-spec"), form_of("strategy-spec", panel=True)
    portfolio = to_wire(load_spec({**drawn_portfolio(), "name": "abc", "hypothesis": "x"}, origin=""))  # type: ignore[arg-type]
    assert not list(against(panel.schema or {}, portfolio))
    assert list(against(plain.schema or {}, portfolio))
    assert not list(against(panel.schema or {}, panel.example))
    assert "neutralise" in schema_notes(panel)
    assert "neutralise" not in schema_notes(plain)


def drawn_portfolio() -> dict[str, Any]:
    return {"kind": "portfolio", "score": "roc(close, 60)", "select": {"kind": "share", "share": 0.2}}


def test_two_neutral_portfolios_with_opposite_holdings_are_not_the_same(grammar: Grammar) -> None:
    results = []
    for score in ("roc(close, 60)", "-volatility(20)"):
        config = {**drawn_portfolio(), "name": "abc", "hypothesis": "x", "direction": "both", "score": score}
        spec = load_spec(config, origin="")
        assert not isinstance(spec, list)
        signals = TradingStrategy(spec).generate_signals(grammar.bars)
        results.append(simulate(signals, LIQUID_INDEX, keep_positions=True))
    known = Known()
    known.add_behaviour("winners", positions_of(results[0]), 0.0)
    assert refuse_positions(positions_of(results[0]), known) is not None
    sibling = refuse_positions(positions_of(results[1]), known)
    assert sibling is None or not hasattr(sibling, "code")
    assert positions_of(results[0]).shape == (grammar.bars.n_bars * 6,)


def test_a_run_on_a_panel_ends_with_a_verdict_for_every_candidate(kit: Any, archive: Archive) -> None:
    run = kit.go(kit.open_(kit.settings(market=PANEL, slots=6, seed=3), archive))
    assert run.finished
    looks = run.archive.evaluations(run.run_id)
    kinds = {candidate.spec["kind"] for candidate in run.archive.candidates(run.run_id)}
    assert looks
    assert kinds <= {"rules", "score", "portfolio"}
    reports = [run.archive.gate_report(slot_id) for slot_id in looks]
    assert all(report is not None for report in reports)


def test_looks_without_a_symbol_are_trials_of_the_symbols_that_are_left(
    kit: Any, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generator.verdicts.open_gates", lambda look: ())  # nobody is refused before that look
    run = kit.go(kit.open_(kit.settings(market=PANEL, slots=6, seed=3), archive))
    changed = [trial for trial in archive.trials(run.run_id) if trial.purpose == "neighbour"]
    dropped = [trial for trial in changed if trial.bars_id != run.record.bars_id]
    assert dropped
    assert {len(trial.series.split(",")) for trial in dropped} == {5}
    assert max(Counter(trial.slot_id for trial in dropped).values()) <= 3
    assert len(dropped) < len(changed)
    # A look at five of the symbols counts for the panel of six.
    assert archive.count_trials(run.series, purpose="neighbour") == len(changed)


def test_ordinary_portfolios_are_incumbents_on_a_panel_and_nowhere_else(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(market=PANEL, slots=2), archive)
    ours = {strategy.name: strategy.spec for strategy in run.incumbents}
    assert len(ours) == 11
    assert {name for name, spec in ours.items() if spec.kind == "portfolio"} == {
        "panel_momentum",
        "panel_reversal",
        "panel_low_volatility",
    }
    # They trade there, so what they earn can be taken out of a candidate.
    assert all(len(run.open.incumbents[name].trades) > 5 for name in ours if name.startswith("panel_"))
    assert all(check_for_bars(spec, run.bars, max_warmup=LEAD_BARS) == [] for spec in ours.values())
    alone = kit.open_(kit.settings(), archive)
    assert len(alone.incumbents) == 8
    assert {agent.agent_id for agent in archive.agents()} == {strategy.name for strategy in alone.incumbents}
