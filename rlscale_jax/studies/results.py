"""From finished runs to a study's results: curves.csv, fits.json, figures and the report."""

import pathlib

from rlscale_jax import laws, report
from rlscale_jax.experiment.config import FitConfig, Study
from rlscale_jax.experiment.records import write_json
from rlscale_jax.laws import Fit, summary
from rlscale_jax.report import groups
from rlscale_jax.studies import gather


def write(study: Study, workdir: pathlib.Path) -> list[str]:
    """Gathers what runs have recorded, fits each resource, prints the laws and writes the report.

    Each group of runs (a family, a starting point, a variant of a sweep) has a law of its own: fits.json is that of the
    first, fits_GROUP.json those of further ones.
    Returns what could not be done, in words: a law that the curves at hand do not carry leaves the rest standing.
    """
    for name, rows in gather.write(workdir).items():
        print(f"{rows} evaluations gathered in {workdir / name}")
    try:
        found, problems = groups.in_directory(workdir)
    except ValueError as error:  # no run has come as far as an evaluation
        return [f"no law: {error}"]
    fits: dict[str, dict[str, Fit]] = {}
    for name, table in found.items():
        fits[name], missing = _fit_all(table, study.fit)
        problems += [f"{name}: {problem}" for problem in missing]
    for stale in workdir.glob("fits_*.json"):
        stale.unlink()
    for place, (name, by_resource) in enumerate((n, f) for n, f in fits.items() if f):
        file = "fits.json" if place == 0 else f"fits_{groups.file_name(name)}.json"
        write_json(workdir / file, {resource: fit.to_json() for resource, fit in by_resource.items()})
        if place == 0 or len(set(found[name]["n_params"])) > 1:
            print("\n".join([f"{name}:", *map(summary.text, by_resource.values())]))
    if any(fits.values()):
        print(f"report: {report.write(workdir, fits)}")
    return problems


def _fit_all(table: laws.Table, config: FitConfig) -> tuple[dict[str, Fit], list[str]]:
    """The law for each resource, and why there is none."""
    fits, problems = {}, []
    for resource in config.resources:
        try:
            fits[resource] = _fit(table, resource, config)
        except ValueError as error:
            problems.append(f"no law for {resource}: {error}")
    return fits, problems


def _fit(table: laws.Table, resource: str, config: FitConfig) -> Fit:
    law = config.law if len(set(table["n_params"])) > 1 else "loglinear"
    protocol = laws.Protocol(drop_first=config.drop_first)
    return laws.fit(
        table, resource=resource, law=law, objective=config.objective, protocol=protocol, confidence=config.confidence
    )
