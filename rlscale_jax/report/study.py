"""What a study's directory holds, read once for all figures and tables."""

import dataclasses
import functools
import json
import pathlib

import numpy as np

from rlscale_jax import laws
from rlscale_jax.experiment.records import read_rows
from rlscale_jax.laws import families
from rlscale_jax.report import groups


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: its directory's name, seed, resolved config and metric columns [rows] (NaN: not logged).

    `model` is the member of the study (a swept value in its name), `start` the model that it was trained from.
    """

    name: str
    model: str
    start: str
    seed: int
    config: dict
    metrics: dict[str, np.ndarray]
    num_questions: dict[str, int]  # by evaluation suite
    prompt: str  # one training prompt as the model read it, "" where none was recorded

    @property
    def variant(self) -> str:
        """What a sweep has changed in this run, "" for a run as its config says."""
        return str(self.config.get("variant") or "")

    @property
    def group(self) -> str:
        """The group of models (`laws.families`) that this run's start belongs to."""
        return families.label(self.start)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of one metric where it was logged."""
        values = self.metrics.get(name, np.array([]))
        on = np.isfinite(values)
        return self.metrics["step"][on] if on.any() else np.array([]), values[on]

    def setting(self, field: str):
        """A config value by its dotted name, None where the run's config lacks it."""
        value = self.config
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


@dataclasses.dataclass(frozen=True)
class StudyData:
    """A study's directory: curves, runs, and whatever else lies there, each read when first asked for."""

    directory: pathlib.Path

    @functools.cached_property
    def found(self) -> tuple[dict[str, laws.Table], list[str]]:
        """All evaluations of the held-out set by group of runs, and which models had too few of them."""
        return groups.in_directory(self.directory)

    @property
    def tables(self) -> dict[str, laws.Table]:
        """The evaluations of every group, the first of which is the study itself."""
        return self.found[0]

    @functools.cached_property
    def real(self) -> bool:
        """Whether these are models of published sizes (and not a ladder's)."""
        return max(float(table["n_params"].max()) for table in self.tables.values()) >= 1e8

    @functools.cached_property
    def runs(self) -> list[Run]:
        """Every run with a metrics file, those of sweeps too."""
        logs = sorted(self.directory.glob("runs/*/metrics.jsonl"))
        return [run for run in map(_run, logs) if len(run.metrics.get("step", ()))]

    @property
    def plain_runs(self) -> list[Run]:
        """The runs as their config says, without those of sweeps."""
        return [run for run in self.runs if not run.variant]

    @functools.cached_property
    def config(self) -> dict:
        """The study's resolved config, empty where there is none."""
        path = self.directory / "config.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _run(log: pathlib.Path) -> Run:
    config_path = log.with_name("config.json")
    config = json.loads(config_path.read_text(encoding="utf-8")) if config_path.exists() else {}
    name, _, seed = log.parent.name.rpartition("_s")
    model = config.get("name") or name or log.parent.name
    start = (config.get("model") or {}).get("name") or model
    seed = config.get("seed", seed)
    rows = list(read_rows(log))
    keys = sorted({key for row in rows for key in row})
    metrics = {key: np.array([_number(row.get(key)) for row in rows]) for key in keys}
    return Run(
        name=log.parent.name,
        model=model,
        start=start,
        seed=int(seed or 0),
        config=config,
        metrics=metrics,
        num_questions=_num_questions(log.with_name("outcomes.jsonl")),
        prompt=next((row["prompt"] for row in read_rows(log.with_name("rollouts.jsonl"))), ""),
    )


def _num_questions(path: pathlib.Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in read_rows(path):
        samples = [row["correct"]] if isinstance(row["correct"], str) else row["correct"]
        found.setdefault(row["source"], len(samples[0]) if len(samples) else 0)
    return found


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
