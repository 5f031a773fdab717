"""The report's judgements and small parts, on values worked out by hand."""

import numpy as np
import pytest

from rlscale_jax import laws
from rlscale_jax.laws import families
from rlscale_jax.laws.comparison import Row, compare
from rlscale_jax.laws.reuse import Reuse
from rlscale_jax.laws.simulation import Design, simulate
from rlscale_jax.report import findings, group_size, groups, style, sweeps
from rlscale_jax.report.study import Run
from rlscale_jax.report.tables import Table, between, show


@pytest.fixture(scope="module")
def fits():
    table = simulate(Design(num_steps=30, run_slope=0.02, run_level=0.02), seed=0).table
    return {law: laws.fit(table, resource="data", law=law) for law in ("saturating", "loglinear")}, compare(
        table, resource="data"
    )


def test_efficiency_follows_the_slopes(fits):
    assert findings.efficiency({"data": fits[0]["loglinear"]}).verdict == "supported"
    falling = [
        {"model": f"m{i}", "n_params": n, "samples": 512.0 * s, "step": s, "test_loss": 0.9 * s ** -(0.3 - 0.05 * i)}
        for i, n in enumerate((1e9, 3e9, 10e9, 30e9))
        for s in range(1, 30)
    ]
    reverse = laws.fit(laws.from_rows(falling), resource="data", law="loglinear")
    assert findings.efficiency({"data": reverse}).verdict == "not supported"


def test_saturation_needs_a_bound_and_a_better_law(fits):
    (saturating, rivals) = fits[0]["saturating"], fits[1]
    assert findings.saturation({"data": saturating}, {"data": rivals}).verdict == "supported"
    tied = [Row(**{**vars(row), "aic": 0.0}) for row in rivals]
    assert findings.saturation({"data": saturating}, {"data": tied}).verdict == "undecided"


def _reuse(tau, low, high):
    middle = (low + high) / 2
    return Reuse(tau=tau, k=0.05, k_error=0.01, E=0.0, final=0.5 + middle, final_error=0.01, apart=middle,
                 apart_low=low, apart_high=high)  # fmt: skip


@pytest.mark.parametrize(
    ("at_25", "at_100", "verdict"),
    [
        ((-0.01, 0.01), (0.01, 0.05), "supported"),
        ((-0.01, 0.01), (-0.01, 0.03), "undecided"),
        ((0.03, 0.06), (0.05, 0.09), "not supported"),
        ((-0.01, 0.01), (-0.05, -0.02), "not supported"),
    ],
)
def test_reuse_is_judged_by_both_ends(at_25, at_100, verdict):
    rows = {"7B": [_reuse(1, 0, 0), _reuse(25, *at_25), _reuse(100, *at_100)]}
    assert findings.data_reuse(rows).verdict == verdict
    assert findings.data_reuse({}).verdict == "no data"


def test_the_best_value_changes_where_the_lines_cross():
    x = np.geomspace(1e3, 1e7, 50)
    curves = {4.0: (x, x**-0.05), 16.0: (x, x**-0.10 * 1e5**0.05)}  # equal at 1e5
    assert [value for _, value in sweeps.best_by_budget(curves, num_budgets=4)] == [4.0, 4.0, 16.0, 16.0]
    assert sweeps.best_by_budget({1.0: (x[:10], x[:10]), 2.0: (x[20:], x[20:])}) == []


def test_runs_are_averaged_step_by_step(study_dir):
    from rlscale_jax.report.study import StudyData

    runs = [run for run in StudyData(study_dir).runs if run.model == "d64"]
    x, loss = sweeps.mean_curve(runs, "samples")
    expected = np.mean([run.series("scaling/test_loss")[1] for run in runs], 0)
    np.testing.assert_allclose(loss, expected)
    np.testing.assert_array_equal(x, 64 * np.arange(1, 25))


@pytest.mark.parametrize(
    ("model", "group"),
    [("qwen2.5-7b-base", "qwen base"), ("Qwen2.5-7B-Instruct", "qwen instruct"),
     ("llama3-1b-instruct", "llama instruct"),
     ("d64", "models"), ("7B", "models"), ("llama_d64", "llama")],
)  # fmt: skip
def test_models_are_grouped_by_family_and_start(model, group):
    assert families.label(model) == group


def test_groups_are_fitted_apart():
    rows = [
        {
            "model": f"qwen-{n:g}-{start}",
            "n_params": n,
            "samples": 512.0 * s,
            "step": s,
            "test_loss": level * s ** -(0.02 * i),
        }
        for i, n in enumerate((1e9, 3e9, 10e9), 1)
        for start, level in (("base", 0.9), ("instruct", 0.7))
        for s in range(1, 12)
    ]
    assert {name: len(set(t.model)) for name, t in families.groups(laws.from_rows(rows)).items()} == {
        "qwen base": 3, "qwen instruct": 3,
    }  # fmt: skip


def test_numbers_in_cells():
    assert show(float("nan")) == "–" and show(float("inf")) == "unlimited" and show(0.12345, ".2f") == "0.12"
    assert between((1.0, float("inf"))) == "1 to unlimited"
    assert style.count(8400) == "8.4k" and style.count(72e9) == "72B" and style.count(512) == "512"
    assert style.short(["qwen2.5-0.5b-base", "qwen2.5-72b-base"]) == ["0.5b", "72b"]
    assert style.short(["d16", "d32"]) == ["d16", "d32"] and style.short(["a-b"]) == ["a-b"]


def test_latex_escapes_what_latex_reads():
    table = Table(name="t", title="A & B", header=("50 %", "x_1"), rows=[("τ", "−1")])
    tex = table.latex()
    assert r"A \& B" in tex and r"50 \%" in tex and r"x\_1" in tex and r"$\tau$ & $-$1 \\" in tex


def test_runs_without_a_table_of_curves_are_told_apart_by_their_configs(study_dir, tmp_path):
    (tmp_path / "runs").symlink_to(study_dir / "runs")
    found, short = groups.in_directory(tmp_path)
    assert list(found) == ["models", "group_size16", "group_size4", "reuse_factor100", "reuse_factor5"] and not short
    assert set(found["models"].model.tolist()) == {"d16", "d32", "d64", "d96"}


def test_models_with_too_few_evaluations_are_left_out_and_named(tmp_path):
    lines = ["model,n_params,step,samples,test_loss"]
    lines += [f"d16,8000,{s},{64 * s},{0.9 / s}" for s in range(1, 6)] + ["d32,30000,1,64,0.9", "d32,30000,2,128,0.8"]
    (tmp_path / "curves.csv").write_text("\n".join(lines) + "\n")
    found, short = groups.in_directory(tmp_path)
    assert set(found["models"].model.tolist()) == {"d16"}
    assert short == ["d32 has 2 evaluations after step 0, a slope needs 3: left out"]


def _suite_run(**ends) -> Run:
    metrics = {f"val-core/{suite}/acc/mean@1": np.array([0.5, 0.5 - change]) for suite, change in ends.items()}
    metrics |= {"step": np.array([0.0, 10.0]), "scaling/n_nominal": np.array([1e9, 1e9])}
    return Run(name="a_s0", model="a", start="a", seed=0, config={}, metrics=metrics, num_questions={}, prompt="")


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ({"heldout": -0.2, "math500": -0.1, "humaneval": 0.0, "zebra": 0.02}, "supported"),
        ({"heldout": -0.2, "math500": -0.1, "humaneval": -0.2}, "not supported"),
        ({"heldout": 0.0, "humaneval": 0.0}, "not supported"),
        ({"heldout": -0.2, "humaneval": -0.05}, "undecided"),
        ({"heldout": -0.2, "math500": -0.2}, "undecided"),
    ],
)
def test_transfer_is_judged_by_domain(ends, verdict):
    assert findings.transfer([_suite_run(**ends)]).verdict == verdict


def _line_run(slope: float, first: float, last: float) -> Run:
    spent = np.geomspace(first, last, 12)
    metrics = {"step": np.arange(1.0, 13), "scaling/flops_paper": spent, "scaling/test_loss": spent**-slope}
    return Run(name="a_s0", model="a", start="a", seed=0, config={}, metrics=metrics, num_questions={}, prompt="")


def test_loss_at_a_budget_is_the_line_s_and_nothing_is_extrapolated():
    loss, error = group_size.loss_at([_line_run(0.1, 1e3, 1e6), _line_run(0.1, 1e3, 1e6)], 1e4)
    assert loss == pytest.approx(1e4**-0.1) and error == pytest.approx(0, abs=1e-9)
    assert np.isnan(group_size.loss_at([_line_run(0.1, 1e3, 1e6)], 1e7)[0])


def test_the_best_group_size_is_told_for_budgets_that_two_have_spent():
    values = {4.0: [_line_run(0.05, 1e3, 1e5)], 16.0: [_line_run(0.1, 1e4, 1e6)], 64.0: [_line_run(0.01, 1e5, 1e7)]}
    rows = group_size._best_table("a", values).rows
    assert [row[1] for row in rows] == ["4, 16", "4, 16", "16, 64", "16, 64"]
    assert {row[2] for row in rows} == {"16"} and {row[-1] for row in rows} == {"yes"}
