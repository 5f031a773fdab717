"""Which samples decode together: units of lanes, sizes of batches and caches, when to compact and to refill.

Plain integers and numpy, no JAX. A sequence is numbered prompt * num_samples + sample.
"""

import dataclasses

import numpy as np

IDLE = -1


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """The sequences of a batch: [U W], every unit's lanes from one prompt; IDLE where a lane has nothing to do."""

    sequences: np.ndarray

    @property
    def num_rows(self) -> int:
        return self.sequences.size

    @property
    def rows(self) -> np.ndarray:
        """[B] sequence of each row."""
        return self.sequences.reshape(-1)

    def prompts(self, num_samples: int) -> np.ndarray:
        """[U] prompt of each unit; IDLE for a unit without a sequence."""
        first = self.sequences.max(axis=1)
        return np.where(first == IDLE, IDLE, first // num_samples)


def bucket(size: int, granule: int = 1) -> int:
    """`size` rounded up to a multiple of `granule` with at most three leading bits: at most a quarter is padding."""
    units = -(-size // granule)
    step = 1 << max(0, units.bit_length() - 3)
    return -(-units // step) * step * granule


def arrange(sequences: np.ndarray, num_samples: int, *, row_cost: float, unit_cost: float, granule: int = 1) -> Layout:
    """The cheapest layout of the given sequences (sorted): lanes share a prompt's keys, but may idle.

    A step costs row_cost for every row, idle or not, and unit_cost for every unit (reading its prompt's keys).
    Numbers of units are bucketed, in multiples of `granule` (data shards).
    """
    _prompts, counts = np.unique(sequences // num_samples, return_counts=True)

    def num_units(width):
        return bucket(int(np.sum(-(-counts // width))), granule)

    widths = [w for w in {num_samples, *(1 << i for i in range(num_samples.bit_length()))} if w <= num_samples]
    width = min(sorted(widths, reverse=True), key=lambda w: num_units(w) * (w * row_cost + unit_cost))
    units = [
        np.resize(np.append(chunk, [IDLE] * (width - len(chunk))), width)
        for prompt in np.split(sequences, np.cumsum(counts)[:-1])
        for chunk in np.split(prompt, range(width, len(prompt), width))
    ]
    table = np.full((num_units(width), width), IDLE, np.int64)
    table[: len(units)] = units
    return Layout(table)


@dataclasses.dataclass
class Queue:
    """Prompts that wait for a place, in order; a prompt enters with its whole group."""

    waiting: list[int]
    num_samples: int
    capacity: int  # sequences at a time

    def admit(self, num_live: int) -> list[int]:
        """Prompts that fit beside `num_live` sequences and are worth an interruption; they leave the queue."""
        fitting = min((self.capacity - num_live) // self.num_samples, len(self.waiting))
        if num_live and fitting * self.num_samples < min(self.capacity // 4, len(self.waiting) * self.num_samples):
            return []
        admitted, self.waiting = self.waiting[:fitting], self.waiting[fitting:]
        return admitted
