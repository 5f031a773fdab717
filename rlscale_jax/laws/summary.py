"""A fit as plain text for a terminal."""

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
    intervals = fit.intervals
    for name, value in fit.parameters.items():
        low, high = intervals[name]
        lines.append(f"  {name:8s} {value:<10.4g} {percent} interval {low:.4g} to {high:.4g}")
    head = f"  {'model':12s} {'n':>9s} {'k':>8s} {percent + ' interval':>20s} {'E':>8s} {'R2':>7s} {'log RMSE':>9s}"
    lines.append(head + "  points x runs")
    low, high = fit.k_interval(fit.fitted.n)
    for (name, model), k_low, k_high in zip(fit.models.items(), low, high, strict=True):
        lines.append(
            f"  {name:12s} {model.n:9.3g} {model.k:8.4f} {f'{k_low:.4f} to {k_high:.4f}':>20s} {model.E:8.4f} "
            f"{model.r2:7.3f} {model.log_rmse:9.4f}  {model.num_points} x {model.num_runs}"
        )
    return "\n".join(lines + [f"Note: {note}" for note in fit.notes])
