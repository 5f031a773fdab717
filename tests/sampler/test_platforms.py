"""The rollout's programs lower for accelerators that are not here, without what is only for CPUs."""

import jax
import numpy as np
import pytest

from rlscale_jax.sampler import cache, lay_out, programs
from rlscale_jax.sampler.choice import method_and_parameters


def _lowered(model, platform: str, name: str):
    method, parameters = method_and_parameters(0.7, 5, 0.9)
    ints = np.ones(4, np.int32)
    if name == "prefill":
        args = (np.zeros((4, 16), np.int32), ints, np.zeros((4, 2, 2), np.uint32))
        traced = programs.prefill.trace(model.architecture, method, model.params, parameters, *args)
    else:
        a = model.architecture
        caches = [[cache.empty(4, a.num_kv_heads, a.head_dim, slots, model.dtype)] * a.num_layers for slots in (16, 8)]
        rows = programs.Rows(ints, ints, ints, ints, ints > 0, np.zeros((4, 2), np.uint32))
        fixed = (a, method, 8, model.params, parameters, np.zeros(1, np.int32), ints)
        traced = programs.segment.trace(*fixed, *caches, rows)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("name", ["prefill", "segment"])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_programs_lower_for_accelerators(model, platform, name):
    assert "stablehlo.dot_general" in _lowered(lay_out(model), platform, name)


def test_queries_meet_a_cache_together_but_on_cpus(model):
    """Two queries to a key/value head, three parts of the cache, scores and values, two layers."""
    counts = {p: _lowered(lay_out(model), p, "segment").count("stablehlo.dot_general") for p in ("cpu", "cuda")}
    assert counts["cpu"] - counts["cuda"] == 2 * 3 * 2
    assert jax.default_backend() == "cpu"


def test_products_of_one_query_stay_apart_on_gpus_alone(model):
    """XLA for GPUs would join those with history and segment, and so copy the history every step."""
    counts = {p: _lowered(lay_out(model), p, "segment").count("optimization_barrier") for p in ("cpu", "tpu", "cuda")}
    assert counts == {"cpu": 0, "tpu": 0, "cuda": model.architecture.num_layers}
