"""Shares of several hosts, and a host alone; what hosts send each other is tested with a run (tests/training)."""

import os
import socket
import subprocess
import sys

import jax
import pytest

from rlscale_jax.models import hosts


@pytest.mark.parametrize(("num_items", "num_hosts"), [(7, 3), (8, 2), (1, 4), (0, 2)])
def test_shares_dealt_back_are_the_whole(num_items, num_hosts, monkeypatch):
    items, shares = list(range(num_items)), []
    for index in range(num_hosts):
        monkeypatch.setattr(jax, "process_count", lambda: num_hosts)
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(hosts.share(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert hosts.deal_back(shares) == items


def test_a_host_alone_sends_nothing_and_raises_what_was_raised():
    def refuse():
        raise FileNotFoundError("there is no such file")

    assert hosts.gather((1, 2)) == [(1, 2)] and hosts.from_first(lambda: "made") == "made" and hosts.is_first()
    with pytest.raises(FileNotFoundError):
        hosts.from_first(refuse)


MAKER = """
import sys, time
from rlscale_jax.models import hosts, runtime
runtime.start()
print(hosts.from_first(lambda: time.sleep(float(sys.argv[1])) or "made"))
"""


@pytest.mark.slow
def test_hosts_wait_for_what_the_first_takes_long_to_make():
    """Longer than the half minute that gloo gives the first exchange of all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    joined = {"RLSCALE_COORDINATOR": f"127.0.0.1:{port}", "RLSCALE_NUM_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, "40"],
            env=os.environ | joined | {"RLSCALE_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    answers = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(answer.endswith("made\n") for answer in answers)
