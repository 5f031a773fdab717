"""Everything that is said about one fit beyond its numbers, gathered for the command and the report."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

from rlscale_jax.laws import answers, comparison, diagnostics, holdout, sensitivity
from rlscale_jax.laws.bootstrap import bootstrap
from rlscale_jax.laws.identifiability import notes
from rlscale_jax.laws.result import Fit
from rlscale_jax.laws.table import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """Held-out scores (inter, intra), residual diagnostics, and, where asked for, rivals and sensitivity."""

    held_out: list[holdout.Score]
    residuals: list[diagnostics.Residuals]
    rivals: list[comparison.Row]
    sensitivity: list[sensitivity.Variant]

    def to_json(self) -> dict:
        """Lists of plain dicts; NaN becomes null."""
        return {field.name: [_plain(row) for row in getattr(self, field.name)] for field in dataclasses.fields(self)}


def analyse(fit: Fit, table: Table, *, rivals: bool) -> Analysis:
    """The analysis of a fit to `table`; `rivals` adds the comparisons that refit (half a second)."""
    return Analysis(
        held_out=holdout.score(fit),
        residuals=diagnostics.residuals(fit),
        rivals=comparison.compare(table, resource=fit.resource, objective=fit.objective) if rivals else [],
        sensitivity=sensitivity.sensitivity(table, resource=fit.resource) if rivals else [],
    )


def resampled(fit: Fit, paths: Sequence[str], *, over: Sequence[str], num: int) -> Fit:
    """The fit with bootstrap intervals; outcomes of questions are read from the one study directory in `paths`."""
    given = None
    if "questions" in over:
        if len(paths) != 1 or not pathlib.Path(paths[0]).is_dir():
            raise ValueError("resampling questions needs --curves=DIR, one study's directory with its outcomes.jsonl")
        given = answers.load(paths[0], fit.fitted)
    fit = dataclasses.replace(fit, region=bootstrap(fit, over=over, num=num, answers=given))
    return dataclasses.replace(fit, notes=notes(fit))


def _plain(row) -> dict:
    values = dataclasses.asdict(row).items()
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values}
