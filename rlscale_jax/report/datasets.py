"""The problem sets of a study and the prompts that its models read, from what the runs recorded."""

from rlscale_jax.report import commands
from rlscale_jax.report.figures import Missing
from rlscale_jax.report.study import StudyData
from rlscale_jax.report.tables import Table
from rlscale_jax.report.transfer import in_domain, suites


def dataset_items(data: StudyData) -> list[Table | Missing]:
    """Table 1 (problem sets) and Table 3 (prompts), or what to run for them."""
    if not data.runs:
        return [
            Missing(title=title, reason="no runs with metrics here", paper=paper,
                    command=commands.command("scaling", data))
            for title, paper in (("Problem sets", "Table 1"), ("Prompts", "Table 3"))
        ]  # fmt: skip
    return [_sets(data), _prompts(data)]


def _sets(data: StudyData) -> Table:
    run = data.runs[0]
    steps, batch = run.setting("num_steps"), run.setting("grpo.prompts_per_step")
    total, use = "–", "training"
    if isinstance(steps, int) and isinstance(batch, int):
        total, use = f"{steps * batch:,}", f"{batch} prompts a step, {run.setting('data.order')}"
    rows = [("training", "in", total, use)]
    for suite in suites(data.runs):
        count = next((one.num_questions[suite] for one in data.runs if suite in one.num_questions), None)
        rows.append((suite, "in" if in_domain(suite) else "other", f"{count:,}" if count else "–", "evaluation"))
    return Table(name="datasets", title="Problem sets", header=("set", "domain", "problems", "use"), rows=rows,
                 paper="Table 1", caption="In domain: of the kind that is trained on")  # fmt: skip


def _prompts(data: StudyData) -> Table | Missing:
    found = dict.fromkeys((run.group, run.prompt) for run in data.runs if run.prompt)
    first = dict(reversed(found))
    if not first:
        return Missing(title="Prompts", reason="no run has recorded rollouts (log_rollouts_every)",
                       command=commands.command("scaling", data), paper="Table 3")  # fmt: skip
    return Table(name="prompts", title="Prompts", header=("models", "a training prompt"), paper="Table 3",
                 rows=sorted(first.items()), caption="The text of one user turn, before the chat template")  # fmt: skip
