"""A study's directory as the other parts write it, from a simulated ladder with a group-size and a reuse sweep."""

import csv
import json

import numpy as np
import pytest

from rlscale_jax.laws.simulation import Design, simulate

SIZES = {"d16": 8e3, "d32": 3e4, "d64": 1.1e5, "d96": 3.5e5}
DESIGN = Design(sizes=tuple(SIZES.values()), loss=(0.93, 0.85, 0.7, 0.55), k_max=0.25, n0=2e5, num_runs=2, num_steps=24)


def _run(directory, name, seed, losses, *, n, group=8, reuse=1, start=None):
    path = directory / "runs" / f"{name}_s{seed}"
    path.mkdir(parents=True)
    variant = name.removeprefix(start or name).strip("_")
    config = {"name": name, "seed": seed, "variant": variant, "num_steps": len(losses),
              "model": {"name": start or name}, "grpo": {"group_size": group},
              "data": {"reuse_factor": reuse, "num_unique": 0}}  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    rows = [
        {"schema": 1, "step": step, "critic/rewards/mean": 1 - loss, "response_length/mean": 40.0 + step,
         "actor/entropy": 0.5, "scaling/test_loss": loss, "scaling/samples": 64 * step, "scaling/n_nominal": n,
         "scaling/n_nonembed": n, "scaling/flops_paper": 6 * n * 500 * step * group,
         "val-core/heldout/acc/mean@1": 1 - loss, "val-core/other/acc/mean@1": 0.2}
        for step, loss in enumerate(losses, 1)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


@pytest.fixture(scope="session")
def study_dir(tmp_path_factory):
    """Four sizes with two seeds each and curves.csv; beside it runs of d64 with other group sizes and reuse factors."""
    directory = tmp_path_factory.mktemp("study")
    table = simulate(DESIGN, seed=0).table
    with (directory / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "n_params", "seed", "step", "samples", "compute_flops", "test_loss"])
        for name, n in SIZES.items():
            for seed in range(2):
                part = table.select((table["n_params"] == n) & (table["seed"] == seed))
                _run(directory, name, seed, part["test_loss"], n=n)
                columns = (part[c] for c in ("step", "samples", "compute_flops", "test_loss"))
                writer.writerows((name, n, seed, *row) for row in zip(*columns, strict=True))
    x = np.arange(1, 25)
    rng = np.random.default_rng(0)
    for group in (4, 16):
        losses = 10 ** (-0.05 - 0.02 * group**0.5 * np.log10(x)) + 0.005 * rng.normal(size=24)
        _run(directory, f"d64_group_size{group}", 0, losses, n=1.1e5, group=group, start="d64")
    for tau, slope in ((5, 0.06), (100, 0.01)):
        losses = 10 ** (-0.05 - slope * np.log10(x)) + 0.005 * rng.normal(size=24)
        _run(directory, f"d64_reuse_factor{tau}", 0, losses, n=1.1e5, reuse=tau, start="d64")
    return directory


@pytest.fixture(scope="session")
def written(study_dir):
    """The study after its report was written."""
    from rlscale_jax import report

    assert report.write(study_dir, formats=("png",)) == study_dir / "report.html"
    return study_dir
