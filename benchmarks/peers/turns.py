"""Lets a trainer that runs its own loop take one step at a time, as `measure.serve` asks for them."""

import threading
from collections.abc import Callable


class Turns:
    """The trainer runs in a thread and waits in `finished`, called after each of its steps."""

    def __init__(self, run: Callable[[], object]):
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._wait_and_run, args=(run,), daemon=True)
        self._thread.start()

    def step(self) -> None:
        """One step of the trainer, from where it stands."""
        self._go.release()
        while not self._done.acquire(timeout=1):
            if not self._thread.is_alive():
                raise RuntimeError("the trainer ended")

    def finished(self) -> None:
        self._done.release()
        self._go.acquire()

    def _wait_and_run(self, run: Callable[[], object]) -> None:
        self._go.acquire()
        run()
