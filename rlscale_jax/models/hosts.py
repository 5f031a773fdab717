"""What hosts tell each other: one decides and all know, each does a share of the work.

All hosts run the same program on the same data, so that most of it needs no talk. What a disk holds, or a grading
process answers, one host may know alone. Every function here is called by all hosts at the same place of the program;
values are JSON. On a single host nothing is sent.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

T = TypeVar("T")
_meetings = itertools.count()
_PATIENCE_MS = 7 * 24 * 3600 * 1000  # a host that died is noticed otherwise (`models.runtime`)
_SMALLEST_MESSAGE_BYTES = 4096  # messages grow by powers of two, so that few programs are compiled


def is_first() -> bool:
    """Whether this host writes what is written once for all: records, logs, configs."""
    return jax.process_index() == 0


def num_hosts() -> int:
    return jax.process_count()


def share(items: Sequence[T]) -> Sequence[T]:
    """This host's part of the items; the hosts' parts are dealt like cards, see `deal_back`."""
    return items[jax.process_index() :: jax.process_count()]


def deal_back(shares: Sequence[Sequence[T]]) -> list[T]:
    """The items in their order from the hosts' parts."""
    whole: list[Any] = [None] * sum(map(len, shares))
    for host, part in enumerate(shares):
        whole[host :: len(shares)] = part
    return whole


def gather(value: Any) -> list[Any]:
    """Every host's value, in the order of the hosts."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(data.size))
    width = max(_SMALLEST_MESSAGE_BYTES, 1 << int(sizes.max() - 1).bit_length())
    rows = multihost_utils.process_allgather(np.pad(data, (0, width - data.size)))
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def _meet() -> None:
    """Waits for all hosts, however long; between CPUs the first collective gives up on who comes 30 s later."""
    multihost.get_barrier_sync_fn()(key=f"rlscale_jax.hosts.{next(_meetings)}", timeout_ms=_PATIENCE_MS)


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives on the first host; the others do not call it.

    Raises:
      ValueError, OSError: on all hosts, what it raised on the first.
    """
    if jax.process_count() == 1:
        return make()
    kinds = {"ValueError": ValueError, "OSError": OSError}
    outcome = {}
    if is_first():
        try:
            outcome = {"value": make()}
        except (ValueError, OSError) as error:
            outcome = {"raised": "ValueError" if isinstance(error, ValueError) else "OSError", "text": str(error)}
    _meet()
    outcome = gather(outcome)[0]
    if "raised" in outcome:
        raise kinds[outcome["raised"]](outcome["text"])
    return outcome["value"]
