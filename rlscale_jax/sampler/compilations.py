"""Counts what a rollout compiles: each bucket of shapes once in a process, nothing in steady state."""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass
class Compilations:
    """Programs compiled, or fetched from the persistent cache, in this process, and the seconds that took."""

    num: int = 0
    secs: float = 0.0


@contextlib.contextmanager
def counted() -> Iterator[Compilations]:
    """Counts until the context ends, whoever in this process compiles."""
    found = Compilations()

    def listen(event: str, duration_secs: float, **_):
        if event == _EVENT:
            found.num += 1
            found.secs += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
