"""From finished runs to a study's results: curves.csv, fits.json, figures and the report."""

import pathlib

from rlscale_jax import laws, report
from rlscale_jax.experiment.config import FitConfig, Study
from rlscale_jax.experiment.records import write_json
from rlscale_jax.laws import Fit, summary
from rlscale_jax.studies import gather


def write(study: Study, workdir: pathlib.Path) -> list[str]:
    """Gathers what runs have recorded, fits each resource, prints the laws and writes the report.

    Returns what could not be done, in words: a law that the curves at hand do not carry leaves the rest standing.
    """
    rows = gather.write(workdir)
    print(f"{rows} evaluations gathered in {workdir / 'curves.csv'}")
    fits: dict[str, Fit] = {}
    problems = []
    for resource in study.fit.resources:
        try:
            fits[resource] = _fit(workdir, resource, study.fit)
            print(summary.text(fits[resource]))
        except ValueError as error:
            problems.append(f"no law for {resource}: {error}")
    if fits:
        write_json(workdir / "fits.json", {resource: fit.to_json() for resource, fit in fits.items()})
        print(f"report: {report.write(workdir, fits)}")
    return problems


def _fit(workdir: pathlib.Path, resource: str, config: FitConfig) -> Fit:
    table = laws.read(workdir / "curves.csv")
    law = config.law if len(set(table["n_params"])) > 1 else "loglinear"
    protocol = laws.Protocol(drop_first=config.drop_first)
    return laws.fit(
        table, resource=resource, law=law, objective=config.objective, protocol=protocol, confidence=config.confidence
    )
