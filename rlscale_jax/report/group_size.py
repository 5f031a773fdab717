"""Rollout group size: loss against data and against compute for each G, and the best G for a compute budget."""

import numpy as np
from matplotlib.axes import Axes

from rlscale_jax import laws
from rlscale_jax.report import commands, style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.study import Run, StudyData
from rlscale_jax.report.sweeps import final, mean_curve, plot_values, varied
from rlscale_jax.report.tables import Table, show

FIELD = "grpo.group_size"
NUM_BUDGETS = 4
REACH = 1.645  # standard errors: a difference beyond it counts, 90 % two-sided


def group_size_items(data: StudyData) -> list[Picture | Missing | Table]:
    """The figure and the tables of every model that was swept; starts without a sweep in words."""
    swept = varied(data.runs, FIELD)
    items: list[Picture | Missing | Table] = []
    for model, values in swept.items():
        items += [_picture(model, values), _end_table(model, values), _best_table(model, values)]
    for start in ("base", "instruct"):
        if not any(("instruct" in model) == (start == "instruct") for model in swept):
            title = "Rollout group size" + (", instruct" if start == "instruct" else "")
            items.append(Missing(title=title, reason="no runs with several group sizes", paper="Figure 13",
                                 command=commands.command("group size", data, start=start)))  # fmt: skip
    return items


def loss_at(runs: list[Run], budget: float) -> tuple[float, float]:
    """(loss, its standard error) of runs of one setting at a compute budget, by each run's own power law.

    The error is that between runs where there are several, else that of the one line's points. NaN where no run's
    evaluations reach from below the budget to above it: nothing is extrapolated.
    """
    found = []
    for run in runs:
        x, loss = mean_curve([run], "flops_paper")
        if len(x) >= laws.MIN_POINTS and x.min() <= budget <= x.max():
            found.append(_line_at(np.log(x), np.log(loss), np.log(budget)))
    if not found:
        return float("nan"), float("nan")
    at, errors = np.array(found).T
    error = at.std(ddof=1) / np.sqrt(len(at)) if len(at) > 1 else 0.0
    return float(np.exp(at.mean())), float(np.exp(at.mean()) * max(error, np.sqrt((errors**2).sum()) / len(at)))


def _line_at(u: np.ndarray, v: np.ndarray, at: float) -> tuple[float, float]:
    """A least-squares line's value at `at` and its standard error."""
    slope, level = np.polyfit(u, v, 1)
    scatter = np.sqrt(((v - level - slope * u) ** 2).sum() / max(len(u) - 2, 1))
    leverage = 1 / len(u) + (at - u.mean()) ** 2 / ((u - u.mean()) ** 2).sum()
    return level + slope * at, scatter * np.sqrt(leverage)


def _budgets(values: dict[float, list[Run]]) -> np.ndarray:
    """Budgets, evenly in the logarithm, that at least two settings have reached."""
    spent = [mean_curve(runs, "flops_paper")[0] for runs in values.values()]
    firsts, lasts = sorted(x.min() for x in spent if len(x)), sorted(x.max() for x in spent if len(x))
    if len(firsts) < 2 or not firsts[1] < lasts[-2]:
        return np.array([])
    return np.geomspace(firsts[1], lasts[-2], NUM_BUDGETS + 2)[1:-1]


def _picture(model: str, values: dict[float, list[Run]]) -> Picture:
    figure, axes = style.canvas(3, width=3.3, height=3.1, sharey=True)
    for panel, resource, name in zip(
        axes[0], ("samples", "flops_paper"), ("data D (prompts)", "compute C (FLOPs)"), strict=False
    ):
        curves = {value: mean_curve(runs, resource) for value, runs in values.items()}
        plot_values(panel, curves, "G = {:g}", counts=resource == "samples")
        panel.set_xlabel(name)
    axes[0, 0].set_title("equal data")
    axes[0, 1].set_title("equal compute")
    axes[0, 0].set_ylabel("test loss")
    axes[0, 0].legend()
    _plot_best(axes[0, 2], values)
    runs = sorted({len(group) for group in values.values()})
    caption = (
        f"{model}: test loss by rollout group size G, mean of {' to '.join(map(str, runs))} run(s) a setting, with "
        "power laws; left for the same prompts, middle for the same compute, right the fitted loss at equal compute "
        "of the settings that have spent it, with its 90 % interval (the lowest of each budget is ringed)."
    )
    return Picture(name=f"group_size_{model.replace(' ', '_')}", title=f"Rollout group size, {model}", caption=caption,
                   figure=figure, paper="Figure 13")  # fmt: skip


def _plot_best(axes: Axes, values: dict[float, list[Run]]) -> None:
    """Fitted loss against G, a line for each budget, the best G of each ringed."""
    at = _budgets(values)
    sizes = np.array(list(values))
    for i, (budget, color) in enumerate(zip(at, style.size_colors(len(at)), strict=True)):
        loss, error = np.array([loss_at(runs, budget) for runs in values.values()]).T
        shifted = sizes * 1.04 ** (i - (len(at) - 1) / 2)
        axes.errorbar(shifted, loss, REACH * error, marker=style.MARKERS[i], ms=4, color=color, capsize=2, elinewidth=1,
                      label=f"{budget:.1e} FLOPs")  # fmt: skip
        if np.isfinite(loss).any():
            best = int(np.nanargmin(loss))
            axes.plot(shifted[best], loss[best], "o", ms=10, mfc="none", mec=color, mew=1.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.set_xlabel("group size G")
    axes.set_title("best G by budget")
    axes.legend(fontsize=7)


def _name(model: str) -> str:
    return model.replace(" ", "_")


def _end_table(model: str, values: dict[float, list[Run]]) -> Table:
    rows = []
    for value, runs in values.items():
        end, (x, loss) = final(runs), mean_curve(runs, "samples")
        slope = -np.polyfit(np.log10(x), np.log10(loss), 1)[0] if len(x) >= laws.MIN_POINTS else float("nan")
        spent = mean_curve(runs, "flops_paper")[0]
        rows.append((f"{value:g}", f"{end.loss:.4f} ± {REACH * end.error:.4f}", show(float(slope), ".3f"),
                     show(float(spent.max()), ".3g"), str(end.num_runs)))  # fmt: skip
    return Table(name=f"group_size_{_name(model)}", title=f"Rollout group size, {model}", rows=rows, paper="Figure 13",
                 header=("G", "final loss (90 %)", "k (data)", "FLOPs spent", "runs"),
                 caption="Final loss: mean of the last five evaluations")  # fmt: skip


def _best_table(model: str, values: dict[float, list[Run]]) -> Table:
    """The best G of each budget, and whether the runner-up is really behind."""
    rows = []
    for budget in _budgets(values):
        known = {value: loss_at(runs, budget) for value, runs in values.items()}
        found = sorted((*at, value) for value, at in known.items() if np.isfinite(at[0]))
        if len(found) < 2:
            continue
        (loss, error, best), (next_loss, next_error, next_best) = found[:2]
        apart = next_loss - loss > REACH * np.hypot(error, next_error)
        compared = ", ".join(f"{value:g}" for value in sorted(value for *_, value in found))
        rows.append((f"{budget:.2g}", compared, f"{best:g}", f"{loss:.4f}", f"{next_best:g}", f"{next_loss:.4f}",
                     "yes" if apart else "no: within the noise"))  # fmt: skip
    return Table(name=f"best_group_size_{_name(model)}", title=f"Best group size for a compute budget, {model}",
                 header=("budget (FLOPs)", "compared", "best G", "loss", "next G", "loss", "apart"), rows=rows,
                 paper="Figure 13", caption="By the power law of each setting, at 90 %" if len(rows) else
                 "The settings have no budget in common")  # fmt: skip
