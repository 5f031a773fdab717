"""Curves to law: fits k(N) and E(N) to learning curves, ours or any CSV; decides for a budget."""

from absl import flags

from rlscale_jax import laws
from rlscale_jax.experiment import flags as experiment_flags
from rlscale_jax.experiment.records import write_json
from rlscale_jax.laws import published, request, reuse

USAGE = """Fits log10 L = -k(N) log10 X + E(N) to learning curves.

  python -m rlscale_jax.fit --curves=runs/ladder --resource=compute --out=fits.json
  python -m rlscale_jax.fit --curves=a.csv,b.csv --resource=data --protocol=inter --compare
  python -m rlscale_jax.fit --curves=a.csv --decide --budget=1e20      which size, at what loss, for 1e20 FLOPs
  python -m rlscale_jax.fit --curves=a.csv --decide --target_loss=0.4  what budget reaches a loss
  python -m rlscale_jax.fit --curves=a.csv --law=decomposition         a law with a floor (or sigmoid)
  python -m rlscale_jax.fit --curves=a.csv --joint                     one k(N) for compute and data
  python -m rlscale_jax.fit --curves=reuse.csv --law=reuse             k and E by reuse factor (tau, step, test_loss)
  python -m rlscale_jax.fit --curves=a.csv --findings                  the paper's findings, judged on these curves
  python -m rlscale_jax.fit --reproduce=DIR                            the published fits beside ours

Curves: a study's directory, or CSV with the columns n_params (parameters, 7e9), test_loss (1 - pass@1, in (0, 1]),
compute_flops and/or samples; optional model, step, seed, correct, total."""

_CURVES = flags.DEFINE_list("curves", [], "CSV files or study directories, separated by commas")
_MODELS = flags.DEFINE_string("models", "", "only models in whose name this regular expression is found")
_RESOURCE = flags.DEFINE_enum("resource", "compute", list(laws.RESOURCES), "what is spent: FLOPs or prompts")
_LAW = flags.DEFINE_enum("law", "saturating", list(request.LAWS), "k(N); loglinear: k free; forms with a floor; reuse")
_OBJECTIVE = flags.DEFINE_enum(
    "objective", "robust", list(laws.OBJECTIVES), "robust: log loss, weighted; published: raw-loss MSE"
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
_JOINT = flags.DEFINE_bool("joint", False, "also whether the laws of compute and data are one, and their joint fit")
_FORECASTS = flags.DEFINE_bool("forecasts", False, "also forecasts made early in these curves, against what came")
_FINDINGS = flags.DEFINE_bool("findings", False, "only judge the paper's findings on these curves")
_REUSE = flags.DEFINE_list("reuse", [], "with --findings: CSV of a reuse study (tau, step, test_loss)")
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
    text, result = _judge() if _FINDINGS.value else request.answer(_request())
    print(text)
    if _OUT.value:
        write_json(_OUT.value, result)


def _request() -> request.Request:
    first = _DROP_FIRST.value + (_PROTOCOL.value == "intra") * _INTRA_FIRST.value
    return request.Request(
        protocol=laws.Protocol(name=_PROTOCOL.value, drop_first=first, drop_last=_INTRA_LAST.value),
        paths=_CURVES.value, models=_MODELS.value, resource=_RESOURCE.value, law=_LAW.value, objective=_OBJECTIVE.value,
        confidence=_CONFIDENCE.value, bootstrap=_BOOTSTRAP.value, num_bootstrap=_NUM_BOOTSTRAP.value,
        compare=_COMPARE.value, joint=_JOINT.value, forecasts=_FORECASTS.value, decide=_DECIDE.value,
        budget=_BUDGET.value, target_loss=_TARGET.value,
    )  # fmt: skip


def _judge() -> tuple[str, dict]:
    from rlscale_jax.report import findings  # its part imports the plotting library, which takes a second

    rows = reuse.reuse(reuse.read(_REUSE.value)) if _REUSE.value else []
    found = findings.from_curves(laws.read(_CURVES.value), objective=_OBJECTIVE.value, reuse=rows)
    return findings.text(found), findings.to_json(found)


if __name__ == "__main__":
    experiment_flags.run(main, usage=USAGE)
