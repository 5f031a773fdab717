"""Writes a study's report: figures, tables and one self-contained page."""

import dataclasses
import pathlib

from rlscale_jax import laws
from rlscale_jax.laws import Fit, comparison, diagnostics, holdout, sensitivity, summary
from rlscale_jax.report import findings, page, results, shapes, style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.groups import fits_of, groups, protocol_fits
from rlscale_jax.report.scaling import final_figure, loss_figure, slope_figure
from rlscale_jax.report.study import StudyData
from rlscale_jax.report.sweeps import group_size_pictures, reuse_pictures, reuse_rows, reuse_tables
from rlscale_jax.report.tables import Table
from rlscale_jax.report.training import models_by_size, training_figures
from rlscale_jax.report.transfer import transfer_pictures

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
        return "" if self.name == "models" else "_" + self.name.replace(" ", "_")


def write(
    study_dir: str | pathlib.Path, fits: dict[str, Fit] | None = None, *, formats: tuple[str, ...] = ("png", "pdf")
) -> pathlib.Path:
    """Draws DIR/figures, DIR/tables and DIR/report.html from what the directory holds; returns the page's path.

    Args:
      study_dir: with curves.csv (or runs/*/metrics.jsonl to gather them from); runs and outcomes as far as they are.
      fits: by resource ("compute", "data"); None: the default law is fitted here. Families and starting points are
        fitted apart, with the same law.
      formats: of the figures.

    Raises: FileNotFoundError, ValueError: no curves, or curves that cannot be fitted.
    """
    data = StudyData(pathlib.Path(study_dir))
    grouped = _groups(data, fits)
    with style.applied():
        sections = [
            ("What the data say", findings_section(data, grouped)),
            ("The law", [item for group in grouped for item in _law_items(group)]),
            ("Prediction", [item for group in grouped for item in _prediction_items(group)]),
            ("Other forms and choices", [item for group in grouped for item in _form_items(group)]),
            ("Experiments", _experiment_items(data)),
            ("Runs", _run_items(data, grouped)),
        ]
        bodies = [(head, _body(items, data.directory, formats)) for head, items in sections]
    path = data.directory / "report.html"
    path.write_text(page.page(f"Scaling report: {data.directory.resolve().name}", bodies), encoding="utf-8")
    return path


def _groups(data: StudyData, fits: dict[str, Fit] | None) -> list[Group]:
    tables = groups(data.table)
    first = next(iter(fits.values())) if fits else None
    law, objective, confidence = (
        (first.law, first.objective, first.region.confidence) if first else ("saturating", "robust", 0.9)
    )
    found = []
    for name, table in tables.items():
        chosen = (
            fits if fits and len(tables) == 1 else fits_of(table, law=law, objective=objective, confidence=confidence)
        )
        own = {
            r: laws.fit(f.fitted, resource=r, law="loglinear", objective=f.objective, confidence=f.region.confidence)
            for r, f in chosen.items()
        }
        sized = chosen if len(set(table["n_params"])) > 1 else {}
        rivals = {r: comparison.compare(table, resource=r, objective=f.objective) for r, f in sized.items()}
        protocols = {r: protocol_fits(table, f) for r, f in chosen.items()}
        found.append(Group(name=name, table=table, fits=chosen, own=own, protocols=protocols, rivals=rivals))
    return found


def findings_section(data: StudyData, grouped: list[Group]) -> list[Item | str]:
    """The paper's findings and further statements, judged for each group."""
    items: list[Item | str] = []
    for group in grouped:
        found = [
            findings.efficiency(group.own), findings.power_law(group.fits, group.rivals),
            findings.saturation(group.fits, group.rivals), findings.data_reuse(reuse_rows(data.runs)),
            findings.crossing(group.fits.get("compute")), findings.group_size(data.runs), findings.transfer(data.runs),
        ]  # fmt: skip
        rows = [(f.statement, f.verdict, f.evidence) for f in found]
        header = ("statement", "verdict", "numbers")
        items.append(Table(name=f"findings{group.suffix}", title=f"Findings: {group.name}", header=header, rows=rows))
    return items


def _law_items(group: Group) -> list[Item | str]:
    items: list[Item | str] = [
        loss_figure(
            [fit], name=f"loss_{resource}{group.suffix}", paper={"compute": "Figure 2", "data": "Figure 3"}[resource]
        )
        for resource, fit in group.fits.items()
    ]
    if all(fit.law != "loglinear" for fit in group.fits.values()):
        items.append(slope_figure(group.fits, group.own, name=f"k_of_n{group.suffix}", paper="Figure 5"))
    every = {(group.name, r, "full"): fit for r, fit in group.fits.items()}
    every |= {(group.name, r, p): fit for r, fits in group.protocols.items() for p, fit in fits.items()}
    table = results.fits_table(every)
    items.append(dataclasses.replace(table, name=table.name + group.suffix))
    items += [page.preformatted(summary.text(fit)) for fit in group.fits.values()]
    return items


def _prediction_items(group: Group) -> list[Item | str]:
    items: list[Item | str] = []
    for resource, fits in group.protocols.items():
        paper = {"compute": "Figure 2", "data": "Figures 3 and 4"}[resource]
        items.append(loss_figure(list(fits.values()), name=f"prediction_{resource}{group.suffix}", paper=paper))
        for protocol, fit in fits.items():
            title = f"Held-out error, {resource}, {protocol}"
            scores = holdout.score(fit)
            items.append(
                results.held_out_table(scores, name=f"held_out_{resource}_{protocol}{group.suffix}", title=title)
            )
    inter = {r: fits["inter"] for r, fits in group.protocols.items() if "inter" in fits}
    if inter and all(fit.law != "loglinear" for fit in inter.values()):
        own = {r: group.own[r] for r in inter}
        items.append(slope_figure(inter, own, name=f"k_predicted{group.suffix}", paper="Figure 1"))
    return items


def _form_items(group: Group) -> list[Item | str]:
    items: list[Item | str] = []
    for resource, fit in group.fits.items():
        if resource in group.rivals:
            name = f"rivals_{resource}{group.suffix}"
            items.append(results.rivals_table(group.rivals[resource], name=name, resource=resource))
        items.append(page.paragraphs(diagnostics.words(diagnostics.residuals(fit))))
        variants = sensitivity.sensitivity(group.table, resource=resource) if resource in group.rivals else []
        if variants:
            name = f"sensitivity_{resource}{group.suffix}"
            items.append(results.sensitivity_table(variants, name=name, resource=resource))
    found = shapes.decomposed(group.table)
    items.append(shapes.decomposition_picture(found, name=f"decomposition{group.suffix}"))
    if not isinstance(found, str):
        items.append(shapes.decomposition_table(found, name=f"decomposition{group.suffix}"))
    items.extend(
        shapes.sigmoid_table(laws.gather(group.table, resource), name=f"sigmoid_{resource}{group.suffix}")
        for resource in group.fits
    )
    return items


def _experiment_items(data: StudyData) -> list[Item | str]:
    order = models_by_size(data.runs)
    return [
        *group_size_pictures(data.runs), *reuse_pictures(data.runs), *reuse_tables(data.runs),
        *transfer_pictures(data.runs, order),
    ]  # fmt: skip


def _run_items(data: StudyData, grouped: list[Group]) -> list[Item | str]:
    first = {group.name: next(iter(group.fits.values())) for group in grouped}
    real = float(data.table["n_params"].max()) >= 1e8
    others = {
        family: [(1e9 * size, 1 - value) for size, value in sizes.items()]
        for family, sizes in results.PUBLISHED_PASS.items()
        if real and family in ("Qwen3", "GPT-OSS")
    }
    settings = results.settings_table(data)
    return [
        results.end_losses(data.table),
        final_figure(first, others=others, name="final_loss"),
        *([results.published_pass(data.table)] if real else []),
        *training_figures(data),
        *([settings] if settings else []),
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
