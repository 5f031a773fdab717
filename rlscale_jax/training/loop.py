"""One run: rollouts, update, evaluation, records, from wherever the last attempt stopped.

Everything random is keyed by (seed, step), so a run that was killed and goes on writes the same numbers as one that
was not. On several hosts all run this program; the first one writes the records, all write the checkpoints.
"""

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax

from rlscale_jax.experiment.config import Experiment, to_dict
from rlscale_jax.models import Model, hosts, runtime
from rlscale_jax.models.fingerprint import fingerprint
from rlscale_jax.training import checkpoints, metrics, run, tracking
from rlscale_jax.training.metrics import Counters
from rlscale_jax.training.rundir import RunDir
from rlscale_jax.training.runlog import RunLog
from rlscale_jax.training.stops import STATUS, Stop, Stopped, Stops


def train(
    experiment: Experiment,
    directory: str | os.PathLike,
    *,
    devices: Sequence[Any] | None = None,
    profile: Collection[int] = (),
) -> None:
    """Runs to `num_steps`; a finished run returns at once, an unfinished one goes on from its last checkpoint.

    `directory` is local or in a bucket (gs://...). `devices` (all, by default) are laid out as `experiment.mesh` says.
    Steps in `profile` leave a trace of JAX's profiler in the run's profile/.

    Raises:
      ValueError: the directory holds a run with another config, or the config does not fit its model or data.
      FloatingPointError: too many updates in a row were not finite.
      Stopped: the run was asked to end by SIGTERM or Ctrl-C, and what it had done is saved.
      OSError: records or a checkpoint could not be written.
    """
    rundir = RunDir(directory)
    tracking.check(experiment)
    with rundir.held(experiment), Stops() as stops:
        if hosts.from_first(lambda: rundir.begin(experiment)):
            return
        rundir.check_common()
        with run.opened(experiment, rundir.local, devices, point=stops.point) as parts:
            _train(parts, rundir, stops, profile)
        if hosts.is_first():
            rundir.mark_finished(experiment.num_steps)


@dataclass
class Position:
    """Where a run stands: `state` and `counters` after `step` steps.

    `row` holds the step's metrics until its evaluation is done and the row is written, then None. `policy` is the
    state laid out for the sampler, while it is worth keeping. `test_loss` is the step's, None where it has none.
    """

    step: int
    state: dict[str, Any]
    counters: Counters
    row: metrics.Row | None
    began: float
    policy: Model | None = None
    test_loss: float | None = None


def _train(parts: run.Run, rundir: RunDir, stops: Stops, profile: Collection[int]) -> None:
    num_steps = parts.experiment.num_steps
    with contextlib.closing(checkpoints.RunCheckpoints(rundir.checkpoints, parts.experiment.checkpoint)) as saves:
        now = _restore(parts, saves)
        if parts.experiment.grpo.remat == "none":  # memory for time
            runtime.keep_freed_memory(parts.num_bytes)
        log = RunLog(parts.experiment, rundir, after=now.step, pending=now.row is not None)
        with contextlib.closing(log):
            try:
                _check_policy(parts, now, log)
                _conclude(parts, now, log)
                while now.step < num_steps:
                    parts.point()
                    with _traced(now.step + 1 in profile, rundir):
                        _advance(parts, now, log)
                        _conclude(parts, now, log)
                    if saves.due(now.step) or now.step == num_steps:
                        _save(parts, now, saves, log)
            except Stop:
                _save(parts, now, saves, log)
                saves.wait()
                raise _farewell(parts, now, stops, log) from None


def _advance(parts: run.Run, now: Position, log: RunLog) -> None:
    """One step of GRPO: rollouts, log-probabilities while they are graded, updates."""
    experiment, architecture = parts.experiment, parts.architecture
    now.began = time.perf_counter()
    collected = parts.collect(now.policy or parts.policy(now.state), now.step + 1)
    now.policy = now.test_loss = None  # frees the sampler's copy of the weights while the update runs
    scored = parts.score(now.state, collected)
    parts.point()
    now.state, row = parts.update(now.state, collected, scored)
    now.step += 1
    before, now.counters = now.counters, now.counters.after(collected, experiment, architecture)
    row |= metrics.rollout_row(collected, max_prompt_tokens=experiment.data.max_prompt_tokens)
    row |= metrics.scaling_row(now.counters, experiment, architecture)
    row |= parts.watch.take() | {"timing_s/step": time.perf_counter() - now.began}
    spent = now.counters.flops_total - before.flops_total
    row |= metrics.performance_row(collected, row, architecture, step_flops=spent, peak_flops=parts.peak_flops)
    now.row = metrics.plain(row)
    log.rollouts(now.step, collected)


def _conclude(parts: run.Run, now: Position, log: RunLog) -> None:
    """Evaluates the step where that is due, and writes its row; nothing to do where both are done."""
    if now.row is None:
        return
    row = dict(now.row)
    if _evaluated(now.step, parts.experiment):
        now.policy = now.policy or parts.policy(now.state)
        for score in parts.evaluate(now.policy, now.step):
            row |= metrics.evaluation_row(score)
            log.outcomes(now.step, score)
        now.test_loss = float(row["scaling/test_loss"])
    row |= parts.watch.take() | {"timing_s/step": time.perf_counter() - now.began}
    log.row(now.step, metrics.plain(row | {"perf/wait_share": metrics.wait_share(row)}))
    now.row = None


def _evaluated(step: int, experiment: Experiment) -> bool:
    return step % experiment.evaluation.every_steps == 0 or step in (0, experiment.num_steps)


def _restore(parts: run.Run, saves: checkpoints.RunCheckpoints) -> Position:
    """The newest checkpoint, or step 0 with its row begun.

    Raises:
      ValueError: the reference model is not the one that the run began with.
    """
    state, restored = parts.initial_state(), None
    if saves.steps():
        shapes = checkpoints.abstract(state)
        jax.tree.map(lambda a: a.delete(), state)  # two states at a time may not fit
        restored = saves.restore(shapes)
        state = restored[0] if restored else parts.initial_state()
    if restored is None:
        row = metrics.scaling_row(Counters(), parts.experiment, parts.architecture)
        return Position(0, state, Counters(), row, time.perf_counter())
    meta = restored[1]
    known = meta.get("reference_fingerprint", parts.initial_fingerprint)
    if known != parts.initial_fingerprint:
        raise ValueError(
            f"model.path = {parts.experiment.model.path}: its weights are not those that this run began with "
            f"(fingerprint {parts.initial_fingerprint}, was {known}); put them back, or use another --workdir"
        )
    row = meta.get("row")
    began = time.perf_counter() - (row or {}).get("timing_s/step", 0.0)
    return Position(meta["step"], state, Counters(**meta["counters"]), row, began)


def _check_policy(parts: run.Run, now: Position, log: RunLog) -> None:
    """The sampler's weights are the trainer's, bit by bit: a fingerprint of both is logged.

    Raises:
      RuntimeError: they are not.
    """
    now.policy = parts.policy(now.state)
    trainer = fingerprint(now.state["params"], dtype=now.policy.dtype)
    # A tied model may decode with an output matrix of its own, the embedding's columns side by side: no weights more.
    sampler = fingerprint({name: part for name, part in now.policy.params.items() if name in now.state["params"]})
    log.say(f"step {now.step}: weights fingerprint: trainer {trainer}, sampler {sampler}")
    if trainer != sampler:
        raise RuntimeError(f"the sampler's weights ({sampler}) are not the trainer's ({trainer}): a bug in lay_out")
    if now.step == 0 and now.row is not None:
        now.row = now.row | {"fingerprint/trainer": trainer, "fingerprint/sampler": sampler}


def _save(parts: run.Run, now: Position, saves: checkpoints.RunCheckpoints, log: RunLog) -> None:
    """Starts to write a checkpoint; rows come first, so that none is missing when a run goes on from it."""
    log.sync()
    meta = {
        "counters": asdict(now.counters),
        "config": to_dict(parts.experiment),
        "reference_fingerprint": parts.initial_fingerprint,
        "row": now.row,
    }
    saves.save(now.step, now.state, meta, test_loss=now.test_loss)


def _farewell(parts: run.Run, now: Position, stops: Stops, log: RunLog) -> Stopped:
    message = (
        f"stopped by {stops.signal.name} at step {now.step} of {parts.experiment.num_steps}, which is saved; "
        "the same command goes on from there"
    )
    log.say(message)
    return Stopped(message, STATUS[stops.signal])


@contextlib.contextmanager
def _traced(wanted: bool, rundir: RunDir) -> Iterator[None]:
    """A trace of JAX's profiler around a step, on the first host."""
    with jax.profiler.trace(str(rundir.profile)) if wanted and hosts.is_first() else contextlib.nullcontext():
        yield
