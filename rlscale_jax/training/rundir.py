"""A run's directory: its resolved config, whether it may go on, and whether it is finished."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from rlscale_jax.experiment.config import Experiment, to_dict
from rlscale_jax.experiment.records import write_json

# What may differ when a run goes on: how far, how often it is saved, and what it runs on; never what it computes.
_FREE = ("num_steps", "checkpoint.", "mesh.", "reward_workers", "log_rollouts_every")


class RunDir:
    """Paths under one run's directory."""

    def __init__(self, path: pathlib.Path | str):
        self.path = pathlib.Path(path)
        self.metrics = self.path / "metrics.jsonl"
        self.outcomes = self.path / "outcomes.jsonl"
        self.rollouts = self.path / "rollouts.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.log = self.path / "log.txt"
        self._config = self.path / "config.json"
        self._done = self.path / "done.json"

    def finished_steps(self) -> int:
        """Steps that a finished run has done, 0 for an unfinished one."""
        return json.loads(self._done.read_text())["steps"] if self._done.exists() else 0

    def mark_finished(self, steps: int) -> None:
        write_json(self._done, {"steps": steps})

    def open(self, experiment: Experiment) -> None:
        """Saves the config, or checks that it is the one that this directory's run began with.

        Raises:
          ValueError: a field that changes what the run computes is not as it was.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        given = to_dict(experiment)
        if self._config.exists():
            kept = json.loads(self._config.read_text())
            changes = list(_differences(kept, json.loads(json.dumps(given))))
            if changes:
                raise ValueError(
                    f"{self.path} holds a run with another config; use another --workdir, or change back:\n"
                    + "\n".join(f"  {change}" for change in changes)
                )
        write_json(self._config, given)


def _differences(kept: dict[str, Any], given: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name in sorted(kept.keys() | given.keys()):
        full = prefix + name
        before, now = kept.get(name), given.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, full + ".")
        elif before != now and not full.startswith(_FREE):
            yield f"{full}: was {before!r}, now {now!r}"
