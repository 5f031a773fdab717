"""Curves to law: fits k(N) and E(N) to learning curves, from our runs or anyone's CSV."""

import pathlib

from absl import flags

from rlscale_jax import laws
from rlscale_jax.experiment import flags as experiment_flags
from rlscale_jax.experiment.records import write_json
from rlscale_jax.laws import summary

USAGE = """Fits log10 L = -k(N) log10 X + E(N) to learning curves.

  python -m rlscale_jax.fit --curves=runs/ladder --resource=compute
  python -m rlscale_jax.fit --curves=a.csv,b.csv --resource=data --protocol=inter --out=fits.json

Curves: a study's directory, or CSV with the columns n_params (parameters, 7e9), test_loss (1 - pass@1, in (0, 1]),
compute_flops and/or samples; optional model, step, seed, correct, total."""

_CURVES = flags.DEFINE_list("curves", [], "CSV files or study directories, separated by commas")
_RESOURCE = flags.DEFINE_enum("resource", "compute", ["compute", "data"], "what loss falls with: FLOPs or prompts seen")
_LAW = flags.DEFINE_enum("law", "saturating", list(laws.LAWS), "family of k(N); loglinear: k free for each model")
_OBJECTIVE = flags.DEFINE_enum(
    "objective",
    "robust",
    list(laws.OBJECTIVES),
    "robust: log loss, binomial and Huber weights; published: raw-loss MSE",
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol", "full", list(laws.PROTOCOLS), "full; inter: largest size held out; intra: late points held out"
)
_DROP_FIRST = flags.DEFINE_integer("drop_first", 0, "warm-up points left out of every curve")
_INTRA_FIRST = flags.DEFINE_integer("intra_drop_first", 0, "intra: first points left out of each curve")
_INTRA_LAST = flags.DEFINE_integer("intra_drop_last", 80, "intra: last points of each curve, held out")
_CONFIDENCE = flags.DEFINE_float("confidence", 0.9, "of the intervals")
_OUT = flags.DEFINE_string("out", "", "where to write the fit as JSON; empty: only print it")


def main(argv) -> None:
    del argv
    intra = _PROTOCOL.value == "intra"
    protocol = laws.Protocol(
        name=_PROTOCOL.value,
        drop_first=_DROP_FIRST.value + intra * _INTRA_FIRST.value,
        drop_last=_INTRA_LAST.value,
    )
    fit = laws.fit(
        laws.read(_CURVES.value),
        resource=_RESOURCE.value,
        law=_LAW.value,
        objective=_OBJECTIVE.value,
        protocol=protocol,
        confidence=_CONFIDENCE.value,
    )
    print(summary.text(fit))
    if _OUT.value:
        write_json(pathlib.Path(_OUT.value), fit.to_json())


if __name__ == "__main__":
    experiment_flags.run(main, usage=USAGE)
