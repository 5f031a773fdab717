"""What a run survives, what it refuses, and what it says: signals, kills, full disks, batches that are not finite."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from rlscale_jax.experiment.records import read_rows
from rlscale_jax.training import assets, checkpoints, loop, run, rundir, stops

RUN = "runs/tiny_s0"


def ready(tiny, tiny_assets, **changes):
    return assets.ensure(tiny.experiment(**changes), tiny_assets, log_path=tiny_assets / "log.txt")


def train(experiment, directory):
    loop.train(experiment, directory, devices=jax.devices()[:1])


def rows(directory, name="metrics.jsonl"):
    return list(read_rows(directory / name))


@pytest.fixture(scope="module")
def undisturbed(tiny, tiny_assets, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    train(ready(tiny, tiny_assets), directory)
    return directory


def assert_same_run(directory, undisturbed, tiny):
    assert tiny.without_times(rows(directory)) == tiny.without_times(rows(undisturbed))
    assert rows(directory, "outcomes.jsonl") == rows(undisturbed, "outcomes.jsonl")
    samples, expected = rows(directory, "rollouts.jsonl"), rows(undisturbed, "rollouts.jsonl")
    assert samples == expected


def test_a_run_that_is_stopped_again_and_again_gives_the_same_numbers(
    undisturbed, tiny, tiny_assets, tmp_path, monkeypatch
):
    """Points lie between segments of rollouts and evaluations, before updates, between steps; each life has 5 more."""
    point, places = stops.Stops.point, []

    def stop_early(self):
        point(self)
        if self._num_points == 5 * (len(places) + 1):
            raise stops.Stop

    monkeypatch.setattr(stops.Stops, "point", stop_early)
    for _ in range(20):
        try:
            train(ready(tiny, tiny_assets), tmp_path)
            break
        except stops.Stopped as stopped:
            assert "the same command goes on" in str(stopped)
            saved = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
            places.append((saved, len(rows(tmp_path)) - 1))
    assert any(saved == row for saved, row in places) and any(saved == row + 1 for saved, row in places), places
    assert_same_run(tmp_path, undisturbed, tiny)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_run_with_a_checkpoint(number, status, undisturbed, tiny, tiny_assets, tmp_path, monkeypatch):
    advance = loop._advance

    def signalled(parts, now, log):
        if now.step == 1:
            os.kill(os.getpid(), number)
        advance(parts, now, log)

    rare = {"checkpoint": checkpoints.CheckpointConfig(every_steps=100, every_secs=1000.0)}
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(stops.Stopped, match="step 1 of 5, which is saved") as stopped:
        patch.setattr(loop, "_advance", signalled)
        train(ready(tiny, tiny_assets, **rare), tmp_path)
    assert stopped.value.status == status and signal.getsignal(number) == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    train(ready(tiny, tiny_assets, **rare), tmp_path)
    assert_same_run(tmp_path, undisturbed, tiny)


def test_a_second_ctrl_c_does_not_wait():
    with stops.Stops() as asked, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert asked.signal == signal.SIGINT


def test_a_batch_that_is_not_finite_is_skipped_counted_and_at_last_dumped(tiny, tiny_assets, tmp_path, monkeypatch):
    """Of two updates a step all are spoilt in step 2, and in steps 4 and 5; three in a row are too many."""
    make_batch, calls = run.batch.make_batch, []

    def spoilt(rollouts, prompts, rewards, config):
        made = make_batch(rollouts, prompts, rewards, config)
        calls.append(made)
        step = (len(calls) + 1) // 2  # one batch for the log-probabilities, one for the update
        return made if step not in (2, 4, 5, 6) else _with_nan(made)  # the last: what is dumped

    monkeypatch.setattr(run.batch, "make_batch", spoilt)
    experiment = ready(tiny, tiny_assets)
    experiment.optimizer.max_nonfinite_steps = 3
    with pytest.raises(FloatingPointError, match=r"3 updates in a row.*nonfinite_batch\.npz"):
        train(experiment, tmp_path)
    kept = rows(tmp_path)
    assert [row["step"] for row in kept] == [0, 1, 2, 3, 4]
    assert [row["actor/skipped_updates"] for row in kept[1:]] == [0, 2, 0, 2]
    with np.load(tmp_path / "nonfinite_batch.npz") as dumped:
        assert np.isnan(dumped["advantages"]).all() and dumped["completion_tokens"].shape[:2] == (8, 4)


def _with_nan(batch):
    return run.dataclasses.replace(batch, advantages=np.full_like(batch.advantages, np.nan))


def test_a_reference_that_was_exchanged_is_refused(undisturbed, tiny, tiny_assets, tmp_path, monkeypatch):
    directory = shutil.copytree(undisturbed, tmp_path / "run")
    monkeypatch.setattr(run, "fingerprint", lambda params: "0" * 16)
    with pytest.raises(ValueError, match=r"its weights are not those.*fingerprint 0000"):
        train(ready(tiny, tiny_assets, num_steps=6), directory)


def test_hosts_without_a_directory_in_common_are_told(tiny, tmp_path, monkeypatch):
    directory = rundir.RunDir(tmp_path)
    directory.begin(tiny.experiment())
    directory.check_common()
    monkeypatch.setattr(rundir.hosts, "gather", lambda sees: [sees, False])
    with pytest.raises(ValueError, match=r"host 1 of 2 does not see.*gs://BUCKET"):
        directory.check_common()


def test_missing_rows_are_told(undisturbed, tiny, tiny_assets, tmp_path):
    directory = shutil.copytree(undisturbed, tmp_path / "run")
    lines = (directory / "metrics.jsonl").read_text().splitlines(keepends=True)
    (directory / "metrics.jsonl").write_text("".join(lines[:2] + lines[3:]))
    train(ready(tiny, tiny_assets, num_steps=6), directory)
    assert "lacks 1 steps that the checkpoint has done, the first: 2" in (directory / "log.txt").read_text()


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments(pod, tiny, tiny_assets, tmp_path):
    """Moments between a life's first point and its end, a save each step; the numbers are an undisturbed run's."""
    flags = ("--config.num_steps=8", "--config.checkpoint.every_steps=1")
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "assets").symlink_to(tiny_assets)
    assert pod.end(pod.start(1, 1, tmp_path / "undisturbed", *flags)) == [0]
    directory = tmp_path / "killed" / RUN
    (process,) = pod.start(1, 1, tmp_path / "killed", *flags)  # the same once more, for its duration when compiled
    wait_for(lambda: said_to_begin(directory) == 1)
    begin = time.monotonic()
    assert pod.end([process]) == [0]
    usual = time.monotonic() - begin
    shutil.rmtree(directory)
    moments, draw = [], random.Random(0)
    while len(moments) < 20:
        lives = said_to_begin(directory)
        (process,) = pod.start(1, 1, tmp_path / "killed", *flags)
        wait_for(lambda lives=lives: said_to_begin(directory) > lives)
        time.sleep(draw.uniform(0.0, 0.6 * usual))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            saves = sorted(path.name for path in directory.glob("checkpoints/*"))
            moments.append((len(rows(directory)) - 1, saves))
        if (directory / "done.json").exists():  # this run is over: begin another one in the same place
            assert_same_run(directory, tmp_path / "undisturbed" / RUN, tiny)
            shutil.rmtree(directory)
    print("last row and checkpoints at each kill:", *moments, sep="\n")
    assert pod.end(pod.start(1, 1, tmp_path / "killed", *flags)) == [0], pod.output(tmp_path / "killed")
    assert_same_run(directory, tmp_path / "undisturbed" / RUN, tiny)


def said_to_begin(directory) -> int:
    """How often this run has begun or gone on."""
    log = directory / "log.txt"
    return log.read_text().count("weights fingerprint") if log.exists() else 0


def wait_for(condition, secs: float = 600) -> None:
    end = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_full_disk_ends_a_run_with_a_word_and_the_last_checkpoint_stands(pod, tiny_assets, tmp_path):
    """A limit on the size of files stands for the disk, and is lifted afterwards."""
    (tmp_path / "assets").symlink_to(tiny_assets)
    flags = ("--config.checkpoint.every_steps=1", "--config.checkpoint.every_secs=1000")
    assert pod.end(pod.start(1, 1, tmp_path, *flags, "--config.num_steps=1")) == [0]
    command = [sys.executable, "-m", "rlscale_jax.train", "--config=tests/training/tiny.py", f"--workdir={tmp_path}"]
    done = subprocess.run(
        [*command, *flags],
        cwd=pod.ROOT,
        env=pod.environment(1),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and re.search(r"^error: .*could not be written", done.stderr, re.M), done.stderr
    assert "File too large" in done.stderr and "start again" in done.stderr
    assert pod.end(pod.start(1, 1, tmp_path, *flags)) == [0], pod.output(tmp_path)
    assert [row["step"] for row in rows(tmp_path / RUN)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_disk_of_its_own_that_is_full(pod, tiny_assets, tmp_path):
    """The same with a real file system of half a megabyte, where this user may mount one; then a larger one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    train_in = (
        f"{sys.executable} -m rlscale_jax.train --config=tests/training/tiny.py --workdir={disk} --config.num_steps=8 "
        "--config.checkpoint.every_steps=1 --config.checkpoint.keep_last=99; echo status $?"
    )
    script = (
        f"mount -t tmpfs -o size=500k none {disk} && ln -s {tiny_assets} {disk}/assets && {train_in}; "
        f"ls {disk}/{RUN}/checkpoints; mount -o remount,size=9m {disk}; {train_in}; cat {disk}/{RUN}/metrics.jsonl"
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, cwd=pod.ROOT, env=pod.environment(1), capture_output=True, text=True, check=False)
    if "status" not in done.stdout:
        pytest.skip(f"this user may not mount a file system: {done.stderr[-200:]}")
    statuses = re.findall(r"^status (\d+)", done.stdout, re.M)
    assert statuses == ["1", "0"], done.stdout + done.stderr
    assert re.search(r"^error: .*No space left on device", done.stderr, re.M), done.stderr
    steps = [json.loads(line)["step"] for line in done.stdout.splitlines() if line.startswith("{")]
    assert steps == list(range(9))
    print(*[line for line in done.stderr.splitlines() if line.startswith("error:")])
