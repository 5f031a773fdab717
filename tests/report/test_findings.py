"""The paper's findings on simulated studies where they hold, where they do not, and on the study's own curves."""

import numpy as np
import pytest

from rlscale_jax import laws
from rlscale_jax.laws import reuse
from rlscale_jax.laws.simulation import Design, simulate
from rlscale_jax.report import findings
from rlscale_jax.report.study import Run

SIZES = (1e9, 3e9, 7e9, 15e9, 30e9, 70e9)
FIRST, SECOND, THIRD, FOURTH, CROSSING = range(5)


def _judge(loss_of, *, steps=80, questions=2000, sizes=SIZES):
    """Verdicts on curves loss_of(n, prompts), seen through the noise of `questions` answers."""
    rng = np.random.default_rng(0)
    rows = [
        {"model": f"m{n:g}", "n_params": n, "step": s, "samples": 512.0 * s, "compute_flops": 4e4 * n * 512 * s,
         "test_loss": rng.binomial(questions, loss_of(n, 512.0 * s)) / questions, "total": questions}
        for n in sizes
        for s in range(1, steps + 1)
    ]  # fmt: skip
    (found,) = findings.from_curves(laws.from_rows(rows)).values()
    return [one.verdict for one in found], found


def _law(n, d, k_max=0.15, n0=10e9):
    """The paper's law; larger models start level with smaller ones at 10 prompts."""
    return 0.95 * (d / 10) ** -(k_max / (1 + n0 / n))


def test_the_papers_law_supports_the_papers_findings():
    verdicts, _ = _judge(_law)
    assert verdicts[FIRST] == verdicts[SECOND] == verdicts[THIRD] == "supported"
    assert verdicts[FOURTH] == "no data"


def test_slopes_that_fall_with_size_contradict_the_first():
    verdicts, _ = _judge(lambda n, d: 0.9 * (d / 10) ** -(0.12 - 0.03 * np.log10(n / 1e9)))
    assert verdicts[FIRST] == "not supported"


def test_slopes_of_one_height_are_no_efficiency_and_no_saturation():
    verdicts, _ = _judge(lambda n, d: 0.9 * (d / 10) ** -0.08)
    assert verdicts[FIRST] == "undecided" and verdicts[THIRD] != "supported"


@pytest.mark.parametrize(("exponent", "verdicts"), [(0.9, ("undecided", "not supported")), (1.6, ("not supported",))])
def test_slopes_that_grow_without_limit_do_not_saturate(exponent, verdicts):
    found, _ = _judge(lambda n, d: 0.95 * (d / 10) ** -(0.1 * (n / 30e9) ** exponent), sizes=SIZES[:5])
    assert found[FIRST] == "supported" and found[THIRD] in verdicts


def test_curves_that_fall_and_rise_again_contradict_the_second():
    def there_and_back(n, d):
        return 0.8 + 0.15 * ((np.log10(d) - 3.7) / 1.0) ** 2

    verdicts, found = _judge(there_and_back)
    assert verdicts[SECOND] == "not supported" and "against" in found[SECOND].evidence


@pytest.mark.parametrize(("ahead", "verdict"), [(0.3, "not supported"), (0.0, "supported")])
def test_a_crossing_needs_the_larger_model_behind_at_first(ahead, verdict):
    """Two sizes that meet in the middle of their common budgets, or never."""

    def loss(n, d):
        middle = np.log10(4e4 * n * d) - 19.1
        return 0.6 * 10 ** -((0.05 if n < 50e9 else 0.12) * middle + (ahead if n > 50e9 else 0.0))

    verdicts, found = _judge(loss, sizes=(30e9, 70e9), steps=200, questions=20_000)
    assert verdicts[CROSSING] == verdict, found[CROSSING].evidence


def test_the_studys_own_curves(shared_data):
    """Base models: efficiency and saturation hold; the law does not beat the last value on the last half of steps."""
    curves = shared_data / "curves"
    table = laws.read([curves / "qwen25_base_compute.csv", curves / "qwen25_base_data.csv"])
    rows = reuse.reuse(reuse.read([curves / "reuse_base.csv"]))
    found = findings.from_curves(table, reuse=rows)["models"]
    verdicts = [one.verdict for one in found]
    assert verdicts == ["supported", "undecided", "supported", "supported", "undecided"]
    assert "last 75% of steps" in found[SECOND].evidence and "τ = 100: +0.0198" in found[FOURTH].evidence
    assert findings.to_json({"models": found})["models"][0]["verdict"] == "supported"
    assert findings.text({"models": found}).count("\n") == 9


def test_noise_alone_supports_nothing():
    table = simulate(Design(k_max=0.0, num_runs=1, num_steps=30), seed=0).table
    (found,) = findings.from_curves(table).values()
    assert all(one.verdict != "supported" for one in found)


def _run(model, seed, losses, *, group=8, suites=()):
    steps = np.arange(len(losses), dtype=float)
    metrics = {"step": steps, "scaling/test_loss": np.array(losses), "scaling/samples": 64 * steps,
               "scaling/flops_paper": 1e6 * group * steps, "scaling/n_nominal": np.full(len(losses), 1e5)}  # fmt: skip
    metrics |= {f"val-core/{name}/acc/mean@1": 1 - np.array(values) for name, values in suites}
    config = {"grpo": {"group_size": group}, "seed": seed}
    name = f"{model}_s{seed}"
    return Run(
        name=name, model=model, start=model, seed=seed, config=config, metrics=metrics, num_questions={}, prompt=""
    )


@pytest.mark.parametrize(
    ("slopes", "verdict"),
    [((0.10, 0.22, 0.34), "supported"), ((0.1, 0.1, 0.1), "undecided"), ((0.3, 0.2, 0.1), "not supported")],
)
def test_group_sizes_are_judged_against_their_noise(slopes, verdict):
    """Slopes against prompts of G = 4, 8, 16; at little compute the small group is ahead where slopes rise with G."""
    runs = [
        _run("d64", seed, 0.6 * (1 + np.arange(30)) ** -k, group=g) for g, k in zip((4, 8, 16), slopes, strict=True)
        for seed in range(2)
    ]  # fmt: skip
    assert findings.group_size(runs).verdict == verdict
    assert findings.group_size(runs[:2]).verdict == "no data"
