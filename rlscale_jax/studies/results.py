"""From finished runs to a study's results: curves.csv, fits.json, figures and the report."""

import pathlib

from rlscale_jax import laws, report
from rlscale_jax.experiment.config import FitConfig, Study
from rlscale_jax.experiment.records import write_json
from rlscale_jax.laws import Fit, summary
from rlscale_jax.studies import gather


def write(study: Study, workdir: pathlib.Path) -> None:
    """Gathers what runs have recorded, fits each resource, prints the laws and writes the report."""
    rows = gather.write(workdir)
    fits = {resource: _fit(workdir, resource, study.fit) for resource in study.fit.resources}
    write_json(workdir / "fits.json", {resource: fit.to_json() for resource, fit in fits.items()})
    page = report.write(workdir, fits)
    for fit in fits.values():
        print(summary.text(fit))
    print(f"{rows} evaluations in {workdir / 'curves.csv'}; report: {page}")


def _fit(workdir: pathlib.Path, resource: str, config: FitConfig) -> Fit:
    table = laws.read(workdir / "curves.csv")
    law = config.law if len(set(table["n_params"])) > 1 else "loglinear"
    protocol = laws.Protocol(drop_first=config.drop_first)
    return laws.fit(
        table, resource=resource, law=law, objective=config.objective, protocol=protocol, confidence=config.confidence
    )
