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


def most_rows(num_prompts: int, num_samples: int, capacity: int, granule: int = 1) -> int:
    """Rows of the largest batch: every prompt that may decode at a time, with its whole group."""
    return bucket(min(num_prompts, capacity // num_samples), granule) * num_samples


def arrange(sequences: np.ndarray, num_samples: int, *, rows: int, granule: int = 1) -> Layout:
    """The smallest layout of the given sequences (sorted) among those of `rows`, 3/4, 1/2, 3/8, 1/4, ... of them.

    Few sizes, so that few programs are compiled. Lanes share their prompt's keys but may idle: of the widths that fit
    a size the largest is taken, which reads each prompt's keys for the most lanes at once.
    """
    counts = np.unique(sequences // num_samples, return_counts=True)[1]
    widths = sorted({num_samples, *(1 << i for i in range(num_samples.bit_length()) if 1 << i <= num_samples)})

    sizes = {-(-rows * quarters >> halvings + 2) for halvings in range(rows.bit_length()) for quarters in (3, 4)}

    def num_units(size: int, width: int) -> int:
        units = -(-size // width)
        return -(-units // granule) * granule

    fitting = [
        (num_units(size, width) * width, -width)
        for size in sizes
        for width in widths
        if np.sum(-(-counts // width)) <= num_units(size, width)
    ]
    num_rows, negative = min(fitting)
    return _layout(sequences, num_samples, num_rows // -negative, -negative)


def _layout(sequences: np.ndarray, num_samples: int, num_units: int, width: int) -> Layout:
    begins = np.flatnonzero(np.diff(sequences // num_samples)) + 1
    units = [
        chunk for group in np.split(sequences, begins) for chunk in np.split(group, range(width, len(group), width))
    ]
    table = np.full((num_units, width), IDLE, np.int64)
    for row, lanes in enumerate(units):
        table[row, : len(lanes)] = lanes
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
