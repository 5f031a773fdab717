"""Where the paper's figures and tables stand in a report, and what to run for those that are not there."""

import re
from collections.abc import Sequence

from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.tables import Table

NUM_FIGURES, NUM_TABLES = 15, 7  # of arXiv 2509.25300


def overview(items: Sequence[Picture | Missing | Table]) -> Table:
    """One row for each figure and table of the paper: what stands for it here, else the command that makes it."""
    numbers = [("Figure", i) for i in range(1, NUM_FIGURES + 1)] + [("Table", i) for i in range(1, NUM_TABLES + 1)]
    rows = []
    for kind, number in numbers:
        own = [item for item in items if (kind, number) in cited(item.paper)]
        there = [item.title for item in own if not isinstance(item, Missing)]
        gaps = [f"{item.title}: {item.command}" for item in own if isinstance(item, Missing)]
        rows.append((f"{kind} {number}", "; ".join(dict.fromkeys(there)) or "–", "; ".join(dict.fromkeys(gaps)) or "–"))
    return Table(name="contents", title="Contents", header=("paper", "here", "to run for what is missing"), rows=rows)


def cited(paper: str) -> set[tuple[str, int]]:
    """The numbers in a reference such as "Figures 9, 11 and 12; Table 5"."""
    found = set()
    for kind, numbers in re.findall(r"(Figure|Table)s? ([0-9, and]+)", paper):
        found |= {(kind, int(number)) for number in re.findall(r"[0-9]+", numbers)}
    return found
