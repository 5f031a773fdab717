"""A run's directory, local or in a bucket: its config, may it go on, is it finished.

In a bucket (gs://...) checkpoints are written directly; everything else lies in a local copy and is copied there from
time to time, always before a checkpoint is begun, so that the rows up to a checkpoint are there when it is.
"""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from rlscale_jax.experiment.config import Experiment, to_dict
from rlscale_jax.experiment.records import write_json
from rlscale_jax.models import hosts
from rlscale_jax.training import locks, mirror

# What may differ when a run goes on: how far, how it is saved and shown, what it runs on and in which pieces; never
# what it computes.
_FREE = (
    *("num_steps", "checkpoint.", "mesh.", "reward_workers", "log_rollouts_every", "wandb_project"),
    *("grpo.micro_batch_prompts", "grpo.logprob_chunk_tokens", "grpo.remat", "grpo.unroll_layers"),
    "sampling.wave_sequences",
)
_APART = ("checkpoints", "damaged")  # never copied: Orbax writes them where they belong
_PUSH_SECS = 60.0


class RunDir:
    """Paths under one run's directory; `local` is the directory itself or the local copy of a remote one."""

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self._mirror: mirror.Mirror | None = None
        self.local = pathlib.Path(self.path)
        if mirror.is_remote(self.path):
            self.local = mirror.local_copy_of(self.path)
            self._mirror = mirror.Mirror(self.local, self.path, apart=_APART)
        self._last_push = time.monotonic()
        self.metrics = self.local / "metrics.jsonl"
        self.outcomes = self.local / "outcomes.jsonl"
        self.rollouts = self.local / "rollouts.jsonl"
        self.log = self.local / "log.txt"
        self.profile = self.local / "profile"
        self.checkpoints = f"{self.path}/checkpoints"
        self._config = self.local / "config.json"
        self._done = self.local / "done.json"

    @contextlib.contextmanager
    def held(self, experiment: Experiment) -> Iterator[None]:
        """The directory for this run alone: a second start of it waits until the first has ended.

        Raises:
          ValueError: as `begin`, before waiting.
        """
        if not hosts.is_first():
            yield
            return
        if not self._mirror:
            self._refuse_changes(experiment)
        with locks.exclusive(self.metrics):
            if self._mirror:
                self._mirror.fetch()
            yield

    def begin(self, experiment: Experiment) -> bool:
        """Saves the config, or checks that it is the one that this directory's run began with; True: all is done.

        Raises:
          ValueError: a field that changes what the run computes is not as it was.
        """
        self._refuse_changes(experiment)
        write_json(self._config, self._described(experiment))
        return self.finished_steps() >= experiment.num_steps

    def check_common(self) -> None:
        """Raises ValueError where a host does not see what the first has written: checkpoints are written by all."""
        sees = hosts.gather(bool(self._mirror) or self._config.exists())
        if not all(sees):
            raise ValueError(
                f"{self.path}: host {sees.index(False)} of {len(sees)} does not see what the first host wrote there; "
                "hosts need a --workdir in common, gs://BUCKET/DIRECTORY or a shared disk"
            )

    def finished_steps(self) -> int:
        """Steps that a finished run has done, 0 for an unfinished one."""
        return json.loads(self._done.read_text())["steps"] if self._done.exists() else 0

    def mark_finished(self, steps: int) -> None:
        write_json(self._done, {"steps": steps})
        self.push()

    def push(self) -> None:
        """Copies to the bucket what has changed; nothing to do for a local directory."""
        if self._mirror:
            self._mirror.push()
        self._last_push = time.monotonic()

    def push_sometimes(self) -> None:
        if time.monotonic() - self._last_push >= _PUSH_SECS:
            self.push()

    def _described(self, experiment: Experiment) -> dict[str, Any]:
        """The config as JSON has it; what a bucket's local copy holds is named as it is in the bucket."""
        text = json.dumps(to_dict(experiment))
        return json.loads(mirror.as_remote(text) if self._mirror else text)

    def _refuse_changes(self, experiment: Experiment) -> None:
        if not self._config.exists():
            return
        kept = json.loads(self._config.read_text())
        changes = list(differences(kept, self._described(experiment)))
        if changes:
            raise ValueError(
                f"{self.path} holds a run with another config; use another --workdir, or change back:\n"
                + "\n".join(f"  {change}" for change in changes)
            )


def differences(kept: dict[str, Any], given: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Fields that change what a run computes and differ between two configs, "FIELD: was …, now …"."""
    for name in sorted(kept.keys() | given.keys()):
        full = prefix + name
        before, now = kept.get(name), given.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from differences(before, now, full + ".")
        elif before != now and not full.startswith(_FREE):
            yield f"{full}: was {before!r}, now {now!r}"
