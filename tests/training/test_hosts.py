"""Several hosts: one run, whoever writes and however many there are; what happens when one of them is lost."""

import json
import pathlib
import signal
import time

import jax
import pytest

from rlscale_jax.experiment.config import experiment_from_dict
from rlscale_jax.experiment.records import read_rows
from rlscale_jax.training import assets, loop

VERIFIER = f"{pathlib.Path(__file__).with_name('grades_by_host.py')}:grade"  # gradients that are more than noise
STEPS = ("--config.num_steps=2", f"--config.data.verifier={VERIFIER}")
# the sampler's weights lie on devices of both hosts; one process has one mesh for both
MESH = tuple(f"--config.mesh.{axis}" for axis in ("data=1", "fsdp=8", "tensor=1", "sampler_tensor=2"))
RUN = "runs/tiny_s0"


@pytest.fixture(scope="module")
def workdir(tiny_assets, tmp_path_factory):
    """A working directory whose assets are made."""
    made = tmp_path_factory.mktemp("pod")
    (made / "assets").symlink_to(tiny_assets)
    return made


@pytest.fixture(scope="module")
def two_hosts(pod, workdir):
    statuses = pod.end(pod.start(2, 4, workdir, *STEPS, *MESH))
    assert statuses == [0, 0], pod.output(workdir)
    return workdir / RUN


@pytest.fixture
def experiment(tiny, tiny_assets):
    made = assets.ensure(tiny.experiment(num_steps=2), tiny_assets, log_path=tiny_assets / "log.txt")
    made.data.verifier = VERIFIER
    made.mesh.data, made.mesh.fsdp, made.mesh.tensor = 2, 2, 2
    return made


def rows(directory, name="metrics.jsonl"):
    return list(read_rows(directory / name))


def assert_same(found, expected, *, rel, abs):
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            if name.startswith(
                ("scaling/", "critic/", "response_length/", "prompt_length/", "reward/", "fingerprint/")
            ):
                assert one[name] == other[name], name
            elif not name.startswith(("timing_s/", "perf/")):
                assert one[name] == pytest.approx(other[name], rel=rel, abs=abs), name


@pytest.mark.slow
def test_two_hosts_are_one_run(two_hosts, experiment, tmp_path):
    """Step by step what one process with as many devices gives; one device differs by rounding."""
    loop.train(experiment, tmp_path / "one", devices=jax.devices()[:8])
    assert_same(rows(two_hosts), rows(tmp_path / "one"), rel=1e-3, abs=1e-5)
    assert rows(two_hosts, "outcomes.jsonl") == rows(tmp_path / "one", "outcomes.jsonl")
    experiment.mesh.data = experiment.mesh.fsdp = experiment.mesh.tensor = 1
    loop.train(experiment, tmp_path / "single", devices=jax.devices()[:1])
    assert_same(rows(two_hosts), rows(tmp_path / "single"), rel=2e-3, abs=1e-4)
    assert 0.2 < rows(two_hosts)[1]["critic/rewards/mean"] < 0.8 and rows(two_hosts)[2]["actor/grad_norm"] > 1e-3


@pytest.mark.slow
def test_everything_is_written_once(two_hosts):
    assert [row["step"] for row in rows(two_hosts)] == [0, 1, 2]
    lines = (two_hosts / "log.txt").read_text().splitlines()
    assert len(lines) == len(set(lines))
    kept = {path.name for path in (two_hosts / "checkpoints").iterdir()}
    assert "2" in kept and kept <= {"1", "2"}  # a slow machine saves every 15 seconds
    assert len(list((two_hosts / "tensorboard").iterdir())) == 1


@pytest.mark.slow
def test_what_two_hosts_saved_goes_on_in_one_process_on_another_mesh(two_hosts, experiment, tmp_path, copy_run):
    directory = copy_run(two_hosts, tmp_path / "on")
    kept = experiment_from_dict(json.loads((two_hosts / "config.json").read_text()))
    for one in (kept, experiment):
        one.num_steps, one.mesh.data, one.mesh.fsdp, one.mesh.tensor = 3, 1, 2, 1
    loop.train(kept, directory, devices=jax.devices()[:2])
    assert [row["step"] for row in rows(directory)] == [0, 1, 2, 3]
    experiment.mesh.fsdp = 1
    loop.train(experiment, tmp_path / "single", devices=jax.devices()[:1])
    assert_same(rows(directory)[3:], rows(tmp_path / "single")[3:], rel=2e-3, abs=2e-4)


@pytest.mark.slow
def test_each_host_grades_its_share(pod, tiny_assets, tmp_path, monkeypatch):
    (tmp_path / "assets").symlink_to(tiny_assets)
    monkeypatch.setenv("GRADED_BY", str(tmp_path / "graded.txt"))
    flags = ("--config.num_steps=1", f"--config.data.verifier={VERIFIER}")
    assert pod.end(pod.start(2, 2, tmp_path, *flags)) == [0, 0], pod.output(tmp_path)
    graded = (tmp_path / "graded.txt").read_text().split()
    assert set(graded) == {"0", "1"} and 0.3 < graded.count("0") / len(graded) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_host_ends_the_others_within_a_minute(pod, workdir, lost, tmp_path):
    (tmp_path / "assets").symlink_to(workdir / "assets")
    processes = pod.start(2, 2, tmp_path, "--config.num_steps=8")
    metrics = tmp_path / RUN / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and len(rows(metrics.parent)) >= 2)
    processes[lost].send_signal(signal.SIGKILL)
    begin = time.monotonic()
    status = processes[1 - lost].wait(100)
    assert status != 0 and time.monotonic() - begin < 60, (status, time.monotonic() - begin, pod.output(tmp_path))
    assert pod.end(pod.start(2, 2, tmp_path, "--config.num_steps=8")) == [0, 0], pod.output(tmp_path)
    assert [row["step"] for row in rows(metrics.parent)] == list(range(9))


@pytest.mark.slow
def test_a_notice_to_one_host_makes_all_save_and_end(pod, workdir, tmp_path, tiny):
    (tmp_path / "assets").symlink_to(workdir / "assets")
    flags = ("--config.num_steps=8", "--config.checkpoint.every_steps=100", "--config.checkpoint.every_secs=1000")
    processes = pod.start(2, 2, tmp_path, *flags)
    metrics = tmp_path / RUN / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and len(rows(metrics.parent)) >= 3)
    processes[1].send_signal(signal.SIGTERM)
    assert pod.end(processes, 60) == [143, 143], pod.output(tmp_path)
    assert "stopped by SIGTERM at step" in (metrics.parent / "log.txt").read_text()
    assert any(path.name.isdigit() for path in (metrics.parent / "checkpoints").iterdir())
    assert pod.end(pod.start(2, 2, tmp_path, *flags)) == [0, 0], pod.output(tmp_path)
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "undisturbed" / "assets").symlink_to(workdir / "assets")
    assert pod.end(pod.start(2, 2, tmp_path / "undisturbed", *flags)) == [0, 0]
    assert tiny.without_times(rows(metrics.parent)) == tiny.without_times(rows(tmp_path / "undisturbed" / RUN))


def wait_for(condition, secs: float = 600) -> None:
    end = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
