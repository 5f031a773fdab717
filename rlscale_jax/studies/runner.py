"""Runs of a study as processes of their own: a few at a time, retried once, finished ones left alone.

A process for each run keeps a crash, a full memory or a `kill -9` to that run. Where several share the CPU each is
held to one thread: small models do not gain from more, and their sums then do not depend on the number of cores.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rlscale_jax.experiment.config import Experiment, Study, experiment_from_dict, to_dict
from rlscale_jax.experiment.records import write_json
from rlscale_jax.experiment.validation import run_name
from rlscale_jax.studies import grid
from rlscale_jax.training import rundir
from rlscale_jax.training.rundir import RunDir

WORKER = "rlscale_jax.studies.worker"
_POLL_SECS = 0.5
_PLAIN_EVERY_SECS = 15.0
_SHOWN_CHANGES = 12


@dataclass
class _Job:
    experiment: Experiment
    directory: pathlib.Path
    attempts: int = 0
    process: subprocess.Popen | None = None
    state: str = "waiting"  # running, finished, failed
    started: float = field(default_factory=time.monotonic)


def run_all(study: Study, workdir: pathlib.Path) -> list[str]:
    """Brings every run to its end; returns the names of those that failed `max_attempts` times.

    Raises:
      ValueError: the directory holds a run of the same name with another config; nothing is started or changed.
    """
    jobs = [_Job(run, workdir / "runs" / run_name(run)) for run in grid.runs(study)]
    _check_same(jobs, workdir)
    write_json(workdir / "config.json", to_dict(study))
    for job in jobs:
        if _finished(job):
            job.state = "finished"
    try:
        _loop(jobs, study, workdir)
    finally:
        for job in jobs:  # Ctrl-C, or an error here: no run outlives its study
            if job.process and job.process.poll() is None:
                job.process.terminate()
                job.process.wait()
    return [run_name(job.experiment) for job in jobs if job.state == "failed"]


def _loop(jobs: list[_Job], study: Study, workdir: pathlib.Path) -> None:
    console = Console(stderr=True)
    last_plain = time.monotonic()
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while any(job.state in ("waiting", "running") for job in jobs):
            for job in jobs:
                _collect(job, study)
            running = sum(job.state == "running" for job in jobs)
            for job in [j for j in _in_order(jobs) if j.state == "waiting"][: study.parallel_runs - running]:
                _start(job, study, workdir)
            if console.is_terminal:
                live.update(_table(jobs), refresh=True)
            elif time.monotonic() - last_plain > _PLAIN_EVERY_SECS:
                last_plain = time.monotonic()
                print(_table(jobs), file=sys.stderr, flush=True)
            time.sleep(_POLL_SECS)
    print(_table(jobs), file=sys.stderr, flush=True)


def _in_order(jobs: list[_Job]) -> list[_Job]:
    """The rating model's run first, as others wait for its base; then by pretraining and model size, largest first."""
    return sorted(jobs, key=lambda job: (job.experiment.pretrain != job.experiment.task.rating, -_work(job)))


def _work(job: _Job) -> float:
    pretrain = job.experiment.pretrain
    return max(job.experiment.model.n_nominal, pretrain.num_layers * pretrain.hidden_size**2)


def _check_same(jobs: list[_Job], workdir: pathlib.Path) -> None:
    changes = [
        f"{run_name(job.experiment)}: {change}"
        for job in jobs
        for change in rundir.differences(_kept(job) or {}, to_dict(job.experiment))
        if _kept(job)
    ]
    if changes:
        more = [f"and {len(changes) - _SHOWN_CHANGES} more"] if len(changes) > _SHOWN_CHANGES else []
        raise ValueError(
            f"{workdir} holds runs of these names with another config; use another --workdir, or change back:\n"
            + "\n".join(f"  {line}" for line in [*changes[:_SHOWN_CHANGES], *more])
        )


def _kept(job: _Job) -> dict[str, Any] | None:
    """The config that this run's directory was begun with by a study; None where there is none."""
    path = job.directory / "study_config.json"
    return to_dict(experiment_from_dict(json.loads(path.read_text()))) if path.exists() else None


def _finished(job: _Job) -> bool:
    """Whether the run's directory says so; that its config is this one has been checked."""
    done = RunDir(job.directory).finished_steps()
    return done >= job.experiment.num_steps and _kept(job) is not None


def _start(job: _Job, study: Study, workdir: pathlib.Path) -> None:
    job.directory.mkdir(parents=True, exist_ok=True)
    write_json(job.directory / "study_config.json", to_dict(job.experiment))
    command = [sys.executable, "-m", WORKER, str(job.directory), str(workdir / "assets")]
    environment = dict(os.environ)
    if study.parallel_runs > 1:
        environment |= {"NPROC": "1", "OMP_NUM_THREADS": "1"}
        environment["XLA_FLAGS"] = environment.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    job.attempts += 1
    job.state, job.started = "running", time.monotonic()
    with (job.directory / "output.txt").open("a") as output:
        job.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)


def _collect(job: _Job, study: Study) -> None:
    if job.state != "running" or job.process is None or job.process.poll() is None:
        return
    if job.process.returncode == 0:
        job.state = "finished"
    else:
        job.state = "waiting" if job.attempts < study.max_attempts else "failed"


def _table(jobs: list[_Job]) -> Text:
    return Text("\n".join(_line(job) for job in jobs))


def _line(job: _Job) -> str:
    text = f"  {run_name(job.experiment):<16} {job.state:<9}"
    log = job.directory / "log.txt"
    if job.state == "running" and log.exists():
        text += " " + log.read_text()[-400:].strip().rpartition("\n")[2]
    if job.state == "failed":
        text += f" after {job.attempts} attempts; see {job.directory / 'output.txt'}"
    return text
