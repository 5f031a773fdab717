"""Gathers the runs of a directory into curves.csv and outcomes.jsonl: all that fitting and reporting need.

A law describes runs that differ in model size and seed. Runs in which a sweep has changed something else are
therefore kept apart: those as the config says them stand in curves.csv, those of a variant in curves_VARIANT.csv.
"""

import csv
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from rlscale_jax.experiment.records import read_rows

COLUMNS = (
    *("model", "n_nominal", "n_nonembed", "n_params", "seed", "step", "samples", "tokens"),
    *("flops_paper", "flops_total", "compute_flops", "correct", "total", "test_loss", "test_loss_se"),
)
_FROM_METRICS = COLUMNS[1:3] + COLUMNS[6:10] + COLUMNS[11:]


def write(workdir: pathlib.Path) -> dict[str, int]:
    """Writes WORKDIR/curves.csv, a curves_VARIANT.csv for each variant, and outcomes.jsonl of all runs.

    Returns the number of rows of every file of curves.
    """
    tables: dict[str, list[dict[str, Any]]] = {"curves.csv": []}
    with (workdir / "outcomes.jsonl").open("w") as outcomes:
        for log in sorted((workdir / "runs").glob("*/metrics.jsonl")):
            config = json.loads(log.with_name("config.json").read_text())
            run = {"model": config["name"], "seed": config["seed"]}
            variant = config.get("variant")
            tables.setdefault(f"curves_{variant}.csv" if variant else "curves.csv", []).extend(
                _rows(run, read_rows(log))
            )
            for row in read_rows(log.with_name("outcomes.jsonl")):
                outcomes.write(json.dumps({**run, **row}) + "\n")
    for stale in workdir.glob("curves_*.csv"):
        stale.unlink()
    for name, rows in tables.items():
        with (workdir / name).open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(rows)
    return {name: len(rows) for name, rows in tables.items()}


def _rows(run: dict[str, Any], metrics: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each step with an evaluation. N is the nominal size; C is the paper's count."""
    for row in metrics:
        if "scaling/test_loss" not in row:
            continue
        values = {name: row[f"scaling/{name}"] for name in _FROM_METRICS}
        n_params, compute = values["n_nominal"], values["flops_paper"]
        yield {**run, "step": row["step"], **values, "n_params": n_params, "compute_flops": compute}
