"""Figures, tables and one self-contained HTML page from a study's directory. No JAX."""

from rlscale_jax.report.writing import write

__all__ = ["write"]
