"""FLOPs counted from a program's own trace: every matrix product times the trips of the loops around it.

A multiplication and an addition are two. Kernels, whose bodies are opaque, are counted by formula from the shapes they
are called with. Products inside `shard_map` are per device and are multiplied by the devices they run on. The count is
of all devices together; element-wise work is left out.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.experiment.flops import ForwardCost
from rlscale_jax.models import Architecture

_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # parameters that hold a called program
# products of [queries x keys x head] that a splash kernel makes for each visible pair
_SPLASH_PRODUCTS = {"fwd": 2, "dq": 3, "dkv": 4}


def count(closed: core.ClosedJaxpr, *, loop_steps: int = 1) -> float:
    """FLOPs of one call; `loop_steps` are the trips of each `while` loop."""
    return _jaxpr(closed.jaxpr, loop_steps)


def _jaxpr(jaxpr: Any, loop_steps: int) -> float:
    return sum(_equation(equation, loop_steps) for equation in jaxpr.eqns)


def _equation(equation: Any, loop_steps: int) -> float:
    name, params = equation.primitive.name, equation.params
    counters: dict[str, Callable[[], float]] = {
        "dot_general": lambda: _dot(equation),
        "pallas_call": lambda: _kernel(equation),
        "scan": lambda: params["length"] * _inner(params["jaxpr"], loop_steps),
        "while": lambda: loop_steps * _inner(params["body_jaxpr"], loop_steps),
        "cond": lambda: max(_inner(branch, loop_steps) for branch in params["branches"]),
        "shard_map": lambda: params["mesh"].size * _inner(params["jaxpr"], loop_steps),
    }
    if name in counters:
        return counters[name]()
    if name.startswith(("conv_general", "ragged_dot")):
        raise NotImplementedError(f"{name} is not counted")
    return sum(_inner(params[key], loop_steps) for key in _INNER if key in params)


def _inner(program: Any, loop_steps: int) -> float:
    return _jaxpr(getattr(program, "jaxpr", program), loop_steps)


def _dot(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def _kernel(equation: Any) -> float:
    """A splash attention kernel over causal rows whose last query sees every key.

    Raises:
      NotImplementedError: a kernel without a formula here.
    """
    name = str(equation.params.get("name_and_src_info", equation.params.get("name", "")))
    kind = next((kind for kind in _SPLASH_PRODUCTS if f"splash_mqa_{kind}" in name), None)
    if kind is None:
        raise NotImplementedError(f"kernel {name} is not counted")
    # the first two arrays of numbers are queries [..., heads, T, H] and keys [..., S, H]
    queries, keys = [v.aval.shape for v in equation.invars if jnp.issubdtype(v.aval.dtype, jnp.floating)][:2]
    num_queries, num_keys, head = queries[-2], keys[-2], queries[-1]
    pairs = num_queries * (num_keys - num_queries) + num_queries * (num_queries + 1) / 2
    return _SPLASH_PRODUCTS[kind] * 2.0 * math.prod(queries[:-2]) * pairs * head


def closed_form(
    experiment: Experiment, architecture: Architecture, *, num_rows: int, num_samples: int
) -> dict[str, float]:
    """FLOPs of the training programs on full rows of one prompt and `num_samples` completions, by the architecture.

    Remat "full" repeats a block's forward except its last product (nothing needs its result), "dots" its attention.
    The splash kernel's backward pass makes 3.5 times the products of its forward one, since two kernels repeat scores.
    """
    cost = ForwardCost.of(architecture)
    prompts = np.full(num_rows, float(experiment.data.max_prompt_tokens))
    completions = np.full((num_rows, num_samples), float(experiment.sampling.max_new_tokens))
    tokens, logits = prompts.sum() + completions.sum(), completions.sum() * cost.per_logits
    pairs = (prompts * (prompts + 1) / 2).sum()
    pairs += (completions * prompts[:, None] + completions * (completions + 1) / 2).sum()
    matrices, attention = tokens * cost.per_token, pairs * cost.per_pair
    last = 2.0 * architecture.num_layers * architecture.hidden_size * architecture.intermediate_size * tokens
    update = 3 * matrices + 4.5 * attention + 3 * logits
    update += {"full": matrices - last + attention, "dots": attention, "none": 0.0}[experiment.grpo.remat]
    return {"logprobs": matrices + attention + logits, "accumulate": update, "step": update}
