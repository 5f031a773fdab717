"""Writes a study's report: figures, tables and one self-contained page."""

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping

from rlscale_jax import laws
from rlscale_jax.laws import Fit, comparison, diagnostics, holdout, sensitivity, summary
from rlscale_jax.report import commands, contents, findings, groups, page, results, shapes, style
from rlscale_jax.report.datasets import dataset_items
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.group_size import group_size_items
from rlscale_jax.report.groups import fits_of, protocol_fits
from rlscale_jax.report.reuse import reuse_items, reuse_rows
from rlscale_jax.report.scaling import final_figure, loss_figure, slope_figure
from rlscale_jax.report.study import StudyData
from rlscale_jax.report.tables import Table
from rlscale_jax.report.training import training_figures
from rlscale_jax.report.transfer import transfer_items

Item = Picture | Missing | Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """What is known of one group of models: its rows, fits by resource, own slopes, and fits by protocol."""

    name: str
    table: laws.Table
    fits: dict[str, Fit]
    own: dict[str, Fit]
    protocols: dict[str, dict[str, Fit]]
    rivals: dict[str, list[comparison.Row]]

    @property
    def suffix(self) -> str:
        """For file names: nothing where there is one group only."""
        return groups.suffix(self.name)

    @property
    def label(self) -> str:
        """For titles, likewise."""
        return groups.ending(self.name)

    @property
    def figure(self) -> dict[str, str]:
        """The paper's figures that this group's own stand for, by what they show."""
        if "llama" in self.name:
            return {"compute": "Figure 6", "data": "Figure 6"}
        return {"compute": "Figure 2", "data": "Figure 3", "intra": "Figure 4"}


def write(
    study_dir: str | pathlib.Path,
    fits: Mapping[str, Mapping[str, Fit]] | None = None,
    *,
    formats: tuple[str, ...] = ("png", "pdf"),
) -> pathlib.Path:
    """Draws DIR/figures, DIR/tables and DIR/report.html from what the directory holds; returns the page's path.

    Args:
      study_dir: with curves.csv (or runs/*/metrics.jsonl to gather them from); runs and outcomes as far as they are.
      fits: by group of models (`groups.in_directory`) and resource ("compute", "data"). Groups without any get the
        default law here; families, starting points and variants of a sweep are never fitted together.
      formats: of the figures.

    Raises: FileNotFoundError, ValueError: no curves, or none that can be fitted.
    """
    data = StudyData(pathlib.Path(study_dir))
    grouped, gaps = _groups(data, fits or {})
    with style.applied():
        sections: list[tuple[str, list[Item | str]]] = [
            ("What the data say", findings_section(data, grouped)),
            ("The law", [*gaps, *(item for group in grouped for item in _law_items(group)), *_absent(data)]),
            ("Prediction", [item for group in grouped for item in _prediction_items(group, data)]),
            ("Other forms and choices", [item for group in grouped for item in _form_items(group, data)]),
            ("Experiments", [*group_size_items(data), *reuse_items(data), *transfer_items(data)]),
            ("Runs", _run_items(data, grouped)),
        ]
        shown = [item for _, items in sections for item in items if not isinstance(item, str)]
        sections.insert(0, ("The paper's figures and tables here", [contents.overview(shown)]))
        bodies = [(head, _body(items, data.directory, formats)) for head, items in sections]
    path = data.directory / "report.html"
    path.write_text(page.page(f"Scaling report: {data.directory.resolve().name}", bodies), encoding="utf-8")
    return path


def _groups(data: StudyData, fits: Mapping[str, Mapping[str, Fit]]) -> tuple[list[Group], list[Item | str]]:
    """The groups that a law is fitted to, and a word on each that it could not be fitted to.

    Groups of one size (a sweep of one member) are left to the section on experiments, unless there are no others.
    """
    tables = {name: table for name, table in data.tables.items() if len(set(table["n_params"])) > 1}
    tables = tables or dict(itertools.islice(data.tables.items(), 1))
    found: list[Group] = []
    gaps: list[Item | str] = [page.paragraphs(data.found[1])] if data.found[1] else []
    for name, table in tables.items():
        try:
            found.append(_group(name, table, fits.get(name), like=next(iter(fits.values()), None)))
        except ValueError as error:
            command = commands.command("scaling", data)
            gaps.append(Missing(title=f"The law of {name}", reason=str(error), command=command))
    if not found:
        reasons = [gap.reason for gap in gaps if isinstance(gap, Missing)] + data.found[1]
        raise ValueError(f"{data.directory}: no curves that a law can be fitted to. {' '.join(reasons)}".strip())
    return found, gaps


def _group(name: str, table: laws.Table, given: Mapping[str, Fit] | None, like: Mapping[str, Fit] | None) -> Group:
    """A group with `given` fits, or with fits by the same law and objective as those of `like`."""
    first = next(iter(like.values()), None) if like else None
    law, objective, confidence = (
        (first.law, first.objective, first.region.confidence) if first else ("saturating", "robust", 0.9)
    )
    chosen = dict(given) if given else fits_of(table, law=law, objective=objective, confidence=confidence)
    own = {
        r: laws.fit(f.fitted, resource=r, law="loglinear", objective=f.objective, confidence=f.region.confidence)
        for r, f in chosen.items()
    }
    sized = chosen if len(set(table["n_params"])) > 1 else {}
    rivals = {r: comparison.compare(table, resource=r, objective=f.objective) for r, f in sized.items()}
    protocols = {r: protocol_fits(table, f) for r, f in chosen.items()}
    return Group(name=name, table=table, fits=chosen, own=own, protocols=protocols, rivals=rivals)


def findings_section(data: StudyData, grouped: list[Group]) -> list[Item | str]:
    """The paper's findings and further statements: those on the law for each group, those on experiments once."""
    items: list[Item | str] = []
    for place, group in enumerate(grouped):
        found = [
            findings.efficiency(group.own), findings.power_law(group.fits, group.rivals),
            findings.saturation(group.fits, group.rivals), findings.crossing(group.fits.get("compute")),
        ]  # fmt: skip
        if place == 0:
            found += [findings.data_reuse(reuse_rows(data.runs)), findings.group_size(data.runs),
                      findings.transfer(data.plain_runs)]  # fmt: skip
        rows = [(f.statement, f.verdict, f.evidence) for f in found]
        header = ("statement", "verdict", "numbers")
        items.append(Table(name=f"findings{group.suffix}", title=f"Findings: {group.name}", header=header, rows=rows))
    return items


def _absent(data: StudyData) -> list[Item | str]:
    """Groups of the paper that this study has no runs of."""
    has_instruct = any("instruct" in name and "llama" not in name for name in data.tables)
    has_qwen = any("llama" not in name for name in data.tables)
    wanted = {
        "scaling": (has_qwen, "Qwen2.5", "Figures 1, 2, 3, 4 and 5; Tables 5 and 6"),
        "instruct": (has_instruct, "Instruct-like starts", "Figures 1, 2, 3, 5; Tables 5 and 6"),
        "llama": (any("llama" in name for name in data.tables), "Llama", "Figure 6; Tables 5 and 6"),
    }
    return [
        Missing(title=title, reason="no runs of this kind here", command=commands.command(key, data), paper=paper)
        for key, (there, title, paper) in wanted.items()
        if not there
    ]


def _law_items(group: Group) -> list[Item | str]:
    items: list[Item | str] = [
        loss_figure([fit], name=f"loss_{resource}{group.suffix}", paper=group.figure[resource], label=group.label)
        for resource, fit in group.fits.items()
    ]
    if all(fit.law != "loglinear" for fit in group.fits.values()):
        items.append(
            slope_figure(group.fits, group.own, name=f"k_of_n{group.suffix}", paper="Figure 5", label=group.label)
        )
    every = {(group.name, r, "full"): fit for r, fit in group.fits.items()}
    every |= {(group.name, r, p): fit for r, fits in group.protocols.items() for p, fit in fits.items()}
    table = results.fits_table(every)
    items.append(dataclasses.replace(table, name=table.name + group.suffix, title=table.title + group.label))
    items += [page.preformatted(summary.text(fit)) for fit in group.fits.values()]
    return items


def _prediction_items(group: Group, data: StudyData) -> list[Item | str]:
    items: list[Item | str] = []
    for resource, fits in group.protocols.items():
        paper = group.figure[resource] + (" and 4" if resource == "data" and "intra" in group.figure else "")
        paper = paper.replace("Figure 3 and", "Figures 3 and")
        if not fits:
            reason = f"{group.name}: too few sizes or evaluations to hold any out"
            items.append(Missing(title=f"Prediction from {resource}", reason=reason, paper=paper,
                                 command=commands.command("scaling", data)))  # fmt: skip
            continue
        name = f"prediction_{resource}{group.suffix}"
        items.append(loss_figure(list(fits.values()), name=name, paper=paper, label=group.label))
        for protocol, fit in fits.items():
            title = f"Held-out error, {resource}, {protocol}"
            scores = holdout.score(fit)
            items.append(
                results.held_out_table(scores, name=f"held_out_{resource}_{protocol}{group.suffix}", title=title)
            )
    inter = {r: fits["inter"] for r, fits in group.protocols.items() if "inter" in fits}
    if inter and all(fit.law != "loglinear" for fit in inter.values()):
        own = {r: group.own[r] for r in inter}
        items.append(slope_figure(inter, own, name=f"k_predicted{group.suffix}", paper="Figure 1", label=group.label))
    else:
        reason = f"{group.name}: the largest size can be predicted from 3 smaller ones or more"
        items.append(Missing(title="Learning efficiency, largest size predicted", reason=reason, paper="Figure 1",
                             command=commands.command("scaling", data)))  # fmt: skip
    return items


def _form_items(group: Group, data: StudyData) -> list[Item | str]:
    items: list[Item | str] = []
    for resource, fit in group.fits.items():
        if resource in group.rivals:
            name = f"rivals_{resource}{group.suffix}"
            items.append(results.rivals_table(group.rivals[resource], name=name, resource=resource + group.label))
        items.append(page.paragraphs(diagnostics.words(diagnostics.residuals(fit))))
        variants = sensitivity.sensitivity(group.table, resource=resource) if resource in group.rivals else []
        if variants:
            name = f"sensitivity_{resource}{group.suffix}"
            items.append(results.sensitivity_table(variants, name=name, resource=resource + group.label))
    found = shapes.decomposed(group.table)
    command = commands.command("scaling", data)
    items.append(shapes.decomposition_picture(found, name=f"decomposition{group.suffix}", command=command))
    if not isinstance(found, str):
        items.append(shapes.decomposition_table(found, name=f"decomposition{group.suffix}"))
    items.extend(
        shapes.sigmoid_table(laws.gather(group.table, resource), name=f"sigmoid_{resource}{group.suffix}")
        for resource in group.fits
    )
    return items


def _run_items(data: StudyData, grouped: list[Group]) -> list[Item | str]:
    first = {group.name: next(iter(group.fits.values())) for group in grouped}
    others = {
        family: [(1e9 * size, 1 - value) for size, value in sizes.items()]
        for family, sizes in results.PUBLISHED_PASS.items()
        if data.real and family in ("Qwen3", "GPT-OSS")
    }
    no_settings = Missing(title="Settings of the runs", reason="no runs with a config here", paper="Table 2",
                          command=commands.command("scaling", data))  # fmt: skip
    return [
        results.end_losses(data.tables),
        final_figure(first, others=others, name="final_loss"),
        results.published_pass(data.tables, real=data.real),
        *training_figures(data),
        *dataset_items(data),
        results.settings_table(data) or no_settings,
    ]


def _body(items: list[Item | str], directory: pathlib.Path, formats: tuple[str, ...]) -> str:
    """Saves every figure and table of a section and returns its HTML."""
    parts = []
    for item in items:
        if isinstance(item, str):
            parts.append(item)
        elif isinstance(item, Table):
            item.save(directory / "tables")
            parts.append(page.table(item))
        else:
            if isinstance(item, Picture):
                item.save(directory / "figures", formats)
            parts.append(page.picture(item))
    return "".join(parts)
