"""Training figures: reward, response length and the health of the optimisation over steps."""

from matplotlib.axes import Axes

from rlscale_jax.report import commands, groups, style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.study import Run, StudyData
from rlscale_jax.report.transfer import models_by_size, over_runs

REWARD = (("critic/rewards/mean", "reward"), ("response_length/mean", "response length (tokens)"))
HEALTH = (
    ("actor/entropy", "entropy (nats)"),
    ("actor/kl_loss", "KL to the base"),
    ("actor/grad_norm", "gradient norm"),
    ("actor/pg_clipfrac", "clipped share"),
    ("frac_reward_zero_std", "groups without signal"),
)


def training_figures(data: StudyData) -> list[Picture | Missing]:
    """Reward and length, and the optimiser's health, for each group of models; `Missing` where no run has them."""
    by_group: dict[str, list[Run]] = {}
    for run in data.plain_runs or data.runs:
        by_group.setdefault(run.group, []).append(run)
    pictures: list[Picture | Missing] = []
    for group, runs in by_group.items():
        suffix, ending = groups.suffix(group), groups.ending(group)
        reward, health = _panels(runs, REWARD), _panels(runs, HEALTH)
        if reward is not None:
            caption = (
                "Mean training reward and response length at each step: mean over runs, shaded from lowest to highest."
            )
            pictures.append(Picture(name=f"reward_length{suffix}", title=f"Reward and response length{ending}",
                                    caption=caption, figure=reward))  # fmt: skip
        if health is not None:
            caption = "Entropy, KL, gradient norm, share of clipped tokens and of groups without a learning signal."
            pictures.append(Picture(name=f"training_health{suffix}", title=f"Health of the runs{ending}",
                                    caption=caption, figure=health))  # fmt: skip
    command = commands.command("scaling", data)
    return pictures or [Missing(title="Reward and length", reason="no runs with metrics here", command=command)]


def _panels(runs: list[Run], metrics):
    present = [(key, label) for key, label in metrics if any(len(run.series(key)[0]) for run in runs)]
    if not present:
        return None
    columns = min(len(present), 3)
    rows = -(-len(present) // columns)
    figure, axes = style.canvas(columns, rows, width=3.4, height=2.6)
    order = models_by_size(runs)
    colors = dict(zip(order, style.size_colors(len(order)), strict=True))
    for panel, (key, label) in zip(axes.flat, present, strict=False):
        for i, model in enumerate(order):
            _plot(panel, [run for run in runs if run.model == model], key, model, colors[model], style.MARKERS[i % 10])
        panel.set_xlabel("step")
        panel.set_ylabel(label)
    for panel in axes.flat[len(present) :]:
        panel.set_axis_off()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _plot(axes: Axes, runs: list[Run], key: str, model: str, color, marker: str) -> None:
    steps, mean, low, high = over_runs(runs, key)
    if len(steps):
        axes.plot(steps, mean, color=color, label=model, marker=marker, ms=3, markevery=max(len(steps) // 8, 1))
        axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
