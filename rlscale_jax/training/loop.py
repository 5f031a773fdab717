"""One run: rollouts, update, evaluation, records, checkpoints, from wherever the last attempt stopped.

Everything random is keyed by (seed, step), so a run that was killed and goes on writes the same numbers as one that
was not.
"""

import contextlib
import pathlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import jax

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.experiment.records import RecordFile
from rlscale_jax.models import Model
from rlscale_jax.training import checkpoints, locks, metrics, run
from rlscale_jax.training.collect import Collected, collect
from rlscale_jax.training.metrics import Counters
from rlscale_jax.training.outlook import Outlook
from rlscale_jax.training.progress import Progress
from rlscale_jax.training.rundir import RunDir


def train(experiment: Experiment, directory: pathlib.Path, *, devices: Sequence[Any] | None = None) -> None:
    """Runs to `num_steps`; a finished run returns at once, an unfinished one goes on from its last checkpoint.

    `devices` (all, by default) are laid out as `experiment.mesh` says.

    Raises:
      ValueError: the directory holds a run with another config, or the config does not fit its model or data.
      FloatingPointError: too many updates in a row were not finite.
    """
    rundir = RunDir(directory)
    rundir.open(experiment)
    if rundir.finished_steps() >= experiment.num_steps:
        return
    # Of a pod's hosts one holds the lock: a second start of the same run waits until the first has ended.
    lock = locks.exclusive(rundir.metrics) if jax.process_index() == 0 else contextlib.nullcontext()
    with lock, run.opened(experiment, directory, devices) as parts:
        _train(experiment, parts, rundir)
        rundir.mark_finished(experiment.num_steps)


def _train(experiment: Experiment, parts: run.Run, rundir: RunDir) -> None:
    records = RecordFile(rundir.metrics)
    saves = checkpoints.RunCheckpoints(rundir.checkpoints, experiment.checkpoint)
    progress = Progress(f"{experiment.name} seed {experiment.seed}", experiment.num_steps, log_path=rundir.log)
    state, counters, done = _restore(parts, saves)
    for file in (records, RecordFile(rundir.outcomes), RecordFile(rundir.rollouts)):
        file.cut_after(done)
    outlook = Outlook(experiment.num_steps, records.rows())
    policy = parts.policy(state)
    if done < 0:
        row = metrics.scaling_row(counters, experiment, parts.architecture)
        row |= _evaluate(parts, policy, 0, rundir)
        records.append({"step": 0, **row, **parts.watch.take()})
        progress.update(0, test_loss=float(row["scaling/test_loss"]))
        done = 0
    for step in range(done + 1, experiment.num_steps + 1):
        start = time.perf_counter()
        collected = collect(
            policy or parts.policy(state),
            parts.stream.take(step - 1),
            experiment,
            tokenizer=parts.tokenizer,
            pool=parts.pool,
            step=step,
            watch=parts.watch,
        )
        policy = None  # frees the sampler's copy of the weights while the update runs
        state, row = parts.update(state, collected)
        before, counters = counters, counters.after(collected, experiment, parts.architecture)
        row |= metrics.rollout_row(collected) | metrics.scaling_row(counters, experiment, parts.architecture)
        spent = counters.flops_total - before.flops_total
        row |= metrics.performance_row(collected, time.perf_counter() - start, spent)
        if _due(step, experiment):
            policy = parts.policy(state)
            row |= _evaluate(parts, policy, step, rundir)
            row |= outlook.after({"step": step, **row})
        records.append({"step": step, **row, **parts.watch.take(), "timing_s/step": time.perf_counter() - start})
        _log_rollouts(collected, experiment, rundir, step)
        if saves.due(step) or step == experiment.num_steps:
            saves.save(step, state, {"counters": asdict(counters), "config": parts.config_dict})
        progress.update(step, note=outlook.words, **_shown(row))
    saves.close()


def _restore(parts: run.Run, saves: checkpoints.RunCheckpoints):
    """(state, counters, last step done); -1 where not even step 0 was evaluated."""
    state = parts.initial_state()
    restored = saves.restore(checkpoints.abstract(state))
    if restored is None:
        return state, Counters(), -1
    return restored[0], Counters(**restored[1]["counters"]), restored[1]["step"]


def _due(step: int, experiment: Experiment) -> bool:
    return step % experiment.evaluation.every_steps == 0 or step == experiment.num_steps


def _evaluate(parts: run.Run, policy: Model, step: int, rundir: RunDir) -> metrics.Row:
    row: metrics.Row = {}
    with parts.watch("testing"):
        for score in parts.evaluate(policy, step):
            row |= metrics.evaluation_row(score)
            outcome = ["".join("1" if right else "0" for right in sample) for sample in score.correct.T]
            RecordFile(rundir.outcomes).append({"step": step, "source": score.source, "correct": outcome})
    return row


def _log_rollouts(collected: Collected, experiment: Experiment, rundir: RunDir, step: int) -> None:
    """One group in full, for people to read."""
    if not experiment.log_rollouts_every or step % experiment.log_rollouts_every:
        return
    problem = collected.problems[0]
    samples = [
        {"response": response, "correct": verdict.correct, "status": verdict.status}
        for response, verdict in zip(collected.responses[0], collected.verdicts[0], strict=True)
    ]
    group = {"prompt": problem.text, "ground_truth": problem.ground_truth, "samples": samples}
    RecordFile(rundir.rollouts).append({"step": step, **group})


def _shown(row: metrics.Row) -> dict[str, float]:
    shown = {"reward": float(row["critic/rewards/mean"])}
    if "scaling/test_loss" in row:
        shown["test_loss"] = float(row["scaling/test_loss"])
    return {**shown, "length": float(row["response_length/mean"]), "tokens/s": float(row["perf/throughput"])}
