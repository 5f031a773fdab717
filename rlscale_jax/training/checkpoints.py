"""Checkpoints of a run: asynchronous, atomic, kept by policy, and the newest whole one found again.

A checkpoint at `RUN/checkpoints/STEP` holds two items: `state` (params, optimiser state, counters on the device, with
their shardings) and `meta` (JSON: step, which is also the data cursor, host counters, config, fingerprint of the
reference weights, schema version). Orbax writes into a temporary directory and renames it, so that a process killed
at any moment leaves only whole checkpoints. Random draws are keyed by (seed, step), so no generator state is kept.
"""

import pathlib
import shutil
import time
from typing import Any

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

from rlscale_jax.experiment.config import SCHEMA_VERSION, CheckpointConfig

State = dict[str, Any]
_policies = ocp.training.preservation_policies


class RunCheckpoints:
    """The checkpoints of one run, written by `save` when due and read back by `restore`."""

    def __init__(self, directory: str | pathlib.Path, config: CheckpointConfig):
        self._config = config
        text = str(directory)  # Orbax takes absolute paths and URLs only
        self._directory = text if "://" in text else str(pathlib.Path(text).absolute())
        self._last_save = time.monotonic()
        keep: list[Any] = [_policies.LatestN(config.keep_last)]
        if config.keep_every:
            keep.append(_policies.EveryNSteps(config.keep_every))
        # Orbax's own types of these two do not agree with each other, hence Any.
        save_all: Any = ocp.training.save_decision_policies.FixedIntervalPolicy(1)
        preserve: Any = _policies.AnyPreservationPolicy(keep)
        # The loop decides when to save (by steps or seconds), so Orbax saves every step that it is given.
        self._checkpointer = ocp.training.Checkpointer(
            self._directory,
            save_decision_policy=save_all,
            preservation_policy=preserve,
        )

    def due(self, step: int) -> bool:
        """Whether enough steps or seconds have gone by since the last save."""
        late = time.monotonic() - self._last_save >= self._config.every_secs
        return late or step % self._config.every_steps == 0

    def save(self, step: int, state: State, meta: dict[str, Any]) -> None:
        """Starts an asynchronous save; arrays are copied to the host before this returns, so they may be donated."""
        self._last_save = time.monotonic()
        if step in {checkpoint.step for checkpoint in self._checkpointer.checkpoints}:
            return
        meta = {"schema": SCHEMA_VERSION, "step": step, **meta}
        self._checkpointer.save_checkpointables_async(step, {"state": state, "meta": meta})

    def restore(self, abstract_state: State) -> tuple[State, dict[str, Any]] | None:
        """The newest readable checkpoint laid out as `abstract_state` (shapes, dtypes, shardings), or None.

        A damaged newest checkpoint is set aside under `damaged/` with a warning, and the one before it is taken.

        Raises:
          ValueError: a checkpoint of a newer schema, or of other shapes than `abstract_state`.
        """
        for checkpoint in sorted(self._checkpointer.checkpoints, key=lambda c: c.step, reverse=True):
            try:
                meta = self._checkpointer.load_checkpointables(checkpoint.step, {"meta": None})["meta"]
            except Exception as error:  # Orbax raises many kinds for a torn file; each means: not readable
                self._set_aside(checkpoint.step, error)
                continue
            if meta["schema"] > SCHEMA_VERSION:
                raise ValueError(
                    f"{self._directory}/{checkpoint.step}: schema {meta['schema']} is newer than this code"
                )
            try:
                items = self._checkpointer.load_checkpointables(checkpoint.step, {"state": abstract_state})
                return jax.block_until_ready(items["state"]), meta
            except Exception as error:
                self._set_aside(checkpoint.step, error)
        return None

    def _set_aside(self, step: int, error: Exception) -> None:
        source = pathlib.Path(self._directory) / str(step)
        target = source.parent.parent / "damaged" / f"{step}-{time.time_ns()}"
        logging.warning("checkpoint %s cannot be read (%s); moved to %s", source, str(error)[:200], target)
        target.parent.mkdir(exist_ok=True)
        shutil.move(source, target)
        self._checkpointer.reload()

    def wait(self) -> None:
        """Blocks until the save in progress is on disk; raises what went wrong with it."""
        self._checkpointer.wait()

    def close(self) -> None:
        self._checkpointer.close()


def abstract(state: State) -> State:
    """Shapes, dtypes and shardings of a state, for `restore`."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state)
