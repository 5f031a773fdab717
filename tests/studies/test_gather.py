"""Runs to curves.csv: a row for each evaluation, the run's name and seed, and nothing else."""

import csv
import json

from rlscale_jax.experiment.records import RecordFile, write_json
from rlscale_jax.studies import gather


def scaling(step: int) -> dict:
    names = ("n_nominal", "n_nonembed", "samples", "tokens", "flops_paper", "flops_total", "correct", "total")
    return {f"scaling/{name}": 10 * step for name in names} | {"scaling/test_loss": 0.5, "scaling/test_loss_se": 0.1}


def test_rows_with_an_evaluation_are_gathered(tmp_path):
    run = tmp_path / "runs" / "d8_s3"
    write_json(run / "config.json", {"name": "d8", "seed": 3})
    records = RecordFile(run / "metrics.jsonl")
    records.append({"step": 0, **scaling(0)})
    records.append({"step": 1, "critic/rewards/mean": 0.2})
    records.append({"step": 2, **scaling(2)})
    RecordFile(run / "outcomes.jsonl").append({"step": 2, "source": "heldout", "correct": ["01"]})
    assert gather.write(tmp_path) == {"curves.csv": 2}
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(gather.COLUMNS)
    assert [(r["model"], r["seed"], r["step"], r["compute_flops"], r["n_params"]) for r in rows] == [
        ("d8", "3", "0", "0", "0"),
        ("d8", "3", "2", "20", "20"),
    ]
    outcome = json.loads((tmp_path / "outcomes.jsonl").read_text())
    assert (outcome["model"], outcome["seed"], outcome["correct"]) == ("d8", 3, ["01"])


def test_runs_of_a_sweep_stand_apart(tmp_path):
    for name, variant in (("d8", ""), ("d8_group_size4", "group_size4"), ("d9", "")):
        run = tmp_path / "runs" / f"{name}_s0"
        write_json(run / "config.json", {"name": name, "seed": 0, "variant": variant})
        RecordFile(run / "metrics.jsonl").append({"step": 1, **scaling(1)})
    (tmp_path / "curves_group_size2.csv").write_text("of a sweep whose runs are gone")
    assert gather.write(tmp_path) == {"curves.csv": 2, "curves_group_size4.csv": 1}
    assert not (tmp_path / "curves_group_size2.csv").exists()
    with (tmp_path / "curves.csv").open() as file:
        assert [row["model"] for row in csv.DictReader(file)] == ["d8", "d9"]
