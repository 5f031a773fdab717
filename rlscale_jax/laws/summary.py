"""A fit, its doubts and its decisions as plain text for a terminal."""

import itertools

import numpy as np

from rlscale_jax.laws import diagnostics, planner
from rlscale_jax.laws.analysis import Analysis
from rlscale_jax.laws.result import Fit

UNITS = {"compute": "FLOPs", "data": "prompts"}


def text(fit: Fit) -> str:
    """Parameters with intervals, one line a model, and what the numbers cannot say."""
    percent = f"{100 * fit.region.confidence:.0f} %"
    lines = [
        f"{fit.law} law, loss against {fit.resource} ({UNITS[fit.resource]}), {fit.objective} objective, "
        f"protocol {fit.protocol.name}",
        f"R2 {fit.r2:.4f} (raw loss, pooled), {fit.r2_log:.4f} (log loss)",
    ]
    if fit.law != "loglinear":
        for name, (low, high) in fit.intervals.items():
            value = fit.parameters[name]
            lines.append(f"  {name:8s} {value:<10.4g} {percent} interval {low:.4g} to {number(high)}")
    low, high = fit.k_interval(fit.fitted.n)
    rows = [
        (name, f"{m.n:.3g}", f"{m.k:.4f}", f"{a:.4f} to {b:.4f}", f"{m.E:.4f}", f"{m.r2:.3f}", f"{m.log_rmse:.4f}",
         f"{m.num_points} x {m.num_runs}")
        for (name, m), a, b in zip(fit.models.items(), low, high, strict=True)
    ]  # fmt: skip
    header = ("model", "N", "k", f"{percent} interval", "E", "R2", "log RMSE", "points x runs")
    return "\n".join([*lines, columns(header, rows), *(f"Note: {note}" for note in fit.notes)])


def held_out(found: Analysis) -> str:
    """What the fit says of the data that it did not see, beside baselines; empty where nothing was held out."""
    if not found.held_out:
        return ""
    rows = [(s.model, s.uses, s.method, f"{s.r2:.3f}", f"{s.log_rmse:.4f}") for s in found.held_out]
    return "Held-out data (predicted: nothing of it used; calibrated: its E is)\n" + columns(
        ("model", "", "by", "R2", "log RMSE"), rows
    )


def comparison(found: Analysis) -> str:
    """Rival laws with baselines, residuals in words, and the sensitivity table."""
    rivals = [
        (
            r.name,
            f"{r.num_parameters}",
            *map(digits, (r.log_rmse, r.aic, r.largest_predicted, r.largest_calibrated, r.late)),
        )
        for r in found.rivals
    ]
    header = ("law", "parameters", "log RMSE", "AIC - best", "largest: predicted", "calibrated", "late half")
    changed = [
        (v.choice, v.value, digits(v.k_max), digits(v.n0), digits(v.k_largest), digits(v.r2), v.skipped[:60])
        for v in found.sensitivity
    ]
    choices = ("choice", "", "K_max", "N0", "k(largest)", "R2", "")
    return "\n".join(
        ["Rival laws; log RMSE on data held out:", columns(header, rivals), *diagnostics.words(found.residuals),
         "", "Sensitivity: one choice changed at a time", columns(choices, changed)]
    )  # fmt: skip


def decision(fit: Fit, *, budget: float, target_loss: float) -> str:
    """The best size for a budget, what a loss costs, and where larger models overtake smaller ones."""
    if not budget and not target_loss:
        raise ValueError("--decide needs --budget=FLOPs (or prompts, with --resource=data) or --target_loss=L")
    unit = UNITS[fit.resource]
    lines = []
    if budget:
        lines += _choice(fit, planner.choose(fit, budget), unit)
    if target_loss:
        size, least = planner.cheapest(fit, target_loss)
        lines.append(f"L = {target_loss:g}: least {unit} {number(least.value)} ({number(least.low)} to "
                     f"{number(least.high)}), with N = {size:.3g}")  # fmt: skip
        costs = zip(fit.models, planner.cost(fit, target_loss, fit.fitted.n), strict=True)
        lines.append("  by size: " + ", ".join(f"{name} {number(c)}" for name, c in costs))
    lines.append(f"A larger model overtakes the next smaller one at ({unit}):")
    names = list(fit.models)
    crossings = {(c.smaller, c.larger): c.budget for c in planner.crossings(fit)}
    for pair in itertools.pairwise(names):
        at = crossings.get(pair)
        where = "no crossing within reach of the data" if at is None or np.isnan(at.value) else _interval(at)
        lines.append(f"  {pair[1]} over {pair[0]}: {where}")
    return "\n".join(lines)


def _choice(fit: Fit, choice: planner.Choice, unit: str) -> list[str]:
    edge = "; the edge of the fitted sizes, so the optimum may lie beyond" if choice.at_edge else ""
    lines = [
        f"Budget {choice.budget:.3g} {unit}: N = {_interval(choice.size)}, L = {_interval(choice.loss)}{edge}",
        columns(
            ("model", "L at the budget", "interval", "budget / spent so far"),
            [
                (name, f"{at.value:.3f}", f"{at.low:.3f} to {at.high:.3f}", f"{choice.times_spent[name]:.3g}")
                for name, at in choice.losses.items()
            ],
        ),
    ]
    n = fit.models[choice.model].n
    step = planner.marginal(fit, n, choice.budget)
    lines.append(
        f"From {choice.model} at this budget (L = {step['loss']:.3f}): twice the {unit} gives "
        f"{step['more_resource']:.3f}, twice the size at the same {unit} {step['larger_model']:.3f}."
    )
    if choice.times_spent[choice.model] > 1:
        lines.append(f"{choice.model} has not been trained that far: its loss here is extrapolated.")
    return lines


def columns(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Aligned columns, the first to the left."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def digits(value: float) -> str:
    """Three significant digits; a dash for what is not there."""
    return "-" if np.isnan(value) else f"{value:.3g}"


def number(value: float) -> str:
    """Four digits, or infinity in words."""
    return f"{value:.4g}" if value < 1e60 else "unlimited"


def _interval(at: planner.Interval) -> str:
    return f"{at.value:.3g} ({number(at.low)} to {number(at.high)})"
