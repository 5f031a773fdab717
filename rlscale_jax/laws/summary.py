"""A fit, its doubts and its decisions as plain text for a terminal."""

import numpy as np

from rlscale_jax.laws import diagnostics
from rlscale_jax.laws.analysis import Analysis
from rlscale_jax.laws.backtest import Backtest, log_rmse
from rlscale_jax.laws.decision import Decision
from rlscale_jax.laws.forms import Form
from rlscale_jax.laws.holdout import Score
from rlscale_jax.laws.linkage import Joint, Link
from rlscale_jax.laws.planner import Choice, Interval
from rlscale_jax.laws.result import Fit
from rlscale_jax.laws.reuse import Reuse

ERRORS = (("forecast", "loss"), ("last value", "last_value"), ("line so far", "line"))
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
    return _scores(found.held_out) if found.held_out else ""


def _scores(scores: list[Score]) -> str:
    rows = [(s.model, s.uses, s.method, f"{s.r2:.3f}", f"{s.log_rmse:.4f}") for s in scores]
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


def decision(found: Decision) -> str:
    """The best size for a budget, what a loss costs, and where larger models overtake smaller ones."""
    unit = UNITS[found.resource]
    lines = _choice(found.choice, found.marginal, unit) if found.choice else []
    if found.target:
        at = found.target
        lines.append(f"L = {at.loss:g}: least {unit} {number(at.budget.value)} ({number(at.budget.low)} to "
                     f"{number(at.budget.high)}), with N = {at.size:.3g}")  # fmt: skip
        lines.append("  by size: " + ", ".join(f"{name} {number(cost)}" for name, cost in at.by_model.items()))
    lines.append(f"A larger model overtakes the next smaller one at ({unit}):")
    for one in found.crossings:
        where = "no crossing within reach of the data" if np.isnan(one.budget.value) else _interval(one.budget)
        lines.append(f"  {one.larger} over {one.smaller}: {where}")
    return "\n".join(lines)


def _choice(choice: Choice, step: dict[str, float], unit: str) -> list[str]:
    edge = "; the edge of the fitted sizes, so the optimum may lie beyond" if choice.at_edge else ""
    rows = [
        (name, f"{at.value:.3f}", f"{at.low:.3f} to {at.high:.3f}", f"{choice.times_spent[name]:.3g}")
        for name, at in choice.losses.items()
    ]
    lines = [
        f"Budget {choice.budget:.3g} {unit}: N = {_interval(choice.size)}, L = {_interval(choice.loss)}{edge}",
        columns(("model", "L at the budget", "interval", "budget / spent so far"), rows),
        f"From {choice.model} at this budget (L = {step['loss']:.3f}): twice the {unit} gives "
        f"{step['more_resource']:.3f}, twice the size at the same {unit} {step['larger_model']:.3f}.",
    ]
    if choice.times_spent[choice.model] > 1:
        lines.append(f"{choice.model} has not been trained that far: its loss here is extrapolated.")
    return lines


def form(found: Form) -> str:
    """A law with a floor: what sizes share, one line a model, held-out errors, and what is not known."""
    shared = ", ".join(f"{name} {digits(value)}" for name, value in found.parameters.items())
    names = [name for name in next(iter(found.models.values())) if name != "identified"]
    rows = [(model, *(digits(float(at[name])) for name in names)) for model, at in found.models.items()]
    lines = [
        f"{found.law}, loss against {found.resource} ({UNITS[found.resource]}), {found.objective} objective, "
        f"protocol {found.protocol.name}",
        f"R2 {found.r2:.4f} (raw loss, pooled), {found.r2_log:.4f} (log loss)",
        *([f"  {shared}"] if shared else []),
        columns(("model", *names), rows),
        *(f"Note: {note}" for note in found.notes),
    ]
    return "\n".join(lines) + ("\n\n" + _scores(found.held_out) if found.held_out else "")


def reuse_table(rows: list[Reuse]) -> str:
    """k and E of every reuse factor, and its final loss less that of the smallest."""
    cells = [
        (f"{r.tau:g}", f"{r.k:.4f} ± {r.k_error:.4f}", f"{r.E:.4f}", f"{r.final:.4f} ± {r.final_error:.4f}",
         f"{r.apart:+.4f}", f"{r.apart_low:+.4f} to {r.apart_high:+.4f}")
        for r in rows
    ]  # fmt: skip
    header = ("tau", "k", "E", "final loss", "less the first's", "interval")
    return "Data reuse, log10 L = -k(tau) log10 X + E(tau)\n" + columns(header, cells)


def forecasts(rows: list[Backtest]) -> str:
    """Forecasts made early in finished curves beside what came, and how they did on the whole."""
    if not rows:
        return "Forecasts: too few evaluations before half of the curves"
    cells = [
        (f"{r.model} ({r.seed:g})", f"{r.share:.0%}", f"{r.seen}", f"{r.loss:.3f}", f"{r.low:.3f} to {r.high:.3f}",
         f"{r.came:.3f} ± {r.came_error:.3f}", "yes" if r.held else "no", f"{r.last_value:.3f}", f"{r.line:.3f}")
        for r in rows
    ]  # fmt: skip
    header = ("model (seed)", "of steps", "points", "forecast", "interval", "came", "held", "last value", "line")
    lines = ["Forecasts of the curves' ends, made early, against what came", columns(header, cells)]
    for share in sorted({r.share for r in rows}):
        some = [r for r in rows if r.share == share]
        errors = ", ".join(f"{name} {log_rmse(some, what):.4f}" for name, what in ERRORS)
        lines.append(f"At {share:.0%}: {sum(r.held for r in some)} of {len(some)} inside; log RMSE {errors}")
    return "\n".join(lines)


def linked(links: list[Link], both: Joint) -> str:
    """Whether the laws of compute and data are one: each model's link, and the joint fit beside fits apart."""
    rows = [
        (
            one.model,
            digits(one.phi),
            f"{one.drift:+.1%}",
            f"{one.k_compute:.4f}",
            f"{one.k_data:.4f}",
            f"{one.E_gap:+.4f}",
        )
        for one in links
    ]
    header = ("model", "phi = C / (N D)", "drift", "k (compute)", "k (data)", "E_D less the link's")
    fitted = ", ".join(f"{name} {digits(value)}" for name, value in both.parameters.items() if both.law != "loglinear")
    r2 = ", ".join(f"{name} {both.r2[name]:.4f} (apart {both.r2_apart[name]:.4f})" for name in both.r2)
    return "\n".join(
        ["Linkage C = phi N D: one slope for both resources, if phi does not drift", columns(header, rows),
         f"Joint fit of one k(N): {fitted}; R2 {r2}" + ("" if both.converged else "; it did not converge")]
    )  # fmt: skip


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


def _interval(at: Interval) -> str:
    return f"{at.value:.3g} ({number(at.low)} to {number(at.high)})"
