"""Scaling laws of RL post-training: equations, fits, doubts, forecasts and decisions. No JAX."""

from rlscale_jax.laws.curves import Curves, gather
from rlscale_jax.laws.fitting import fit
from rlscale_jax.laws.protocols import Protocol
from rlscale_jax.laws.result import Fit, save
from rlscale_jax.laws.table import Table, from_rows, read

__all__ = ["Curves", "Fit", "Protocol", "Table", "fit", "from_rows", "gather", "read", "save"]
