"""What a fit's numbers do not say by themselves, in words: convergence, bounds, identifiability."""

import numpy as np

from rlscale_jax.laws.result import Fit


def notes(fit: Fit) -> tuple[str, ...]:
    """Remarks on a fit; for a saturating law the first is on N0, unless the search failed."""
    found = []
    if not fit.converged:
        found.append("The fit did not converge: its numbers are where the search stopped, not an optimum.")
    if fit.law == "saturating":
        found.append(saturation(fit))
    sizes = len(np.unique(fit.fitted.n))
    if 1 < sizes == len(fit.theta) and fit.law != "loglinear":
        found.append(f"{sizes} sizes determine {len(fit.theta)} parameters exactly: nothing tests the law's form.")
    at_bound = np.isclose(fit.theta[:, None], fit.slope.bounds, rtol=1e-9, atol=1e-12)
    for name, (low, high) in zip(fit.slope.names, at_bound, strict=True):
        if low or high:
            found.append(f"{name.removeprefix('log_')} ended at its {'lower' if low else 'upper'} bound.")
    if (fit.fitted.num_runs < 2).any():
        found.append(f"Intervals: {fit.region.basis}.")
    return tuple(found)


def saturation(fit: Fit) -> str:
    """How well the data determine the saturation scale N0 of a saturating fit."""
    low, high = fit.intervals["n0"]
    percent = f"{100 * fit.region.confidence:.0f} %"
    smallest, largest = fit.fitted.n.min(), fit.fitted.n.max()
    k_max, n0 = fit.parameters["k_max"], fit.parameters["n0"]
    if k_max <= 0:
        return "K_max is not positive: loss does not fall with the resource, so N0 means nothing."
    if low <= 0 and not np.isfinite(high):
        return (
            f"N0 is not identified: at {percent} nothing from below {smallest:.3g} to beyond {largest:.3g} is excluded."
        )
    if not np.isfinite(high):
        return (
            f"N0 is not identified: k(N) does not visibly saturate over these sizes; at {percent} N0 is above "
            f"{low:.3g} and may be infinite, so only K_max / N0 = {k_max / n0:.3g} per parameter, the slope of k at "
            "small N, is known."
        )
    if low <= 0:
        return f"N0 is not identified: k(N) is flat over these sizes; at {percent} N0 is below {high:.3g} and may be 0."
    seen = " It lies beyond the largest fitted size: saturation is extrapolated, not seen." if n0 > largest else ""
    return f"N0 = {n0:.3g} is identified within a factor {high / low:.2g} ({low:.3g} to {high:.3g}, {percent}).{seen}"
