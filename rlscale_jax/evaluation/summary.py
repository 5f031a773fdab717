"""From the responses of a set to its figures: accuracy, errors, pass@k, lengths, rates; all sets as a table."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlscale_jax import rewards
from rlscale_jax.evaluation import statistics
from rlscale_jax.evaluation.suites import ProblemSet
from rlscale_jax.experiment.records import Row

Figures = dict[str, Any]


def summarize(rows: Sequence[Row], problem_set: ProblemSet, *, num_samples: int) -> Figures:
    """The figures of a set whose every problem has its `num_samples` responses among the rows, as plain data.

    Standard errors of test loss and accuracy: `se_questions` takes questions as drawn at random (the one to quote),
    `se_binomial` every response as independent, `se_samples` repeats on the same questions (None for one sample).
    Lengths are in tokens, the eos included.
    """
    by_key = {(row["problem_id"], row["sample"]): row for row in rows}
    ordered = [[by_key[p.problem_id, sample] for sample in range(num_samples)] for p in problem_set.problems]
    correct = np.array([[row["correct"] for row in group] for group in ordered])
    figures = {
        "num_problems": len(ordered),
        "num_overlong_dropped": problem_set.num_overlong,
        "num_samples": num_samples,
        "accuracy": float(correct.mean()),
        "test_loss": statistics.test_loss(correct),
        "se_questions": statistics.standard_error(correct),
        "se_binomial": statistics.binomial_error(correct),
        "se_samples": statistics.sampling_error(correct),
        f"avg@{num_samples}": float(correct.mean()),
        **{f"pass@{k}": statistics.pass_at_k(correct, k) for k in _ks(num_samples)},
    }
    flat = [row for group in ordered for row in group]
    mean_score = float(np.mean([row["score"] for row in flat]))
    if problem_set.domains == {"zebra"}:  # scores are shares of right cells
        figures["cell_accuracy"] = mean_score
    if not problem_set.domains:  # scores are whatever a user's verifier gives
        figures["mean_score"] = mean_score
    figures |= _lengths(flat) | _rates(flat)
    return {name: None if value != value else value for name, value in figures.items()}  # JSON has no nan


def _ks(num_samples: int) -> list[int]:
    powers = [2**i for i in range(num_samples.bit_length())]
    return sorted({*powers, num_samples})


def _lengths(rows: Sequence[Row]) -> Figures:
    lengths = np.array([row["num_tokens"] for row in rows])
    return {
        "response_tokens": {
            "mean": float(lengths.mean()),
            "median": float(np.median(lengths)),
            "p95": float(np.percentile(lengths, 95)),
            "max": int(lengths.max()),
        },
        "truncated_rate": float(np.mean([row["truncated"] for row in rows])),
    }


def _rates(rows: Sequence[Row]) -> Figures:
    counts = Counter(row["status"] for row in rows)
    return {"status_rates": {status: counts[status] / len(rows) for status in rewards.STATUSES}}


def table(sets: dict[str, Figures]) -> str:
    """One set a line; rates and accuracies in percent, the error that of drawing questions."""
    first = next(iter(sets.values()))
    num_samples = first["num_samples"]
    heads = ["set", "problems", "dropped", f"avg@{num_samples} %", "± se", "test loss", *_extra_heads(num_samples)]
    heads += ["cells %", "tokens", "cut %", *(f"{status} %" for status in rewards.STATUSES[1:])]
    lines = [heads, *(_line(name, figures, num_samples) for name, figures in sets.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (zip(line, widths, strict=True) for line in lines)
    )


def _extra_heads(num_samples: int) -> list[str]:
    return [f"pass@{num_samples} %"] if num_samples > 1 else []


def _line(name: str, figures: Figures, num_samples: int) -> list[str]:
    error = figures["se_questions"]
    cells = figures.get("cell_accuracy")
    return [
        name,
        str(figures["num_problems"]),
        str(figures["num_overlong_dropped"]),
        _percent(figures["accuracy"]),
        "-" if error is None else _percent(error),
        f"{figures['test_loss']:.4f}",
        *([_percent(figures[f"pass@{num_samples}"])] if num_samples > 1 else []),
        "-" if cells is None else _percent(cells),
        f"{figures['response_tokens']['mean']:.0f}",
        _percent(figures["truncated_rate"]),
        *(_percent(figures["status_rates"][status]) for status in rewards.STATUSES[1:]),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if math.isfinite(share) else "-"
