"""Checkpoints: asynchronous, atomic, kept by policy; the newest whole one is found again.

A checkpoint at `RUN/checkpoints/STEP` holds two items: `state` (params, optimiser state, counters on the device, with
their shardings) and `meta` (JSON: step, which is also the data cursor, host counters, config, fingerprints of the
reference weights and of the state itself, schema version). Orbax writes into a temporary directory and renames it (in a
bucket: marks it when it is whole), so that a process killed at any moment leaves only whole checkpoints. Random draws
are keyed by (seed, step), so no generator state is kept. On several hosts every method is called by all of them.
"""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
from absl import logging
from etils import epath
from orbax.checkpoint import v1 as ocp

from rlscale_jax.experiment.config import SCHEMA_VERSION, CheckpointConfig
from rlscale_jax.models import hosts
from rlscale_jax.models.fingerprint import fingerprint

State = dict[str, Any]
_policies = ocp.training.preservation_policies


class SaveError(OSError):
    """A checkpoint could not be written."""


class RunCheckpoints:
    """The checkpoints of one run, written by `save` when due and read back by `restore`."""

    def __init__(self, directory: str | pathlib.Path, config: CheckpointConfig):
        self._config = config
        text = str(directory)  # Orbax takes absolute paths and URLs only
        self._directory = text if "://" in text else str(pathlib.Path(text).absolute())
        self._last_save = time.monotonic()
        self._underway: int | None = None  # the step whose save has not been seen to end
        hosts.from_first(self._set_aside_torn)
        # Orbax's own types of these two do not agree with each other, hence Any.
        save_all: Any = ocp.training.save_decision_policies.FixedIntervalPolicy(1)
        preserve: Any = _policies.AnyPreservationPolicy(_kept(config))
        # The loop decides when to save (by steps or seconds), so Orbax saves every step that it is given.
        self._checkpointer = ocp.training.Checkpointer(
            self._directory,
            save_decision_policy=save_all,
            preservation_policy=preserve,
            cleanup_tmp_directories=True,  # what a killed save has left; the run's lock keeps others out
        )

    def due(self, step: int) -> bool:
        """Whether enough steps or seconds have gone by since the last save; the same on all hosts."""
        late = time.monotonic() - self._last_save >= self._config.every_secs
        return step % self._config.every_steps == 0 or hosts.gather(late)[0]

    def save(self, step: int, state: State, meta: dict[str, Any], *, test_loss: float | None = None) -> None:
        """Starts an asynchronous save; arrays are copied to the host before this returns, so they may be donated.

        `test_loss` ranks the checkpoint where the best are kept; without it, it is no candidate.

        Raises:
          SaveError: this or the save before it failed.
        """
        self._last_save = time.monotonic()
        if step in self.steps():
            return
        meta = {"schema": SCHEMA_VERSION, "step": step, "state_fingerprint": fingerprint(state), **meta}
        metrics: Any = None if test_loss is None else {"test_loss": float(test_loss)}
        with self._failing_loudly():
            self._checkpointer.save_checkpointables_async(step, {"state": state, "meta": meta}, metrics=metrics)
        self._underway = step

    def steps(self) -> list[int]:
        """Of the checkpoints that are kept, and of the one that is being written."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def restore(self, abstract_state: State) -> tuple[State, dict[str, Any]] | None:
        """The newest whole checkpoint laid out as `abstract_state` (shapes, dtypes, shardings), or None.

        One that cannot be read, or whose state is not the one that was saved, is set aside under `damaged/` with a
        warning, and the one before it is taken.

        Raises:
          ValueError: a checkpoint of a newer schema.
        """
        for step in reversed(self.steps()):
            problem, state, meta = self._read(step, abstract_state)
            problems = [text for text in hosts.gather(problem) if text]
            if not problems:
                assert state is not None
                return state, meta
            self._set_aside(step, problems[0])
        return None

    def _read(self, step: int, abstract_state: State) -> tuple[str, State | None, dict[str, Any]]:
        """What is wrong with a checkpoint ("": nothing), its state, its meta."""
        try:
            meta = self._checkpointer.load_checkpointables(step, {"meta": None})["meta"]
        except Exception as error:  # Orbax raises many kinds for a torn file; each means: not readable
            return f"unreadable: {error}", None, {}
        if meta["schema"] > SCHEMA_VERSION:
            raise ValueError(f"{self._directory}/{step}: schema {meta['schema']} is newer than this code")
        try:
            state = self._checkpointer.load_checkpointables(step, {"state": abstract_state})["state"]
            found = fingerprint(state)
        except Exception as error:
            return f"unreadable: {error}", None, {}
        if found != meta.get("state_fingerprint", found):  # written by a version that had none
            return "its arrays are not those that were saved", None, {}
        return "", state, meta

    def _set_aside_torn(self) -> None:
        """Orbax reads these files of every checkpoint as it starts, and would end there at one that is torn."""
        for step in self._on_disk():
            for name in ("_CHECKPOINT_METADATA", "metrics/metrics"):
                path = epath.Path(self._directory) / str(step) / name
                try:
                    json.loads(path.read_text() if path.exists() else "{}")
                except ValueError as error:
                    self._move(step, f"{name} is torn: {error}")
                    break

    def _set_aside(self, step: int, problem: str) -> None:
        if hosts.is_first():
            self._move(step, problem)
        hosts.gather(None)  # nobody looks again before it is gone
        self._checkpointer.reload()

    def _move(self, step: int, problem: str) -> None:
        source = epath.Path(self._directory) / str(step)
        target = source.parent.parent / "damaged" / f"{step}-{time.time_ns()}"
        logging.warning("checkpoint %s is damaged (%s); moved to %s", source, problem[:200], target)
        target.parent.mkdir(exist_ok=True)
        (target.parent / f"{target.name}.txt").write_text(problem)  # also: a bucket has no empty folder to move into
        source.rename(target)

    @contextlib.contextmanager
    def _failing_loudly(self) -> Iterator[None]:
        """Orbax tells a failed background save when it is next called, by many kinds of exceptions."""
        try:
            yield
        except Exception as error:
            which = "a checkpoint" if self._underway is None else f"the checkpoint of step {self._underway}"
            whole = [step for step in self._on_disk() if step != self._underway]
            kept = f"step {whole[-1]} is the last whole one" if whole else "none is there yet"
            raise SaveError(
                f"{which} could not be written to {self._directory} ({_last_line(error)}); {kept}. "
                "Make room, or mend what is said here, and start again"
            ) from error

    def _on_disk(self) -> list[int]:
        found = epath.Path(self._directory)
        return sorted(int(path.name) for path in found.iterdir() if path.name.isdigit()) if found.exists() else []

    def wait(self) -> None:
        """Blocks until the save in progress is on disk.

        Raises:
          SaveError: what went wrong with it.
        """
        with self._failing_loudly():
            self._checkpointer.wait()
        self._underway = None

    def close(self) -> None:
        """Waits as `wait`, and ends the background threads."""
        with self._failing_loudly():
            self._checkpointer.close()


def _kept(config: CheckpointConfig) -> list[Any]:
    keep: list[Any] = [_policies.LatestN(config.keep_last)]
    if config.keep_every:
        keep.append(_policies.EveryNSteps(config.keep_every))
    if config.keep_best:
        keep.append(
            _policies.BestN(
                get_metric_fn=lambda metrics: metrics["test_loss"],
                reverse=True,  # from the highest loss to the lowest; the last n are kept
                n=config.keep_best,
                keep_checkpoints_without_metrics=False,
            )
        )
    return keep


def _last_line(error: BaseException) -> str:
    """The innermost cause in one line. What is long has paths in its middle and the reason at its end."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    line = lines[0] if len(lines[0]) <= 400 else f"{lines[0][:150]} … {lines[0][-250:]}"
    return f"{type(error).__name__}: {line}"


def abstract(state: State) -> State:
    """Shapes, dtypes and shardings of a state, for `restore`."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state)
