"""What a run survives, what it refuses, and what it says: signals, kills, full disks, batches that are not finite."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest

from rlscale_jax.experiment.records import read_rows
from rlscale_jax.training import assets, checkpoints, loop, run, stops

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


def test_a_run_that_is_stopped_at_every_seventh_point_gives_the_same_numbers(
    undisturbed, tiny, tiny_assets, tmp_path, monkeypatch
):
    """Points lie between segments of rollouts and evaluations, before updates, between steps."""
    point, places = stops.Stops.point, []

    def stop_at_seventh(self):
        point(self)
        if self._num_points == 7:
            raise stops.Stop

    monkeypatch.setattr(stops.Stops, "point", stop_at_seventh)
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


def test_missing_rows_are_told(undisturbed, tiny, tiny_assets, tmp_path):
    directory = shutil.copytree(undisturbed, tmp_path / "run")
    lines = (directory / "metrics.jsonl").read_text().splitlines(keepends=True)
    (directory / "metrics.jsonl").write_text("".join(lines[:2] + lines[3:]))
    train(ready(tiny, tiny_assets, num_steps=6), directory)
    assert "lacks 1 steps that the checkpoint has done, the first: 2" in (directory / "log.txt").read_text()


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments(pod, tiny, tiny_assets, tmp_path):
    """Moments anywhere between start and end, saves included (one each step); the numbers are an undisturbed run's."""
    flags = ("--config.num_steps=8", "--config.checkpoint.every_steps=1")
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "assets").symlink_to(tiny_assets)
    begin = time.monotonic()
    assert pod.end(pod.start(1, 1, tmp_path / "undisturbed", *flags)) == [0]
    usual = time.monotonic() - begin
    kills, moments, draw = 0, [], random.Random(0)
    directory = tmp_path / "killed" / RUN
    while kills < 20:
        (process,) = pod.start(1, 1, tmp_path / "killed", *flags)
        time.sleep(draw.uniform(0.4 * usual, usual))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        if (directory / "done.json").exists():  # this life is over: begin another one in the same place
            assert_same_run(directory, tmp_path / "undisturbed" / RUN, tiny)
            shutil.rmtree(directory)
        else:
            saves = [path.name for path in directory.glob("checkpoints/*")]
            moments.append((len(rows(directory)) - 1, saves))
    print("steps done and checkpoints at each kill:", moments)
    assert pod.end(pod.start(1, 1, tmp_path / "killed", *flags)) == [0], pod.output(tmp_path / "killed")
    assert_same_run(directory, tmp_path / "undisturbed" / RUN, tiny)


@pytest.mark.slow
def test_a_full_disk_ends_a_run_with_a_word_and_the_last_checkpoint_stands(pod, tiny, tiny_assets, tmp_path):
    """A limit on the size of files stands for the disk: it is met by the second checkpoint, and lifted afterwards."""
    (tmp_path / "assets").symlink_to(tiny_assets)
    flags = ("--config.checkpoint.every_steps=1", "--config.checkpoint.every_secs=1000")
    assert pod.end(pod.start(1, 1, tmp_path, *flags, "--config.num_steps=1")) == [0]
    (process,) = pod.start(1, 1, tmp_path, *flags)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
    assert process.wait() == 1
    said = pod.output(tmp_path)
    assert "could not be written" in said and "step 1 is the last whole one" in said and "start again" in said
    assert pod.end(pod.start(1, 1, tmp_path, *flags)) == [0], pod.output(tmp_path)
    assert [row["step"] for row in rows(tmp_path / RUN)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_disk_of_its_own_that_is_full(pod, tiny_assets, tmp_path):
    """The same with a real file system of one megabyte, where this user may mount one."""
    script = (
        f"mount -t tmpfs -o size=1m none {tmp_path}/disk && mkdir {tmp_path}/disk/runs && "
        f"ln -s {tiny_assets} {tmp_path}/disk/assets && "
        f"{json.dumps(os.sys.executable)} -m rlscale_jax.train --config=tests/training/tiny.py "
        f"--workdir={tmp_path}/disk --config.num_steps=30 --config.checkpoint.every_steps=1 "
        f"--config.checkpoint.keep_last=99; echo status $?; ls {tmp_path}/disk/{RUN}/checkpoints; "
        f"tail -n 1 {tmp_path}/disk/{RUN}/metrics.jsonl | cut -c -40"
    )
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, cwd=pod.ROOT, env=pod.environment(1), capture_output=True, text=True, check=False)
    if "mount" in done.stderr and "permitted" in done.stderr:
        pytest.skip("this user may not mount a file system")
    assert "status 1" in done.stdout, done.stdout + done.stderr
    assert "No space left on device" in done.stderr and "start again" in done.stderr, done.stderr
    print(done.stdout, done.stderr[-600:])
