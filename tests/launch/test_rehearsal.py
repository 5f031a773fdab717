"""The rehearsal: worker.sh starts local processes as the hosts of a pod, one run, preempted and resumed."""

import os
import pathlib
import subprocess
import sys

import pytest

from rlscale_jax.experiment.records import read_rows

ROOT = pathlib.Path(__file__).parents[2]
FLAGS = ("--config=tests/training/tiny.py", "--hosts=2", "--devices=2", "--preempt=1")


def rehearse(*args: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHON": sys.executable, "XLA_FLAGS": ""}
    environment |= {"RLSCALE_CACHE_DIR": str(ROOT / ".pytest_cache" / "xla")}
    command = [str(ROOT / "launch" / "rehearse.sh"), *args]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False)


def test_help_and_wrong_options():
    assert "launch/rehearse.sh RUN" in rehearse("--help").stdout
    for args, part in ((("x", "--host=2"), "unknown option"), (("x",), "are needed"), (("x y",), "RUN")):
        done = rehearse(*args)
        assert done.returncode == 2 and part in done.stderr


@pytest.mark.slow
def test_a_preempted_rehearsal_equals_the_run_of_one_process(tmp_path):
    steps = "--config.num_steps=8"
    done = rehearse("tiny_s0", *FLAGS, f"--workdir={tmp_path}/pod", "--", steps)
    logs = "\n".join(path.read_text() for path in tmp_path.glob("pod/hosts/*/rlscale/runs/*/log.txt"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "preempted, and started again" in done.stdout and "stopped by SIGTERM at step" in logs
    command = [sys.executable, "-m", "rlscale_jax.train", FLAGS[0], f"--workdir={tmp_path}/one", steps]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "assets").symlink_to(tmp_path / "pod" / "assets")
    one_device = os.environ | {"XLA_FLAGS": "", "RLSCALE_CACHE_DIR": str(ROOT / ".pytest_cache" / "xla")}
    subprocess.run(command, cwd=ROOT, env=one_device, check=True)
    found, expected = (list(read_rows(tmp_path / name / "runs/tiny_s0/metrics.jsonl")) for name in ("pod", "one"))
    assert [row["step"] for row in found] == list(range(9))
    for one, other in zip(found, expected, strict=True):
        for name in ("critic/rewards/mean", "response_length/mean", "scaling/test_loss", "scaling/samples"):
            assert one.get(name) == other.get(name), name
        for name in ("actor/pg_loss", "actor/grad_norm", "actor/entropy", "actor/kl_loss"):
            assert one.get(name, 0.0) == pytest.approx(other.get(name, 0.0), rel=5e-3, abs=5e-4), name
