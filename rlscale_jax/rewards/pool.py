"""Grades batches in worker processes that are killed and replaced when they hang, crash or grow.

What strings and exact numbers decide is decided at once in the caller's process; the rest waits in a queue
for the workers while the caller goes on (the next generation runs meanwhile).
"""

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from rlscale_jax.rewards import clock, dispatch
from rlscale_jax.rewards.verdict import CRASHED, REFUSED, TIMEOUT, Verdict, failed

Item = tuple[str, str, str]  # data_source, response, ground truth

STARTUP_SECS = 120.0  # for a fresh interpreter with sympy on a busy machine
POLL_SECS = 0.1
CACHE_ITEMS = 65_536
CACHE_CHARS = 4_000  # longer items (programs, grids) are not remembered


@dataclass
class Handle:
    """Verdicts to come, in the order of the items."""

    verdicts: list[Verdict | None]
    missing: int = 0
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def done(self) -> bool:
        return self.missing == 0

    def result(self, timeout_secs: float | None = None) -> list[Verdict]:
        """Waits for every verdict.

        Raises: TimeoutError after `timeout_secs`; RuntimeError where the pool was closed before.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: self.missing == 0 or self.closed, timeout_secs):
                raise TimeoutError(f"{self.missing} verdicts are missing after {timeout_secs} seconds")
            if self.missing:
                raise RuntimeError(f"the reward pool was closed with {self.missing} verdicts missing")
            return [verdict for verdict in self.verdicts if verdict is not None]

    def put(self, index: int, verdict: Verdict) -> None:
        with self.changed:
            self.verdicts[index] = verdict
            self.missing -= 1
            self.changed.notify_all()


class RewardPool:
    """`num_workers` grading processes behind one queue; a context manager, nothing is left running after it.

    task_timeout_secs: wall time for one item, imports not counted; then the worker is killed ("timeout").
    memory_bytes: address space of one worker; beyond it the item is "crashed" and the worker replaced.
    verifier: a user's "module:function" or "file.py:function", instead of the one by data_source.
    allow_weak_sandbox: run candidate programs even where the kernel gives no namespaces (see `sandbox`).
    Raises: ValueError for settings out of range, or a verifier that cannot be loaded.
    """

    def __init__(
        self,
        num_workers: int = 2,
        *,
        task_timeout_secs: float = 4.5,
        memory_bytes: int = 1 << 30,
        verifier: str = "",
        allow_weak_sandbox: bool = False,
    ):
        if num_workers < 1 or task_timeout_secs <= 0 or memory_bytes < 1 << 28:
            raise ValueError(
                f"num_workers={num_workers}, task_timeout_secs={task_timeout_secs}, memory_bytes={memory_bytes}; "
                "use at least 1 worker, more than 0 seconds and 256 MiB"
            )
        if verifier:
            dispatch.load_verifier(verifier)  # fails here, early, and not in every worker
        self._options = {
            "memory_bytes": memory_bytes,
            "verifier": verifier,
            "allow_weak_sandbox": allow_weak_sandbox,
        }
        self._timeout_secs = task_timeout_secs
        self._lock = threading.Lock()
        self._waiting: dict[Item, list[tuple[Handle, int]]] = {}
        self._known: OrderedDict[Item, Verdict] = OrderedDict()
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(num_workers)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "RewardPool":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def submit(self, items: Iterable[tuple[str, str, object]]) -> Handle:
        """Starts grading (data_source, response, ground_truth) items; equal answers are graded once.

        Raises: RuntimeError on a closed pool.
        """
        if self._closing.is_set():
            raise RuntimeError("the reward pool is closed")
        plain = [(source, response, dispatch.as_text(truth)) for source, response, truth in items]
        verdicts = [self._at_once(item) for item in plain]
        handle = Handle(verdicts, missing=sum(verdict is None for verdict in verdicts))
        for index, (item, verdict) in enumerate(zip(plain, verdicts, strict=True)):
            if verdict is None:
                self._enqueue(item, handle, index)
        return handle

    def close(self) -> None:
        """Kills the workers and wakes whoever waits. Safe to call twice."""
        self._closing.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        with self._lock:
            handles = {id(handle): handle for waiting in self._waiting.values() for handle, _ in waiting}
            self._waiting.clear()
        for handle in handles.values():
            with handle.changed:
                handle.closed = True
                handle.changed.notify_all()

    def _at_once(self, item: Item) -> Verdict | None:
        if not isinstance(item[0], str) or not isinstance(item[1], str):
            return failed(REFUSED)
        return None if self._options["verifier"] else dispatch.quick(*item)

    def _enqueue(self, item: Item, handle: Handle, index: int) -> None:
        key = item if self._options["verifier"] else dispatch.essence(item)
        with self._lock:
            if known := self._known.get(key):
                handle.put(index, known)
            elif key in self._waiting:
                self._waiting[key].append((handle, index))
            else:
                self._waiting[key] = [(handle, index)]
                self._queue.put(key)

    def _serve(self) -> None:
        """One thread's life: it owns one worker process and feeds it from the queue."""
        worker: _Worker | None = None
        while (item := self._queue.get()) is not None and not self._closing.is_set():
            try:
                worker = worker or _Worker(self._options)
                verdict = worker.grade(item, self._timeout_secs, self._closing)
            except Exception:  # the thread must live on: its items would be waited for in vain
                logging.getLogger(__name__).exception("no grading process")
                verdict = failed(CRASHED)
            if worker and verdict.status in (TIMEOUT, CRASHED):
                worker.kill()
                worker = None
            if not self._closing.is_set():
                self._finish(item, verdict)
        if worker:
            worker.kill()

    def _finish(self, item: Item, verdict: Verdict) -> None:
        with self._lock:
            waiting = self._waiting.pop(item, [])
            lasting = not self._options["verifier"] and verdict.status not in (TIMEOUT, CRASHED)
            if lasting and len(item[1]) <= CACHE_CHARS:
                self._known[item] = verdict
                if len(self._known) > CACHE_ITEMS:
                    self._known.popitem(last=False)
        for handle, index in waiting:
            handle.put(index, verdict)


class _Worker:
    """One grading process and our end of its socket."""

    def __init__(self, options: dict):
        ours, theirs = socket.socketpair()
        settings = json.dumps(options | {"fd": theirs.fileno()})
        self.scratch = tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True)
        os.chmod(self.scratch.name, 0o711)  # a candidate runs as another user
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlscale_jax.rewards.worker", settings],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ
            | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TMPDIR": self.scratch.name},
        )
        theirs.close()
        self.pipe = Connection(ours.detach())

    def grade(self, item: Item, timeout_secs: float, closing: threading.Event) -> Verdict:
        try:
            self.pipe.send_bytes(json.dumps(item).encode())
            message = clock.LOADING
            while message in (clock.LOADING, clock.STARTED):
                loading, start = message == clock.LOADING, time.perf_counter()
                if not self._await(STARTUP_SECS if loading else timeout_secs, closing):
                    return failed(CRASHED if loading else TIMEOUT).timed(time.perf_counter() - start)
                message = self.pipe.recv_bytes()
            return Verdict(*json.loads(message))
        except (EOFError, OSError):
            return failed(CRASHED)

    def _await(self, secs: float, closing: threading.Event) -> bool:
        deadline = time.monotonic() + secs
        while not closing.is_set():
            left = deadline - time.monotonic()
            if self.pipe.poll(max(0.0, min(left, POLL_SECS))):
                return True
            if left <= 0:
                return False
        return False

    def kill(self) -> None:
        """Kills the process with all its children, reaps it, and removes what it left in its scratch directory."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()
        self.scratch.cleanup()
