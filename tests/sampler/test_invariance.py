"""A sample's tokens depend on (seed, step, prompt id, sample, position) and on nothing else."""

import dataclasses

import jax
import numpy as np
import pytest

from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models import Model
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.models.sharding import param_shardings
from rlscale_jax.sampler import generate

SETTINGS = {"num_samples": 4, "max_new_tokens": 70, "temperature": 1.0, "eos_ids": (5, 9), "seed": 11}


@pytest.fixture
def reference(model, prompts):
    return generate(model, prompts, **SETTINGS)


def _same(found, expected):
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-4)


def test_order_of_prompts(model, prompts, reference):
    order = [3, 0, 4, 2, 1]
    found = generate(model, [prompts[i] for i in order], prompt_ids=order, **SETTINGS)
    np.testing.assert_array_equal(found.tokens, reference.tokens[order])


def test_batch_size_and_padding(model, prompts, reference):
    """A short prompt alone is padded less and decodes in a smaller batch."""
    found = generate(model, prompts[:1], **SETTINGS)
    np.testing.assert_array_equal(found.tokens[0], reference.tokens[0])


def test_beside_a_much_longer_prompt(model, prompts, reference):
    """Every prompt's cache is then eight times as wide, and mostly empty."""
    long = np.random.default_rng(1).integers(0, 64, 57).tolist()  # with 70 new ones just within the model's 128
    found = generate(model, [*prompts, long], **SETTINGS)
    _same(_first(found, len(prompts)), reference)
    alone = generate(model, [long], prompt_ids=[len(prompts)], **SETTINGS)
    np.testing.assert_array_equal(found.tokens[-1], alone.tokens[0])


def _first(rollouts, num_prompts):
    fields = ("tokens", "lengths", "logprobs", "sampling_logprobs", "finish")
    return dataclasses.replace(rollouts, **{name: getattr(rollouts, name)[:num_prompts] for name in fields})


def test_unequal_limits(model, prompts, reference):
    """Sequences that end at any time are compacted away; those that stay do not notice."""
    limits = np.random.default_rng(2).integers(1, 71, (len(prompts), 4))
    limits[0, 0] = 70
    found = generate(model, prompts, **{**SETTINGS, "max_new_tokens": limits})
    assert found.stats.num_regroups > 1
    real = np.arange(70) < np.minimum(limits, reference.lengths)[..., None]
    np.testing.assert_array_equal(found.tokens, np.where(real, reference.tokens, 0))


def test_group_size(model, prompts, reference):
    found = generate(model, prompts, **{**SETTINGS, "num_samples": 2})
    np.testing.assert_array_equal(found.tokens, reference.tokens[:, :2])


def test_waves_and_refill(model, prompts, reference):
    found = generate(model, prompts, wave_sequences=8, **SETTINGS)
    assert found.stats.num_regroups > 2
    _same(found, reference)


@pytest.mark.parametrize("data, fsdp, tensor, sampler", [(2, 2, 2, 2), (1, 2, 4, 4), (4, 2, 1, 1), (2, 4, 1, 2)])
def test_devices(model, prompts, reference, data, fsdp, tensor, sampler):
    """Two key/value heads over four tensor devices are replicated; without `tensor` every device has its own rows; a
    sampler that splits further than the trainer moves the weights to a mesh of its own."""
    mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor, sampler_tensor=sampler))
    params = jax.device_put(model.params, param_shardings(model.architecture, mesh))
    short = {**SETTINGS, "num_samples": 2, "max_new_tokens": 12}
    found = generate(Model(model.architecture, params), prompts, **short)
    np.testing.assert_array_equal(found.tokens, reference.tokens[:, :2, :12])
    np.testing.assert_allclose(found.logprobs, reference.logprobs[:, :2, :12], atol=1e-4)


CHANGES = [{"seed": 12}, {"seed": 11 + 2**32}, {"seed": 2**63 - 1}, {"step": 1}, {"prompt_ids": [5, 6, 7, 8, 9]}]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_draw_depends_on(model, prompts, reference, change):
    found = generate(model, prompts, **{**SETTINGS, **change})
    assert (found.tokens[:, :, 0] != reference.tokens[:, :, 0]).any()


def test_samples_of_a_group_differ(reference):
    assert (reference.tokens[:, 0] != reference.tokens[:, 1]).any()
