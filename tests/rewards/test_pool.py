"""The pool: order kept, hangs and crashes replaced, memory bounded, nothing left running."""

import os
import subprocess
import sys
import time

import pytest

from rlscale_jax import rewards

VERIFIER = """
import os, time

def grade(response, ground_truth):
    if response == "hang":
        time.sleep(3600)
    if response == "busy":
        while True: pass
    if response == "die":
        os._exit(3)
    if response == "grow":
        return bool(len(bytearray(2 << 30)))
    if response == "raise":
        raise RuntimeError("verifier bug")
    if response == "odd":
        return 7
    return response == ground_truth
"""


@pytest.fixture
def own_verifier(tmp_path):
    (tmp_path / "mine.py").write_text(VERIFIER)
    return f"{tmp_path / 'mine.py'}:grade"


def test_verdicts_keep_the_order_of_the_items():
    items = [("arithmetic__ladder", rf"\boxed{{{i}}}", str(i % 3)) for i in range(50)]
    with rewards.RewardPool(1) as pool:
        assert [v.correct for v in pool.submit(items).result()] == [i < 3 for i in range(50)]


def test_hanging_and_crashing_items_are_counted_and_the_pool_goes_on(own_verifier):
    cases = {"hang": "timeout", "die": "crashed", "yes": "ok", "raise": "crashed", "busy": "timeout",
             "odd": "crashed", "no": "wrong", "grow": "crashed"}  # fmt: skip
    with rewards.RewardPool(2, verifier=own_verifier, task_timeout_secs=1.0, memory_bytes=1 << 29) as pool:
        verdicts = pool.submit([("anything", response, "yes") for response in cases]).result(30)
        assert [v.status for v in verdicts] == list(cases.values())
        again = pool.submit([("anything", "yes", "yes")] * 3).result(10)
    assert [v.status for v in again] == ["ok"] * 3


def test_a_verifier_may_be_a_function_of_a_module(own_verifier, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    with rewards.RewardPool(1, verifier="mine:grade") as pool:
        assert [v.correct for v in pool.submit([("mine", "a", "a"), ("mine", "a", "b")]).result(30)] == [True, False]


def test_nothing_is_left_running(own_verifier):
    before = set(children())
    with rewards.RewardPool(2, verifier=own_verifier) as pool:
        handle = pool.submit([("x", "hang", "")] * 2 + [("x", "busy", "")])
        time.sleep(1.0)
        assert set(children()) > before
    assert set(children()) == before
    with pytest.raises(RuntimeError, match="closed"):
        handle.result()


def test_a_killed_parent_takes_its_workers_along(own_verifier):
    script = (
        "import sys, os, time\nfrom rlscale_jax import rewards\n"
        f"pool = rewards.RewardPool(1, verifier={own_verifier!r})\npool.submit([('x', 'busy', '')])\n"
        "time.sleep(1.5)\n"
        "me = os.getpid()\n"
        "pids = filter(str.isdigit, os.listdir('/proc'))\n"
        "print([p for p in pids if open(f'/proc/{p}/stat').read().split()[3] == str(me)][0])\n"
        "sys.stdout.flush()\nos.kill(me, 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    worker = done.stdout.strip()
    assert worker.isdigit(), done.stderr
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")


def test_bad_settings_and_verifiers_fail_early():
    with pytest.raises(ValueError, match="num_workers=0"):
        rewards.RewardPool(0)
    with pytest.raises(ValueError, match="module:function"):
        rewards.RewardPool(1, verifier="nonsense")
    with pytest.raises(ValueError, match="no_such_module"):
        rewards.RewardPool(1, verifier="no_such_module:grade")


def test_workers_never_import_jax():
    code = "import sys, rlscale_jax.rewards.worker, rlscale_jax.rewards.equivalence; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_batch_of_plain_answers_is_cheap():
    items = [("arithmetic__ladder", f"First {i}.\nSo \\boxed{{{i}}}", str(i)) for i in range(512)]
    with rewards.RewardPool(1) as pool:
        best = min(timed(pool, items) for _ in range(5))
    assert best < 0.05  # 5 ms on an idle core


def timed(pool, items) -> float:
    start = time.perf_counter()
    assert all(verdict.correct for verdict in pool.submit(items).result())
    return time.perf_counter() - start


def children() -> list[str]:
    """Processes whose parent is this one, zombies too."""
    mine = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[1] == str(os.getpid()):
            mine.append(pid)
    return mine
