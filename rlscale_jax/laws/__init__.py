"""Scaling laws of RL post-training: equations, fits, doubts, forecasts and decisions. No JAX."""

from rlscale_jax.laws.curves import MIN_POINTS, RESOURCES, Curves, gather
from rlscale_jax.laws.fitting import OBJECTIVES, fit
from rlscale_jax.laws.forecast import Forecast, forecast
from rlscale_jax.laws.forms import FORMS, Form, fit_form
from rlscale_jax.laws.protocols import PROTOCOLS, Protocol
from rlscale_jax.laws.result import Fit
from rlscale_jax.laws.slopes import LAWS
from rlscale_jax.laws.table import Table, from_rows, read

__all__ = [
    "FORMS",
    "LAWS",
    "MIN_POINTS",
    "OBJECTIVES",
    "PROTOCOLS",
    "RESOURCES",
    "Curves",
    "Fit",
    "Forecast",
    "Form",
    "Protocol",
    "Table",
    "fit",
    "fit_form",
    "forecast",
    "from_rows",
    "gather",
    "read",
]
