"""Timing of a piece of work, alone or in turn with a peer, and the JSON line that says so.

A peer runs in a process of its own (and its own environment): it prints "ready" once its first, compiling call is
done, then answers each "go" with one measured repetition. Runs alternate, so that whatever else the machine does
falls on both. With `threads=1` every process is pinned to one core and rates count CPU seconds: steady on a busy
machine; otherwise wall clock, with the cores that others used written beside it.
"""

import contextlib
import dataclasses
import functools
import json
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """One repetition."""

    secs: float  # wall clock
    cpu_secs: float  # of the measured process, all threads
    other_cores: float = 0.0  # used by other processes meanwhile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """Repetitions of one contender."""

    readings: tuple[Reading, ...]
    compile_secs: float  # first call less a steady one
    peak_rss_gb: float

    def secs(self, clock: str) -> float:
        """Median seconds by "wall" or "cpu" clock."""
        return statistics.median(r.cpu_secs if clock == "cpu" else r.secs for r in self.readings)

    @property
    def other_cores(self) -> float:
        return statistics.median(r.other_cores for r in self.readings)


class Contender:
    """Work in this process: `work()` does one repetition and returns when it is done.

    `first` is what is done once before anything is measured: the work itself, which compiles, or less of it.
    """

    def __init__(self, work: Callable[[], object], first: Callable[[], object] | None = None):
        self.work = work
        self.first_secs = _timed(first or work).secs

    def run(self) -> Reading:
        return _timed(self.work)

    def peak_rss_gb(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Peer:
    """Work in another process, which runs `serve`."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    @functools.cached_property
    def first_secs(self) -> float:
        """Waits until the process is ready."""
        return self._answer()["first_secs"]

    def run(self) -> Reading:
        self.begin()
        return self.end()

    def begin(self) -> None:
        """Starts a repetition; `end` waits for it."""
        self._ask("go")

    def end(self) -> Reading:
        return Reading(**self._answer())

    def peak_rss_gb(self) -> float:
        self._ask("rss")
        return self._answer()["peak_rss_gb"]

    def _ask(self, question: str) -> None:
        assert self.first_secs >= 0  # it is ready
        print(question, file=self.process.stdin, flush=True)

    def _answer(self) -> dict:
        for line in self.process.stdout or ():
            if line.startswith(ANSWER):
                return json.loads(line[len(ANSWER) :])
        raise RuntimeError(
            f"the peer ended with status {self.process.wait()} before it answered; see its messages above"
        )


ANSWER = "@measure "


def serve(work: Callable[[], object], first: Callable[[], object] | None = None) -> None:
    """A peer's main: runs `first` (or `work`) once, then `work` once for every question on standard input."""
    contender = Contender(work, first)
    print(ANSWER + json.dumps({"first_secs": contender.first_secs}), flush=True)
    with contextlib.suppress(EOFError):
        while True:
            rss = input() == "rss"
            answer = {"peak_rss_gb": contender.peak_rss_gb()} if rss else dataclasses.asdict(contender.run())
            print(ANSWER + json.dumps(answer), flush=True)


@contextlib.contextmanager
def peer(command: list[str], *, threads: int, surroundings: "Surroundings") -> Iterator[Peer]:
    """Starts a peer, waits until it is ready, and ends it; its environment limits its threads."""
    limits = {name: str(threads) for name in ("NPROC", "OMP_NUM_THREADS", "BENCH_THREADS")}
    process = start(command, surroundings.cores, surroundings.environ | limits)
    try:
        found = Peer(process)
        assert found.first_secs >= 0
        yield found
    finally:
        process.terminate()
        process.wait()


def start(command: list[str], cores: list[int], environ: dict[str, str]) -> subprocess.Popen:
    """A process on those cores that is asked and answers."""
    pinned = ["taskset", "-c", ",".join(map(str, cores)), *command]
    return subprocess.Popen(pinned, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """The cores and the environment as this process found them, before it changed either for itself."""

    cores: list[int] = dataclasses.field(default_factory=lambda: sorted(os.sched_getaffinity(0)))
    environ: dict[str, str] = dataclasses.field(default_factory=lambda: dict(os.environ))


def use_threads(threads: int) -> None:
    """Pins this process, and what it starts, to that many cores. Before jax is imported."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["NPROC"] = str(threads)  # XLA's thread pools


def num_cores() -> int:
    return len(os.sched_getaffinity(0))


def alternate(contenders: list[Contender | Peer], *, rounds: int) -> list[Series]:
    """`rounds` repetitions of every contender, in turn."""
    readings = [[contender.run() for contender in contenders] for _ in range(rounds)]
    return [
        Series(
            readings=tuple(own),
            compile_secs=max(0.0, contender.first_secs - statistics.median(r.secs for r in own)),
            peak_rss_gb=contender.peak_rss_gb(),
        )
        for contender, own in zip(contenders, zip(*readings, strict=True), strict=True)
    ]


def apart(commands: list[list[str]], *, rounds: int, threads: int, surroundings: "Surroundings") -> list[Series]:
    """As `alternate`, of contenders that do not fit into memory together: each turn is a process of its own."""
    turns: list[list[Series]] = [[] for _ in commands]
    for _ in range(rounds):
        for command, own in zip(commands, turns, strict=True):
            with peer(command, threads=threads, surroundings=surroundings) as contender:
                own += alternate([contender], rounds=1)
    return [
        Series(
            readings=tuple(turn.readings[0] for turn in own),
            compile_secs=statistics.median(turn.compile_secs for turn in own),
            peak_rss_gb=max(turn.peak_rss_gb for turn in own),
        )
        for own in turns
    ]


def report(workload: str, series: Series, *, amount: float, unit: str, floor: float, clock: str, **more) -> dict:
    """The JSON line of a rate: `amount` per repetition; `floor` is the best possible value by FLOPs and bytes."""
    value = amount / series.secs(clock)
    return {
        "workload": workload,
        "value": round(value, 4),
        "unit": unit,
        "clock": clock,
        "floor": round(floor, 4),
        "fraction": round(value / floor, 4),
        "compile_secs": round(series.compile_secs, 2),
        "peak_rss_gb": round(series.peak_rss_gb, 3),
        "other_cores": round(series.other_cores, 2),
        **more,
    }


def against(line: dict, name: str, series: Series, *, amount: float) -> dict:
    """The line with a peer's value beside ours; ratio > 1: ours is better."""
    value = amount / series.secs(line["clock"])
    return {
        **line,
        "peer": name,
        "peer_value": round(value, 4),
        "ratio": round(line["value"] / value, 4),
        "peer_compile_secs": round(series.compile_secs, 2),
        "peer_peak_rss_gb": round(series.peak_rss_gb, 3),
        "peer_other_cores": round(series.other_cores, 2),
    }


def _timed(work: Callable[[], object]) -> Reading:
    begin = _clocks()
    work()
    end = _clocks()
    wall, cpu, machine = (b - a for a, b in zip(begin, end, strict=True))
    return Reading(secs=wall, cpu_secs=cpu, other_cores=max(0.0, (machine - cpu) / wall))


def _clocks() -> tuple[float, float, float]:
    """Seconds: wall, CPU of this process, CPU of the whole machine."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _wait, irq, soft, steal = map(int, stat.readline().split()[1:9])
    busy = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), time.process_time(), busy
