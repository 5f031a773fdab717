"""The clock of the item at hand in a worker: stopped for imports, and a soft limit for algebra."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

LOADING, STARTED = b"loading", b"started"
_tell: Callable[[bytes], object] = bytes  # nobody listens


class OutOfTime(BaseException):
    """No Exception, so that a library's `except Exception` lets it pass."""


def report_to(tell: Callable[[bytes], object]) -> None:
    """Messages go here from now on: a worker sends them to its pool."""
    global _tell
    _tell = tell


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    """Time spent inside is nobody's timeout."""
    _tell(LOADING)
    yield
    _tell(STARTED)


@contextlib.contextmanager
def at_most(secs: float) -> Iterator[None]:
    """Raises OutOfTime in Python code that takes more processor time; C code ends only with its process.

    Processor time, so that the verdict does not depend on what else the machine does. Cheaper than killing
    the worker, which would have to import everything again. Main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_):
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, secs)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
