"""Training figures: reward, response length and the health of the optimisation over steps, run by run."""

import numpy as np
from matplotlib.axes import Axes

from rlscale_jax.report import style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.study import Run, StudyData

REWARD = (("critic/rewards/mean", "reward"), ("response_length/mean", "response length (tokens)"))
HEALTH = (
    ("actor/entropy", "entropy (nats)"),
    ("actor/kl_loss", "KL to the base"),
    ("actor/grad_norm", "gradient norm"),
    ("actor/pg_clipfrac", "clipped share"),
    ("frac_reward_zero_std", "groups without signal"),
)


def training_figures(data: StudyData) -> list[Picture | Missing]:
    """Reward and length, and the optimiser's health; `Missing` where no run has logged them."""
    order = models_by_size(data.runs)
    reward = _panels(data.runs, order, REWARD)
    health = _panels(data.runs, order, HEALTH)
    if reward is None:
        return [Missing(title="Reward and length", reason="no runs with metrics here", command=START)]
    pictures: list[Picture | Missing] = [
        Picture(
            name="reward_length",
            title="Reward and response length",
            caption="Mean training reward and mean response length at each step; lines are means over runs.",
            figure=reward,
        )
    ]
    if health is not None:
        caption = "Entropy, KL, gradient norm, share of clipped tokens and of groups without a learning signal."
        pictures.append(Picture(name="training_health", title="Health of the runs", caption=caption, figure=health))
    return pictures


START = "python -m rlscale_jax.study --config=configs/ladder_cpu.py --workdir=DIR"


def models_by_size(runs: list[Run]) -> list[str]:
    """Model names in order of size."""
    size: dict[str, float] = {}
    for run in runs:
        _, n = run.series("scaling/n_nonembed")
        size[run.model] = float(n[0]) if len(n) else np.inf
    return sorted(size, key=lambda model: (size[model], model))


def _panels(runs: list[Run], order: list[str], metrics):
    present = [(key, label) for key, label in metrics if any(len(run.series(key)[0]) for run in runs)]
    if not present:
        return None
    columns = min(len(present), 3)
    rows = -(-len(present) // columns)
    figure, axes = style.canvas(columns, rows, width=3.4, height=2.6)
    colors = dict(zip(order, style.size_colors(len(order)), strict=True))
    for panel, (key, label) in zip(axes.flat, present, strict=False):
        for model in order:
            _plot_mean(panel, [run for run in runs if run.model == model], key, model, colors[model])
        panel.set_xlabel("step")
        panel.set_ylabel(label)
    for panel in axes.flat[len(present) :]:
        panel.set_axis_off()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _plot_mean(axes: Axes, runs: list[Run], key: str, model: str, color) -> None:
    series = [run.series(key) for run in runs]
    steps = np.unique(np.concatenate([s for s, _ in series])) if series else np.array([])
    if not len(steps):
        return
    values = np.full((len(series), len(steps)), np.nan)
    for row, (at, value) in zip(values, series, strict=True):
        row[np.searchsorted(steps, at)] = value
    count = np.isfinite(values).sum(0)
    axes.plot(steps, np.nansum(values, 0) / count, color=color, label=model)
    if len(series) > 1:
        spread = np.where(count > 1, np.nanmax(values, 0) - np.nanmin(values, 0), 0) / 2
        middle = (np.nanmax(values, 0) + np.nanmin(values, 0)) / 2
        axes.fill_between(steps, middle - spread, middle + spread, color=color, alpha=0.15, lw=0)
