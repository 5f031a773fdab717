"""Curves with a known law."""

import numpy as np
import pytest

SIZES = (1e9, 3e9, 10e9, 30e9, 100e9)


@pytest.fixture
def exact_rows():
    """Rows that follow the saturating law without noise: log10 L = level - k log10 D, C = phi N D."""

    def rows(sizes=SIZES, *, k_max=0.15, n0=15e9, steps=40, phi=5e4, level=-0.05) -> list[dict]:
        found = []
        for n in sizes:
            k = k_max / (1 + n0 / n)
            for step in range(1, steps + 1):
                d = 512.0 * step
                row = {"model": f"m{n:g}", "n_params": n, "step": step, "samples": d, "compute_flops": phi * n * d}
                found.append(row | {"test_loss": 10 ** (level - k * np.log10(d))})
        return found

    return rows


@pytest.fixture
def write_csv():
    """Writes rows as a CSV file with the columns of the first."""

    def write(path, rows, names=None):
        names = names or list(rows[0])
        lines = [",".join(names)] + [",".join(str(row.get(name, "")) for name in names) for row in rows]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
