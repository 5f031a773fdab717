"""Laws with a floor as results, every law with every objective, protocol and resource, and the command's answers."""

import itertools

import numpy as np
import pytest

from rlscale_jax import laws
from rlscale_jax.laws import decision, reuse
from rlscale_jax.laws.request import Request, answer
from rlscale_jax.laws.simulation import Design, simulate


@pytest.fixture(scope="module")
def table():
    return simulate(Design(num_steps=40, num_runs=1), seed=5).table


@pytest.mark.parametrize("law", [*laws.LAWS, *laws.FORMS])
def test_every_law_fits_or_says_why_not(table, law):
    """All objectives, protocols and resources: finite numbers, or one sentence on what to use instead."""
    protocols = (laws.Protocol(), laws.Protocol(name="inter"), laws.Protocol(name="intra", drop_last=15))
    resources = ["data"] if law == "decomposition" else laws.RESOURCES  # half a second a fit
    for objective, protocol, resource in itertools.product(laws.OBJECTIVES, protocols, resources):
        options = {"law": law, "objective": objective, "protocol": protocol, "resource": resource}
        if law == "sigmoid" and protocol.name == "inter":
            with pytest.raises(ValueError, match="says nothing of other sizes"):
                laws.fit_form(table, **options)
            continue
        found = laws.fit_form(table, **options) if law in laws.FORMS else laws.fit(table, **options)
        assert found.converged
        assert 0.95 < found.r2 <= 1 and 0.9 < found.r2_log <= 1
        assert set(found.to_json()) >= {"k_max", "n0", "r2", "r2_log", "models", "intervals", "converged", "notes"}


def _rows(loss_of, sizes=(1e9, 3e9, 10e9, 30e9), steps=100):
    return [
        {"model": f"m{n:g}", "n_params": n, "step": s, "samples": 512.0 * s, "test_loss": loss_of(n, 512.0 * s)}
        for n in sizes
        for s in range(1, steps + 1)
    ]


def _decomposed(n, d):
    d0, dl = 3000 + 1000 * np.log10(n / 1e9), 0.1 + 0.1 * np.log10(n / 1e9)
    return 0.15 + (2e8 / n) ** 0.4 + dl * (1 - 1 / (1 + (d0 / d) ** 1.3))


@pytest.mark.parametrize("objective", laws.OBJECTIVES)
def test_the_floor_of_the_largest_size_is_predicted_by_the_smaller_ones(objective):
    rows = laws.from_rows(_rows(_decomposed))
    found = laws.fit_form(rows, law="decomposition", resource="data", objective=objective, protocol="inter")
    (score,) = found.held_out
    assert score.uses == "calibrated" and score.model == "m3e+10" and score.log_rmse < 0.002
    assert set(found.models) == {"m1e+09", "m3e+09", "m1e+10"}


@pytest.mark.parametrize("law", laws.FORMS)
def test_a_broken_evaluation_does_not_bend_a_robust_form(law):
    rows = _rows(_decomposed)
    rows[350]["test_loss"] = 0.02
    errors = []
    for objective in laws.OBJECTIVES:
        found = laws.fit_form(laws.from_rows(rows), law=law, resource="data", objective=objective)
        errors.append(abs(found.loss("m3e+10", 51200.0) - _decomposed(30e9, 51200.0)))
    assert errors[0] < 0.1 * errors[1]  # robust, published


def test_a_sigmoids_slope_is_the_logarithmic_derivative():
    found = laws.fit_form(laws.from_rows(_rows(_decomposed)), law="sigmoid", resource="data")
    d, h = np.array([1e3, 5e3, 2e4]), 1e-5
    numeric = -(np.log(found.loss("m1e+10", d * (1 + h))) - np.log(found.loss("m1e+10", d * (1 - h)))) / (2 * h)
    np.testing.assert_allclose(found.slope("m1e+10", d), numeric, rtol=1e-5)


def test_compute_and_data_in_two_files_are_one_study(tmp_path, exact_rows, write_csv):
    rows = exact_rows()
    names = ["model", "n_params", "step", "test_loss"]
    files = [
        write_csv(tmp_path / f"{name}.csv", rows, [*names[:2], name, *names[2:]])
        for name in ("compute_flops", "samples")
    ]
    assert len(laws.read(files)) == len(rows)
    text, result = answer(Request(paths=files, resource="compute", joint=True))
    assert result["joint"]["parameters"]["n0"] == pytest.approx(15e9, rel=1e-4)
    assert result["linkage"][0]["phi"] == pytest.approx(5e4) and "one slope for both resources" in text
    with pytest.raises(ValueError, match="there is no samples"):
        answer(Request(paths=files[:1], resource="compute", joint=True))


def test_a_reuse_study_is_read_from_csv(tmp_path):
    path = tmp_path / "reuse.csv"
    lines = [f"{tau},{s},{0.8 * s**-k:.6f}" for tau, k in ((1, 0.08), (100, 0.04)) for s in range(1, 60)]
    path.write_text("\n".join(["tau,step,test_loss", *lines]))
    text, result = answer(Request(paths=[path], resource="data", law="reuse"))
    assert [row["tau"] for row in result["taus"]] == [1, 100]
    assert [row["k"] for row in result["taus"]] == pytest.approx([0.08, 0.04], rel=1e-3)
    assert "k(tau)" in text
    path.write_text("tau,step,test_loss\n1,1,0.5\n1,2,1.5\n")
    with pytest.raises(ValueError, match=r"row 3: tau=1, test_loss=1\.5"):
        reuse.read([path])


def test_a_decision_is_what_a_search_over_a_grid_finds(table):
    """Best size, cheapest budget and crossings recomputed by brute force from `predict` alone."""
    fit = laws.fit(table, resource="compute")
    found = decision.decide(fit, budget=3e19, target_loss=0.6)
    sizes = np.geomspace(fit.fitted.n.min(), fit.fitted.n.max(), 2000)
    losses = fit.predict(sizes, 3e19)
    assert found.choice is not None and found.target is not None
    assert found.choice.size.value == pytest.approx(sizes[losses.argmin()], rel=0.02)
    assert found.choice.loss.value == pytest.approx(losses.min(), rel=1e-4)
    budgets = np.geomspace(1e16, 1e21, 600)
    reached = (fit.predict(sizes, budgets[:, None]) <= 0.6).any(1)
    assert found.target.budget.value == pytest.approx(budgets[reached.argmax()], rel=0.03)
    for n, cost in found.target.iso_loss:
        if cost < 1e30:
            assert fit.predict(n, cost) == pytest.approx(0.6, rel=1e-6)
    for one in found.crossings:
        if np.isfinite(one.budget.value):
            pair = [fit.models[name].n for name in (one.smaller, one.larger)]
            before, after = (np.diff(fit.predict(np.array(pair), one.budget.value * f)) for f in (0.9, 1.1))
            assert before > 0 > after
    assert found.to_json()["choice"]["model"] == found.choice.model
    with pytest.raises(ValueError, match="says nothing of sizes between"):
        decision.decide(laws.fit(table, resource="compute", law="loglinear"), budget=1e19, target_loss=0)


def test_options_that_do_not_go_together_are_refused(tmp_path, exact_rows, write_csv):
    path = write_csv(tmp_path / "c.csv", exact_rows())
    with pytest.raises(ValueError, match="--decide goes with a law of k"):
        answer(Request(paths=[path], resource="data", law="sigmoid", decide=True, budget=1e4))
