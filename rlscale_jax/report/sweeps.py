"""Experiments that vary one field: rollout group size and data reuse, from the runs' own configs and metrics."""

import numpy as np
from matplotlib.axes import Axes

from rlscale_jax import laws
from rlscale_jax.laws.reuse import Reuse, reuse
from rlscale_jax.report import style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.study import Run
from rlscale_jax.report.tables import Table, between, show

STUDY = "python -m rlscale_jax.study --config=CONFIG --workdir=DIR"
Curve = tuple[np.ndarray, np.ndarray]


def varied(runs: list[Run], field: str) -> dict[str, dict[float, list[Run]]]:
    """{model: {value: runs}} of models whose runs differ in a config field such as "grpo.group_size"."""
    found: dict[str, dict[float, list[Run]]] = {}
    for run in runs:
        value = run.setting(field)
        if isinstance(value, int | float):
            found.setdefault(run.start, {}).setdefault(float(value), []).append(run)
    return {model: dict(sorted(values.items())) for model, values in found.items() if len(values) > 1}


def mean_curve(runs: list[Run], resource: str) -> Curve:
    """(resource [T], loss [T]) averaged over runs step by step."""
    points: dict[float, list[tuple[float, float]]] = {}
    for run in runs:
        columns = [run.metrics.get(f"scaling/{name}", np.array([])) for name in (resource, "test_loss")]
        if not all(map(len, columns)):
            continue
        for step, x, loss in zip(run.metrics["step"], columns[0], columns[1], strict=True):
            if x > 0 and np.isfinite(loss):
                points.setdefault(step, []).append((x, loss))
    means = np.array([np.mean(points[step], 0) for step in sorted(points)]).reshape(-1, 2)
    return means[:, 0], means[:, 1]


def group_size_pictures(runs: list[Run]) -> list[Picture | Missing]:
    """Loss against data and against compute for every group size of each model that was swept."""
    swept = varied(runs, "grpo.group_size")
    if not swept:
        command = f"{STUDY} --sweep=grpo.group_size=4,8,16,32"
        return [Missing(title="Rollout group size", reason="no runs with several group sizes", command=command,
                        paper="Figure 13")]  # fmt: skip
    return [_group_size_picture(model, values) for model, values in swept.items()]


def _group_size_picture(model: str, values: dict[float, list[Run]]) -> Picture:
    figure, axes = style.canvas(2, width=4.2, height=3.2, sharey=True)
    for panel, resource, name in zip(
        axes[0], ("samples", "flops_paper"), ("data D (prompts)", "compute C (FLOPs)"), strict=True
    ):
        curves = {value: mean_curve(group, resource) for value, group in values.items()}
        _plot_values(panel, curves, "G = {:g}", counts=resource == "samples")
        panel.set_xlabel(name)
    axes[0, 0].set_ylabel("test loss")
    axes[0, 0].legend()
    best = best_by_budget({value: mean_curve(group, "flops_paper") for value, group in values.items()})
    said = "; ".join(f"at {budget:.2g} FLOPs G = {value:g}" for budget, value in best)
    caption = f"{model}: the same prompts (left), the same compute (right), by group size. Best by compute: {said}."
    return Picture(name=f"group_size_{model}", title=f"Rollout group size, {model}", caption=caption, figure=figure,
                   paper="Figure 13")  # fmt: skip


def best_by_budget(curves: dict[float, Curve], *, num_budgets: int = 3) -> list[tuple[float, float]]:
    """[(budget, value of lowest fitted loss)] over the budgets that every curve has spent."""
    low = max(x.min() for x, _ in curves.values())
    high = min(x.max() for x, _ in curves.values())
    if not low < high:
        return []
    lines = {value: np.polyfit(np.log(x), np.log(loss), 1) for value, (x, loss) in curves.items()}
    budgets = np.geomspace(low, high, num_budgets + 2)[1:-1] if num_budgets > 1 else np.array([high])
    return [(float(b), min(lines, key=lambda value: np.polyval(lines[value], np.log(b)))) for b in budgets]


def reuse_rows(runs: list[Run]) -> dict[str, list[Reuse]]:
    """{model: reuse analysis} of models whose runs differ in data.reuse_factor and reach the same D_total."""
    found = {}
    for model, values in varied(runs, "data.reuse_factor").items():
        curves = {tau: mean_curve(group, "samples") for tau, group in values.items()}
        curves = {tau: curve for tau, curve in curves.items() if len(curve[0]) >= laws.MIN_POINTS}
        if len(curves) > 1:
            found[model] = reuse(curves)
    return found


def reuse_pictures(runs: list[Run]) -> list[Picture | Missing]:
    """The set-up of the reuse study and loss against data for each reuse factor."""
    swept = varied(runs, "data.reuse_factor")
    if not swept:
        command = f"{STUDY} --sweep=data.reuse_factor=1,5,25,100 (num_unique so that D_total is the same)"
        return [Missing(title="Data reuse", reason="no runs with several reuse factors", command=command,
                        paper="Figures 7, 8 and 10")]  # fmt: skip
    pictures: list[Picture | Missing] = [_schedule_picture(next(iter(swept.values())))]
    for model, values in swept.items():
        figure, axes = style.canvas(width=4.8, height=3.4)
        _plot_values(axes[0, 0], {tau: mean_curve(group, "samples") for tau, group in values.items()}, "τ = {:g}")
        axes[0, 0].set_xlabel("data D (prompts, repeats counted)")
        axes[0, 0].set_ylabel("test loss")
        axes[0, 0].legend(ncols=2)
        caption = f"{model}: the same number of prompts in all, each unique prompt seen τ times; lines are power laws."
        pictures.append(Picture(name=f"reuse_{model}", title=f"Data reuse, {model}", caption=caption, figure=figure,
                                paper="Figures 8 and 10"))  # fmt: skip
    return pictures


def _schedule_picture(values: dict[float, list[Run]]) -> Picture:
    """How each run walks its subset: difficulty rises within an epoch and starts again."""
    figure, axes = style.canvas(width=4.8, height=0.5 + 0.45 * len(values))
    panel = axes[0, 0]
    progress = np.linspace(0, 1, 2000, endpoint=False)
    for row, (tau, group) in enumerate(values.items()):
        unique = group[0].setting("data.num_unique")
        difficulty = row + 0.8 * ((progress * tau) % 1)
        panel.fill_between(progress, row, difficulty, color=style.CATEGORIES[0], alpha=0.6, lw=0)
        named = f"τ = {tau:g}" + (f", {unique} unique" if unique else "")
        panel.annotate(named, (1.01, row + 0.2), annotation_clip=False, fontsize=8)
    panel.set_yticks([])
    panel.set_xlim(0, 1)
    panel.grid(False)
    panel.set_xlabel("share of training")
    panel.set_ylabel("difficulty")
    return Picture(name="reuse_setup", title="Set-up of the reuse study", figure=figure, paper="Figure 7",
                   caption="Each run repeats its own subset τ times, easy to hard in every epoch.")  # fmt: skip


def reuse_tables(runs: list[Run]) -> list[Table]:
    """Slope, final loss and its difference to the smallest factor, for each reuse factor."""
    return [
        Table(
            name=f"reuse_{model}", title=f"Data reuse, {model}",
            header=("τ", "k", "E", "final loss", "difference to the smallest τ", "90 % interval"),
            rows=[
                (show(r.tau), f"{r.k:.4f} ± {r.k_error:.4f}", f"{r.E:.3f}", f"{r.final:.4f} ± {r.final_error:.4f}",
                 f"{r.apart:+.4f}", between((r.apart_low, r.apart_high), "+.4f"))
                for r in rows
            ],
        )
        for model, rows in reuse_rows(runs).items()
    ]  # fmt: skip


def _plot_values(axes: Axes, curves: dict[float, Curve], label: str, *, counts: bool = True) -> None:
    colors = style.size_colors(len(curves))
    losses = [loss for _, loss in curves.values() if len(loss)]
    for i, ((value, (x, loss)), color) in enumerate(zip(curves.items(), colors, strict=True)):
        axes.plot(x, loss, style.MARKERS[i % 10], ms=2.4, color=color, alpha=0.45)
        if len(x) >= laws.MIN_POINTS:
            line = np.polyfit(np.log(x), np.log(loss), 1)
            axes.plot(x, np.exp(np.polyval(line, np.log(x))), color=color, label=label.format(value))
    style.log_loss_axis(axes, min(loss.min() for loss in losses), max(loss.max() for loss in losses))
    style.log_axis(axes, counts=counts)
