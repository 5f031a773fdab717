"""Domain transfer: every evaluation suite during training, and its loss before and after against model size."""

import numpy as np

from rlscale_jax.laws.curves import NOMINAL_TRIALS
from rlscale_jax.report import commands, groups, style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.study import Run, StudyData
from rlscale_jax.report.tables import Table

PREFIX, ENDING = "val-core/", "/acc/mean@"
# Suites of the ladder and of the study whose problems are of the kind that is trained on; all others are transfer.
IN_DOMAIN = ("heldout", "easier", "harder", "larger", "math500", "math_500", "aime2024", "amc2023", "gsm8k")
REACH = 1.645  # standard errors, 90 % two-sided


def suites(runs: list[Run]) -> dict[str, str]:
    """{suite: metric name} of every suite that any run has logged (the smallest N of mean@N), in-domain ones first."""
    keys = sorted({key for run in runs for key in run.metrics if key.startswith(PREFIX) and ENDING in key})
    found: dict[str, str] = {}
    for key in sorted(keys, key=lambda key: int(key.rsplit("@", 1)[1])):
        found.setdefault(key.removeprefix(PREFIX).split(ENDING)[0], key)
    order = sorted(found, key=lambda suite: (IN_DOMAIN.index(suite) if in_domain(suite) else len(IN_DOMAIN), suite))
    return {suite: found[suite] for suite in order}


def in_domain(suite: str) -> bool:
    """Whether a suite holds problems of the kind that is trained on."""
    return suite in IN_DOMAIN


def transfer_items(data: StudyData) -> list[Picture | Missing | Table]:
    """For each group: loss on each suite against steps, before and after against size, and as a table."""
    items: list[Picture | Missing | Table] = []
    by_group: dict[str, list[Run]] = {}
    for run in data.plain_runs:
        by_group.setdefault(run.group, []).append(run)
    for group, runs in sorted(by_group.items(), key=lambda item: list(data.tables).index(item[0])
                              if item[0] in data.tables else len(data.tables)):  # fmt: skip
        named = suites(runs)
        if len(named) < 2:
            reason = f"the runs of {group} evaluate fewer than two suites"
            title = f"Domain transfer{groups.ending(group)}"
            items.append(Missing(title=title, reason=reason, paper="Figures 9, 11 and 12",
                                 command=commands.command("transfer", data)))  # fmt: skip
            continue
        rows = {suite: changes(runs, key) for suite, key in named.items()}
        items += [_during(group, runs, named), _before_after(group, runs, rows), _table(group, runs, rows)]
    if not by_group:
        items.append(Missing(title="Domain transfer", reason="no runs with metrics here", paper="Figures 9, 11 and 12",
                             command=commands.command("transfer", data)))  # fmt: skip
        return items
    wanted = {"": ("transfer", "Figure 11"), "instruct": ("instruct transfer", "Figure 12")}
    for start, (key, paper) in wanted.items():
        if not any(("instruct" in group) == bool(start) for group in by_group):
            title, reason = f"Domain transfer, {start or 'base'}", f"no runs from a {start or 'base'} start"
            items.append(Missing(title=title, reason=reason, paper=paper, command=commands.command(key, data)))
    return items


def models_by_size(runs: list[Run]) -> list[str]:
    """Model names in order of size."""
    size: dict[str, float] = {}
    for run in runs:
        _, n = run.series("scaling/n_nonembed")
        size[run.model] = float(n[0]) if len(n) else np.inf
    return sorted(size, key=lambda model: (size[model], model))


def changes(runs: list[Run], key: str) -> list[tuple[str, float, float, float]]:
    """[(model, N, loss at the first evaluation, loss at the last)] averaged over a model's runs, by size."""
    values: dict[str, list[tuple[float, float, float]]] = {}
    for run in runs:
        steps, accuracy = run.series(key)
        if len(steps) > 1:
            n = run.series("scaling/n_nominal")[1]
            ends = (float(n[0]) if len(n) else np.nan, 1 - float(accuracy[0]), 1 - float(accuracy[-1]))
            values.setdefault(run.model, []).append(ends)
    means = {model: np.mean(rows, 0) for model, rows in values.items()}
    rows = [(model, float(n), float(before), float(after)) for model, (n, before, after) in means.items()]
    return sorted(rows, key=lambda row: row[1])


def questions(runs: list[Run], suite: str) -> float:
    """Questions of a suite by the runs' recorded answers, else as many as the study's held-out set has."""
    return next((float(run.num_questions[suite]) for run in runs if suite in run.num_questions), NOMINAL_TRIALS)


def _error(loss, num_questions: float, num_runs: np.ndarray) -> np.ndarray:
    """Standard error of a loss by the answers' chance, as if each run had questions of its own."""
    spread = np.maximum(np.asarray(loss) * (1 - np.asarray(loss)), 1 / num_questions)
    return np.sqrt(spread / (num_questions * num_runs))


def _panels(suites_: list[str], height: float):
    columns = min(len(suites_), 4)
    figure, axes = style.canvas(columns, -(-len(suites_) // columns), width=2.7, height=height)
    for panel in axes.flat[len(suites_) :]:
        panel.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel("loss (1 − accuracy)")
    for panel, suite in zip(axes.flat, suites_, strict=False):
        panel.set_title(suite + ("" if in_domain(suite) else " (other domain)"), fontsize=9)
    return figure, list(zip(axes.flat, suites_, strict=False))


def _during(group: str, runs: list[Run], named: dict[str, str]) -> Picture:
    figure, panels = _panels(list(named), 2.3)
    order = models_by_size(runs)
    for i, (model, color) in enumerate(zip(order, style.size_colors(len(order)), strict=True)):
        own = [run for run in runs if run.model == model]
        for panel, suite in panels:
            steps, mean, low, high = over_runs(own, named[suite])
            panel.plot(steps, 1 - mean, color=color, marker=style.MARKERS[i % 10], ms=3, lw=1.1, label=model)
            panel.fill_between(steps, 1 - high, 1 - low, color=color, alpha=0.15, lw=0)
            panel.set_xlabel("step")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    paper = "Figure 12" if "instruct" in group else "Figure 11"
    title = f"Every suite during training{groups.ending(group)}"
    return Picture(name=f"suites{groups.suffix(group)}", title=title, figure=figure, paper=paper,
                   caption="Loss on each evaluation suite: mean over runs, shaded from lowest to highest.")  # fmt: skip


def over_runs(runs: list[Run], key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(steps, mean, lowest, highest) of one metric over the runs that logged it, step by step."""
    series = [run.series(key) for run in runs]
    steps = np.unique(np.concatenate([s for s, _ in series])) if series else np.array([])
    values = np.full((len(series), len(steps)), np.nan)
    for row, (at, value) in zip(values, series, strict=True):
        row[np.searchsorted(steps, at)] = value
    if not len(steps):
        return steps, steps, steps, steps
    return steps, np.nanmean(values, 0), np.nanmin(values, 0), np.nanmax(values, 0)


def _num_runs(runs: list[Run], model: str) -> int:
    return sum(run.model == model for run in runs)


def _before_after(group: str, runs: list[Run], rows: dict[str, list]) -> Picture:
    figure, panels = _panels([suite for suite in rows if rows[suite]] or list(rows), 2.3)
    for panel, suite in panels:
        n, before, after = np.array([row[1:] for row in rows[suite]]).reshape(-1, 3).T
        num_runs = np.array([_num_runs(runs, row[0]) for row in rows[suite]])
        looks = (
            (before, "o", "--", "none", "#555555", "before"),
            (after, "s", "-", None, style.CATEGORIES[0], "after"),
        )
        for loss, marker, line, face, color, label in looks:
            reach = REACH * _error(loss, questions(runs, suite), num_runs)
            panel.errorbar(n, loss, reach, marker=marker, ls=line, mfc=face or color, color=color, ms=4, lw=1.1,
                           capsize=2, elinewidth=0.8, label=label)  # fmt: skip
        panel.set_xlabel("N")
        style.log_axis(panel)
    panels[0][0].legend()
    title = f"Transfer to other suites{groups.ending(group)}"
    return Picture(name=f"transfer{groups.suffix(group)}", title=title, figure=figure,
                   paper="Figure 9", caption="Loss on each suite before and after training, against model size, with "
                   "90 % binomial intervals.")  # fmt: skip


def _table(group: str, runs: list[Run], rows: dict[str, list]) -> Table:
    cells = []
    for suite, found in rows.items():
        for model, _, before, after in found:
            count, num_runs = questions(runs, suite), np.array(_num_runs(runs, model))
            error = np.hypot(_error(before, count, num_runs), _error(after, count, num_runs))
            moved = after - before
            word = "better" if moved < -REACH * error else "worse" if moved > REACH * error else "no change seen"
            cells.append((suite, "in" if in_domain(suite) else "other", model, f"{before:.3f}", f"{after:.3f}",
                          f"{moved:+.3f} ± {REACH * error:.3f}", word))  # fmt: skip
    title = f"Transfer{groups.ending(group)}"
    return Table(name=f"transfer{groups.suffix(group)}", title=title, rows=cells, paper="Figure 9",
                 header=("suite", "domain", "model", "before", "after", "change (90 %)", "verdict"),
                 caption="Mean over runs; binomial intervals")  # fmt: skip
