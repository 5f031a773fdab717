"""Domain transfer: every evaluation suite during training, and its loss before and after against model size."""

import numpy as np

from rlscale_jax.report import style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.study import Run
from rlscale_jax.report.sweeps import STUDY

PREFIX, ENDING = "val-core/", "/acc/mean@"


def suites(runs: list[Run]) -> dict[str, str]:
    """{suite: metric name} of every suite that any run has logged (the smallest N of mean@N)."""
    keys = sorted({key for run in runs for key in run.metrics if key.startswith(PREFIX) and ENDING in key})
    found: dict[str, str] = {}
    for key in sorted(keys, key=lambda key: int(key.rsplit("@", 1)[1])):
        found.setdefault(key.removeprefix(PREFIX).split(ENDING)[0], key)
    return found


def transfer_pictures(runs: list[Run], order: list[str]) -> list[Picture | Missing]:
    """Loss on each suite against steps, and at the first and last evaluation against size."""
    named = suites(runs)
    if len(named) < 2:
        command = f"{STUDY} --sweep=evaluation.suites=... (or fill evaluation.suites in the config)"
        return [Missing(title="Domain transfer", reason="the runs evaluate fewer than two suites", command=command,
                        paper="Figures 9, 11 and 12")]  # fmt: skip
    return [_during(runs, order, named), _before_after(runs, order, named)]


def _panels(named: dict[str, str]):
    columns = min(len(named), 4)
    figure, axes = style.canvas(columns, -(-len(named) // columns), width=2.7, height=2.3)
    for panel in axes.flat[len(named) :]:
        panel.set_axis_off()
    return figure, list(zip(axes.flat, named.items(), strict=False))


def _during(runs: list[Run], order: list[str], named: dict[str, str]) -> Picture:
    figure, panels = _panels(named)
    colors = dict(zip(order, style.size_colors(len(order)), strict=True))
    for panel, (suite, key) in panels:
        for run in runs:
            steps, accuracy = run.series(key)
            first = run.seed == min(other.seed for other in runs if other.model == run.model)
            panel.plot(steps, 1 - accuracy, color=colors[run.model], lw=1, label=run.model if first else None)
        panel.set_title(suite)
        panel.set_xlabel("step")
    panels[0][0].set_ylabel("loss (1 − accuracy)")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    return Picture(name="suites", title="Every suite during training", figure=figure, paper="Figures 11 and 12",
                   caption="Loss on each evaluation suite, one line a run.")  # fmt: skip


def changes(runs: list[Run], key: str) -> list[tuple[str, float, float, float]]:
    """[(model, N, loss at the first evaluation, mean loss of the last three)] averaged over a model's runs."""
    values: dict[str, list[tuple[float, float, float]]] = {}
    for run in runs:
        steps, accuracy = run.series(key)
        if len(steps) > 1:
            n = run.series("scaling/n_nominal")[1]
            last = float(np.mean(1 - accuracy[-3:]))
            values.setdefault(run.model, []).append((float(n[0]) if len(n) else np.nan, 1 - float(accuracy[0]), last))
    means = {model: np.mean(rows, 0) for model, rows in values.items()}
    return [(model, float(n), float(before), float(after)) for model, (n, before, after) in means.items()]


def _before_after(runs: list[Run], order: list[str], named: dict[str, str]) -> Picture:
    figure, panels = _panels(named)
    for panel, (suite, key) in panels:
        rows = sorted(changes(runs, key), key=lambda row: row[1])
        n, before, after = np.array([row[1:] for row in rows]).reshape(-1, 3).T
        panel.plot(n, before, "o--", mfc="none", color="#777777", ms=4, lw=1, label="start")
        panel.plot(n, after, "s-", color=style.CATEGORIES[0], ms=4, label="end")
        panel.set_title(suite)
        panel.set_xlabel("N")
        style.log_axis(panel)
    panels[0][0].set_ylabel("loss (1 − accuracy)")
    panels[0][0].legend()
    return Picture(name="transfer", title="Transfer to other suites", figure=figure, paper="Figure 9",
                   caption="Loss on each suite before and after training, against model size.")  # fmt: skip
