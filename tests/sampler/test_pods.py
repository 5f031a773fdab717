"""Rollouts compiled for TPU pods: below a throw-away prototype's memory, weights and caches read once a step."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
PROTOTYPE_GIB = {"7b": 7.2, "72b": 39.1}  # whole rollout of 2048 + 4096 tokens, bfloat16


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu (requirements-tpu.txt)")
@pytest.mark.parametrize("case", ["7b", "72b"])
def test_rollout_on_a_slice(case):
    """7B: 64 x 8 on v5e:8x8; 72B: 512 x 8 on v5p:8x8x8. About 65 and 200 CPU seconds."""
    command = [sys.executable, "tests/sampler/pod_rollout.py", case]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(pathlib.Path.home())}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert max(found["prefill"], found["segment"], found["fold"]) < PROTOTYPE_GIB[case]
    # less than one read would mean that something is not counted: weights of this size have no other place
    assert found["one_read"] * 0.95 < found["step_moves"] < found["one_read"] * 1.3
