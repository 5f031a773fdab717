"""A workload on several CPU cores: a process a core, joined like the hosts of a pod, each with its share of the rows.

Two devices of one process would share XLA's pool of threads: every large product is then cut for that pool and its
weights are copied in pieces first, which costs half of the speed (benchmarks/NOTES.md).
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks import measure

ENOUGH = 16  # sequences a core, for each to work on its own


def platform() -> str:
    """What JAX runs on here, found by another process: hosts are joined before this one may know."""
    asked = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()[-1]


def enough_for(sequences: int, num_cores: int) -> int:
    """Processes that share so many sequences: one a core, or one alone where a core would have too few."""
    return num_cores if sequences >= ENOUGH * num_cores else 1


class Together(measure.Contender):
    """`work` of this process, at the same time as the same work of the others."""

    def __init__(self, work: Callable[[], object], others: list[measure.Peer]):
        self.others = others
        super().__init__(work)

    def run(self) -> measure.Reading:
        for other in self.others:
            other.begin()
        own, others = super().run(), [other.end() for other in self.others]
        cpu = sum(reading.cpu_secs for reading in others)
        secs = max([own.secs, *(reading.secs for reading in others)])
        rest = max(0.0, own.other_cores - cpu / own.secs)
        return measure.Reading(secs=secs, cpu_secs=own.cpu_secs + cpu, other_cores=rest)

    def peak_rss_gb(self) -> float:
        return super().peak_rss_gb() + sum(other.peak_rss_gb() for other in self.others)


@contextlib.contextmanager
def joined(count: int, *arguments: str) -> Iterator[list[measure.Peer]]:
    """Makes this process the first of `count` hosts, on the first core, and starts the others.

    Before JAX is imported; `models.runtime.start` joins them. `arguments` are those of `main`. With a count of 1
    nothing changes.
    """
    if count == 1:
        yield []
        return
    cores = sorted(os.sched_getaffinity(0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    os.environ |= {"RLSCALE_COORDINATOR": address, "RLSCALE_NUM_PROCESSES": str(count), "JAX_PLATFORMS": "cpu"}
    os.environ["NPROC"] = "1"  # XLA's thread pool
    command = [sys.executable, "-m", "benchmarks.cores", *arguments]
    processes = [
        measure.start(command, [cores[i % len(cores)]], os.environ | {"RLSCALE_PROCESS_ID": str(i)})
        for i in range(1, count)
    ]
    os.environ["RLSCALE_PROCESS_ID"] = "0"
    os.sched_setaffinity(0, cores[:1])
    try:
        yield [measure.Peer(process) for process in processes]
    finally:
        for process in processes:  # they end when they can read no more; the last to leave lets all go
            assert process.stdin is not None  # a pipe, see `measure.start`
            process.stdin.close()
        os.sched_setaffinity(0, cores)


def main(workload: str, *mesh: str) -> None:
    """One of the other hosts; a rollout's `mesh` is the devices of its data and tensor axes."""
    from benchmarks import ours
    from rlscale_jax.experiment.config import MeshConfig

    config = MeshConfig(data=int(mesh[0]), fsdp=1, tensor=int(mesh[1])) if mesh else None
    measure.serve(ours.started(workload, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
