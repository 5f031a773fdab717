"""Nothing compiles in steady state, whatever changes from step to step."""

import jax
import numpy as np
import pytest

from rlscale_jax.models import Model
from rlscale_jax.sampler import generate, programs

SETTINGS = {"num_samples": 4, "max_new_tokens": 30, "eos_ids": ()}


@pytest.fixture
def compilations():
    """Names of the programs compiled since the fixture began."""
    names = []

    def listen(event, _secs, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(details.get("fun_name", "?"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def test_a_second_step_compiles_nothing(model, prompts, compilations):
    """Other weights, prompts of other lengths within their bucket, another seed, step, temperature and top-p."""
    generate(model, prompts, temperature=0.9, top_p=0.95, top_k=3, seed=0, **SETTINGS)
    doubled = Model(model.architecture, jax.tree.map(lambda a: a * 1.5, model.params))
    other = [list(np.random.default_rng(1).integers(0, 64, length)) for length in (8, 19, 2, 5, 17)]
    del compilations[:]
    generate(doubled, other, temperature=0.7, top_p=0.8, top_k=5, seed=3, step=9, **SETTINGS)
    assert compilations == []


def test_one_program_a_bucket(model, prompts):
    """40 new tokens are two segments, the first without a history: two programs, however often they run."""
    before = programs.segment._cache_size()
    for seed in range(3):
        generate(model, prompts, **{**SETTINGS, "num_samples": 3, "max_new_tokens": 40}, temperature=1.0, seed=seed)
    assert programs.segment._cache_size() - before == 2
