"""Curves to law: fits k(N) and E(N) to learning curves, ours or any CSV; decides for a budget."""

from absl import flags

from rlscale_jax import laws
from rlscale_jax.experiment import flags as experiment_flags
from rlscale_jax.experiment.records import write_json
from rlscale_jax.laws import analysis, published, summary

USAGE = """Fits log10 L = -k(N) log10 X + E(N) to learning curves.

  python -m rlscale_jax.fit --curves=runs/ladder --resource=compute --out=fits.json
  python -m rlscale_jax.fit --curves=a.csv,b.csv --resource=data --protocol=inter --compare
  python -m rlscale_jax.fit --curves=a.csv --decide --budget=1e20      which size, at what loss, for 1e20 FLOPs
  python -m rlscale_jax.fit --curves=a.csv --decide --target_loss=0.4  what budget reaches a loss
  python -m rlscale_jax.fit --reproduce=DIR                            the published fits beside ours

Curves: a study's directory, or CSV with the columns n_params (parameters, 7e9), test_loss (1 - pass@1, in (0, 1]),
compute_flops and/or samples; optional model, step, seed, correct, total."""

_CURVES = flags.DEFINE_list("curves", [], "CSV files or study directories, separated by commas")
_RESOURCE = flags.DEFINE_enum("resource", "compute", list(laws.RESOURCES), "what is spent: FLOPs or prompts")
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
_DROP_FIRST = flags.DEFINE_integer("drop_first", 0, "warm-up points left out of every curve, whatever the protocol")
_INTRA_FIRST = flags.DEFINE_integer("intra_drop_first", 0, "intra: first points left out of each curve")
_INTRA_LAST = flags.DEFINE_integer("intra_drop_last", 80, "intra: last points of each curve, held out")
_CONFIDENCE = flags.DEFINE_float("confidence", 0.9, "of the intervals")
_BOOTSTRAP = flags.DEFINE_list(
    "bootstrap", [], "intervals by resampling runs, questions, or steps (blocks); else profile"
)
_NUM_BOOTSTRAP = flags.DEFINE_integer("num_bootstrap", 1000, "replicates")
_COMPARE = flags.DEFINE_bool("compare", False, "also rival laws, residual diagnostics and sensitivity")
_DECIDE = flags.DEFINE_bool("decide", False, "also the best size for --budget, crossings, what --target_loss costs")
_BUDGET = flags.DEFINE_float("budget", 0.0, "FLOPs (compute) or unique prompts (data) to decide for")
_TARGET = flags.DEFINE_float("target_loss", 0.0, "loss to reach")
_REPRODUCE = flags.DEFINE_string("reproduce", "", "directory with the study's curves: print published against ours")
_OUT = flags.DEFINE_string("out", "", "where to write the fit as JSON; empty: only print it")


def main(argv) -> None:
    del argv
    if _REPRODUCE.value:
        print(published.markdown(_REPRODUCE.value))
        return
    intra = _PROTOCOL.value == "intra"
    first = _DROP_FIRST.value + intra * _INTRA_FIRST.value
    protocol = laws.Protocol(name=_PROTOCOL.value, drop_first=first, drop_last=_INTRA_LAST.value)
    table = laws.read(_CURVES.value)
    fit = laws.fit(table, resource=_RESOURCE.value, law=_LAW.value, objective=_OBJECTIVE.value, protocol=protocol,
                   confidence=_CONFIDENCE.value)  # fmt: skip
    if _BOOTSTRAP.value:
        fit = analysis.resampled(fit, _CURVES.value, over=_BOOTSTRAP.value, num=_NUM_BOOTSTRAP.value)
    found = analysis.analyse(fit, table, rivals=_COMPARE.value)
    parts = [summary.text(fit), summary.held_out(found), *([summary.comparison(found)] if _COMPARE.value else [])]
    if _DECIDE.value:
        parts.append(summary.decision(fit, budget=_BUDGET.value, target_loss=_TARGET.value))
    print("\n\n".join(filter(None, parts)))
    if _OUT.value:
        write_json(_OUT.value, fit.to_json() | found.to_json())


if __name__ == "__main__":
    experiment_flags.run(main, usage=USAGE)
