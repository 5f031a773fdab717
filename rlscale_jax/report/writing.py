"""Writes a study's report: figures, tables and one self-contained page."""

import pathlib

from rlscale_jax import laws
from rlscale_jax.laws import Fit, summary
from rlscale_jax.report import page, style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.scaling import loss_figure, slope_figure
from rlscale_jax.report.study import StudyData
from rlscale_jax.report.training import training_figures


def write(
    study_dir: str | pathlib.Path, fits: dict[str, Fit] | None = None, *, formats: tuple[str, ...] = ("png", "pdf")
) -> pathlib.Path:
    """Draws DIR/figures and DIR/report.html from what the study's directory holds; returns the page's path.

    Args:
      study_dir: with curves.csv (or runs/*/metrics.jsonl to gather them from).
      fits: by resource ("compute", "data"); None: the default law is fitted here.
      formats: of the figures.

    Raises: FileNotFoundError, ValueError: no curves, or curves that cannot be fitted.
    """
    data = StudyData(pathlib.Path(study_dir))
    fits = fit_all(data.table) if fits is None else fits
    with style.applied():
        pictures = scaling_figures(data, fits) + training_figures(data)
        body = "".join(map(page.picture, pictures))
        for item in pictures:
            if isinstance(item, Picture):
                item.save(data.directory / "figures", formats)
    fitted = "".join(f"<pre>{summary.text(fit)}</pre>\n" for fit in fits.values())
    path = data.directory / "report.html"
    text = page.page(f"Scaling report: {data.directory.resolve().name}", [("The law", fitted), ("Figures", body)])
    path.write_text(text, encoding="utf-8")
    return path


def fit_all(table: laws.Table) -> dict[str, Fit]:
    """The default law for every resource that the table has; a single size gets a slope of its own."""
    resources = [name for name, column in laws.RESOURCES.items() if table.has(column)]
    law = "saturating" if len(set(table["n_params"])) > 1 else "loglinear"
    return {resource: laws.fit(table, resource=resource, law=law) for resource in resources}


def scaling_figures(data: StudyData, fits: dict[str, Fit]) -> list[Picture | Missing]:
    """Loss against each resource, and k(N) over the models' own slopes."""
    own = {r: laws.fit(f.fitted, resource=r, law="loglinear", objective=f.objective) for r, f in fits.items()}
    pictures: list[Picture | Missing] = [loss_figure(fit) for fit in fits.values()]
    if all(fit.law != "loglinear" for fit in fits.values()):
        pictures.append(slope_figure(fits, own))
    return pictures
