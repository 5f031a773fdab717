"""Wall time of a step's parts, by the names that its metrics carry."""

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """Adds up seconds by name: `with watch("gen"): …`."""

    def __init__(self):
        self.secs: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.secs[name] = self.secs.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """`timing_s/NAME` of everything since the last take."""
        taken, self.secs = self.secs, {}
        return {f"timing_s/{name}": secs for name, secs in taken.items()}
