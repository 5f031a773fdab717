"""Leaving a run in good order when it is asked to end: SIGTERM (a preemption), or Ctrl-C.

A run has points at which it can be left: between the segments of a rollout, before an update, after it. On one host the
first point after the signal is taken. On several hosts the signal may reach one of them alone, and a host that left by
itself would leave the others waiting in a collective: JAX's preemption service agrees on one point for all.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}  # of a process that ended so, as a shell would say


class Stop(Exception):
    """The run was asked to end, and may end here."""


class Stopped(Exception):
    """The run ended because it was asked to; `status` is the process's exit status."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Stops:
    """A context manager inside which signals are heard; `point` raises `Stop` where the run is to be left."""

    def __init__(self):
        self.signal = signal.SIGTERM  # the one that was heard
        self._asked = False
        self._num_points = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stops":
        if threading.current_thread() is threading.main_thread():
            # On several hosts JAX's service listens to SIGTERM on each of them, and Ctrl-C is passed on to it.
            heard = (signal.SIGINT,) if jax.process_count() > 1 else (signal.SIGTERM, signal.SIGINT)
            self._before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def point(self) -> None:
        """A moment at which everything that a checkpoint needs is at hand. All hosts pass the same points in turn.

        Raises:
          Stop: the run was asked to end; on several hosts, at the point that all of them take.
        """
        self._num_points += 1
        if jax.process_count() > 1:
            if multihost_utils.reached_preemption_sync_point(self._num_points):
                raise Stop
        elif self._asked:
            raise Stop

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait
        self._asked, self.signal = True, signal.Signals(number)
        os.write(2, b"\nstopping at the next point where nothing is lost; Ctrl-C once more ends at once\n")
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)
