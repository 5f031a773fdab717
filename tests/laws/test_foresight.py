"""Held-out scores, rival laws, forecasts and decisions, against values worked out by hand and later data."""

import time

import numpy as np
import pytest

from rlscale_jax import laws
from rlscale_jax.laws import comparison, holdout, planner
from rlscale_jax.laws.backtest import backtest, log_rmse
from rlscale_jax.laws.simulation import Design, simulate


@pytest.fixture
def exact(exact_rows):
    return laws.fit(laws.from_rows(exact_rows()), resource="data")


def test_predicted_and_calibrated_are_kept_apart(exact_rows):
    """A largest model with an unforeseen level: calibration sees it, prediction cannot."""
    rows = [r | {"test_loss": r["test_loss"] * (0.8 if r["n_params"] == 100e9 else 1)} for r in exact_rows()]
    fit, other = (laws.fit(laws.from_rows(t), resource="data", protocol="inter") for t in (rows, exact_rows()))
    assert fit.predict(100e9, 5e4) == other.predict(100e9, 5e4)
    found = {(s.method, s.uses): s for s in holdout.score(fit)}
    assert found["saturating", "calibrated"].log_rmse < 1e-5
    assert found["saturating", "predicted"].log_rmse > 0.03
    assert found["constant", "calibrated"].r2 == pytest.approx(0, abs=1e-9)
    assert found["saturating", "calibrated"].r2 == pytest.approx(1, abs=1e-6)


def test_the_held_out_points_do_not_leak_into_a_prediction(exact_rows):
    rows = exact_rows()
    spoiled = [r | {"test_loss": min(2 * r["test_loss"], 1) if r["step"] > 20 else r["test_loss"]} for r in rows]
    protocol = laws.Protocol(name="intra", drop_last=20)
    a, b = (laws.fit(laws.from_rows(t), resource="data", protocol=protocol) for t in (rows, spoiled))
    np.testing.assert_array_equal(a.theta, b.theta)
    late = {(s.model, s.method): s.log_rmse for s in holdout.score(a)}
    assert late["m1e+10", "saturating"] < 1e-6 < late["m1e+10", "last value"] < late["m1e+10", "constant"]


def test_the_true_law_wins_the_comparison():
    table = simulate(Design(num_steps=40, run_level=0, run_slope=0, num_questions=4000), seed=2).table
    rows = {row.name: row for row in comparison.compare(table, resource="data")}
    shared = [rows[name] for name in ("saturating", "power", "log", "linear", "constant")]
    assert min(shared, key=lambda row: row.aic).name == "saturating"
    assert min(shared, key=lambda row: row.largest_calibrated).name == "saturating"
    assert {name for name in rows if name.startswith("baseline")} >= {"baseline: constant", "baseline: last value"}


def test_a_forecast_of_a_straight_curve_is_its_line():
    steps = np.arange(1, 31)
    loss = 10 ** (-0.05 - 0.08 * np.log10(steps))
    expected = 10 ** (-0.05 - 0.08 * 2)
    found = laws.forecast(np.stack([steps, loss], 1), 100.0)
    assert found.loss == pytest.approx(expected, rel=0.01)
    assert found.low < expected < found.high


def test_a_forecast_narrows_and_is_cheap():
    rng = np.random.default_rng(1)
    steps = np.arange(1, 106)
    loss = rng.binomial(500, 10 ** (-0.05 - 0.08 * np.log10(steps))) / 500
    early, late = (laws.forecast(np.stack([steps, loss], 1)[:end], 105.0) for end in (20, 90))
    assert late.high - late.low < 0.5 * (early.high - early.low)
    begun = time.perf_counter()
    for end in range(3, 103, 10):
        laws.forecast(np.stack([steps, loss], 1)[:end], 105.0)
    assert time.perf_counter() - begun < 1.0


def test_forecasts_cover_simulated_curves():
    rng = np.random.default_rng(0)
    steps = np.arange(1, 101)
    hits = 0
    for _ in range(60):
        slope, level = rng.uniform(0.02, 0.12), rng.uniform(-0.2, -0.05)
        truth = 10 ** (level - slope * np.log10(steps))
        loss = rng.binomial(500, truth) / 500
        found = laws.forecast(np.stack([steps, loss], 1)[:40], 100.0)
        hits += found.low <= truth[-1] <= found.high
    assert hits >= 51  # nominal 90 %; curves without bends are covered more often


def test_forecasts_of_the_real_curves(shared_data):
    """At 25 and 50 % of the study's own curves, against the mean of the last evaluations."""
    curves = laws.gather(laws.read(shared_data / "curves" / "qwen25_base_data.csv"), "data")
    rows = backtest(curves)
    assert len(rows) == 14 and sum(row.held for row in rows) >= 12
    early, half = ([row for row in rows if row.share == share] for share in (0.25, 0.5))
    assert log_rmse(early, "loss") < 0.5 * log_rmse(early, "last_value")
    assert log_rmse(half, "loss") < 0.02


def test_a_backtest_sees_only_the_early_part(exact_rows):
    rows = [row | {"seed": 1} for row in exact_rows()]
    spoiled = [row | {"test_loss": min(2 * row["test_loss"], 1)} if row["step"] > 20 else row for row in rows]
    a, b = (backtest(laws.gather(laws.from_rows(t), "data")) for t in (rows, spoiled))
    assert [(x.loss, x.low, x.high, x.line) for x in a] == [(x.loss, x.low, x.high, x.line) for x in b]
    assert all(row.held and row.seed == 1 for row in a) and not any(row.held for row in b)
    assert [row.seen for row in a[:2]] == [10, 20]


def test_forecasts_take_what_a_running_job_has():
    points = [(0, 1.0), (1, 0.9), (2, float("nan")), (3, 0.85), (4, 0.0)]
    found = laws.forecast(points, 100)
    assert 0 < found.low <= found.loss <= found.high <= 1
    with pytest.raises(ValueError, match="2 points beyond step 0"):
        laws.forecast(points[:4], 100)
    with pytest.raises(ValueError, match="horizon"):
        laws.forecast(points, 0)


def test_crossings_lie_where_the_lines_meet(exact_rows):
    """Levels that rise with size: the larger model starts worse and overtakes at log10 D = (E2 - E1) / (k2 - k1)."""
    rows = exact_rows((10e9, 30e9))
    k = {n: 0.15 / (1 + 15e9 / n) for n in (10e9, 30e9)}
    factor = 10 ** ((k[30e9] - k[10e9]) * 4.0)  # so that they meet at D = 1e4
    rows = [r | {"test_loss": r["test_loss"] * (factor if r["n_params"] == 30e9 else 1)} for r in rows]
    fit = laws.fit(laws.from_rows(rows), resource="data")
    (crossing,) = planner.crossings(fit)
    assert crossing.budget.value == pytest.approx(1e4, rel=1e-3)
    assert planner.choose(fit, 5e3).model == "m1e+10" and planner.choose(fit, 2e4).model == "m3e+10"


def test_the_cost_of_a_loss_inverts_the_law(exact):
    sizes = exact.fitted.n
    costs = planner.cost(exact, 0.5, sizes)
    np.testing.assert_allclose(exact.predict(sizes, costs), 0.5, rtol=1e-9)
    size, least = planner.cheapest(exact, 0.5)
    assert size == sizes[-1] and least.value == pytest.approx(costs[-1])


def test_a_choice_says_where_it_extrapolates(exact):
    choice = planner.choose(exact, 512 * 400.0)
    assert choice.model == "m1e+11" and choice.at_edge
    assert choice.times_spent["m1e+11"] == pytest.approx(10)
    assert choice.size.low <= choice.size.value <= choice.size.high
    step = planner.marginal(exact, 100e9, 512 * 400.0)
    assert step["more_resource"] / step["loss"] == pytest.approx(2 ** -(0.15 / 1.15), rel=1e-4)


@pytest.mark.parametrize("call", [lambda f: planner.choose(f, -1.0), lambda f: planner.cost(f, 1.2, [1e9])])
def test_impossible_questions_are_refused(exact, call):
    with pytest.raises(ValueError, match="is not"):
        call(exact)
