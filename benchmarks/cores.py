"""A rollout on several CPU cores: a process a core, joined like the hosts of a pod, each with its share of the rows.

Two devices of one process would share XLA's pool of threads: every large product is then cut for that pool and its
weights are copied in pieces first, which costs half of the speed (benchmarks/NOTES.md).
"""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator

from benchmarks import measure


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
def joined(count: int, arguments: list[str]) -> Iterator[list[measure.Peer]]:
    """Makes this process the first of `count` hosts, on the first core, and starts the others.

    Before JAX is imported; `models.runtime.start` joins them. `arguments` are those of `main`.
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


def main(workload: str, data: str, tensor: str) -> None:
    """One of the other hosts."""
    from benchmarks import workloads
    from rlscale_jax.experiment.config import MeshConfig
    from rlscale_jax.models import runtime

    runtime.start()
    from benchmarks import ours

    measure.serve(ours.Rollout(workloads.ROLLOUTS[workload], MeshConfig(data=int(data), fsdp=1, tensor=int(tensor))))


if __name__ == "__main__":
    main(*sys.argv[1:])
