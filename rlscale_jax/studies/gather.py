"""Gathers the runs of a directory into curves.csv and outcomes.jsonl: all that fitting and reporting need."""

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


def write(workdir: pathlib.Path) -> int:
    """Writes WORKDIR/curves.csv and WORKDIR/outcomes.jsonl; returns the number of rows."""
    num_rows = 0
    with (workdir / "curves.csv").open("w", newline="") as file, (workdir / "outcomes.jsonl").open("w") as outcomes:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for directory in sorted((workdir / "runs").glob("*/metrics.jsonl")):
            run = _identity(directory.parent)
            for row in _rows(run, read_rows(directory)):
                table.writerow(row)
                num_rows += 1
            for row in read_rows(directory.parent / "outcomes.jsonl"):
                outcomes.write(json.dumps({**run, **row}) + "\n")
    return num_rows


def _identity(directory: pathlib.Path) -> dict[str, Any]:
    config = json.loads((directory / "config.json").read_text())
    return {"model": config["name"], "seed": config["seed"]}


def _rows(run: dict[str, Any], metrics: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each step with an evaluation. N is the nominal size; C is the paper's count."""
    for row in metrics:
        if "scaling/test_loss" not in row:
            continue
        values = {name: row[f"scaling/{name}"] for name in _FROM_METRICS}
        n_params, compute = values["n_nominal"], values["flops_paper"]
        yield {**run, "step": row["step"], **values, "n_params": n_params, "compute_flops": compute}
