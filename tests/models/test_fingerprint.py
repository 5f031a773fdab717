"""The fingerprint of weights: every bit counts, where they lie and who holds them does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models import Architecture, Model, decoder
from rlscale_jax.models.fingerprint import fingerprint
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.models.sharding import param_shardings
from rlscale_jax.sampler import lay_out, programs

ARCHITECTURE = Architecture(
    model_type="qwen2",
    vocab_size=16,
    hidden_size=8,
    num_layers=3,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    intermediate_size=16,
    rms_norm_eps=1e-6,
    rope_theta=1e4,
    qkv_bias=True,
    tie_embeddings=True,
    max_positions=32,
)


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(lambda a: a + 0.25, decoder.init_params(ARCHITECTURE, 0))


def test_one_bit_anywhere_changes_it(params):
    known = {fingerprint(params)}
    leaves, tree = jax.tree.flatten(params)
    for index, leaf in enumerate(leaves):
        changed = np.array(leaf)
        changed.reshape(-1)[(index * 31) % leaf.size] = np.nextafter(changed.reshape(-1)[(index * 31) % leaf.size], 9)
        known.add(fingerprint(jax.tree.unflatten(tree, [*leaves[:index], jnp.asarray(changed), *leaves[index + 1 :]])))
    assert len(known) == len(leaves) + 1


def test_the_order_of_weights_counts():
    assert fingerprint({"w": jnp.arange(6.0)}) != fingerprint({"w": jnp.arange(6.0)[::-1]})


def test_the_mesh_does_not_change_it(params):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    spread = jax.device_put(params, param_shardings(ARCHITECTURE, mesh))
    assert len(spread["embed"]["embedding"].sharding.device_set) == 8
    assert fingerprint(spread) == fingerprint(params)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_samplers_copy_has_the_trainers(params, dtype):
    whole = lay_out(Model(ARCHITECTURE, params), dtype).params
    copy = {name: whole[name] for name in params}  # without the head that it may have of its own
    assert isinstance(copy["layers"], list)
    assert fingerprint(copy) == fingerprint(params, dtype=dtype)
    copy["layers"][0], copy["layers"][1] = copy["layers"][1], copy["layers"][0]
    assert fingerprint(copy) != fingerprint(params, dtype=dtype)


def test_kernels_in_tiles_have_the_trainers(params):
    copy = programs.lay_out(params, dtype=jnp.dtype("float32"), cut=True)
    assert copy["layers"][0]["up"]["kernel"].ndim == 3
    assert fingerprint({name: copy[name] for name in params}) == fingerprint(params)


def test_a_state_with_scalars():
    state = {"step": jnp.int32(3), "params": {"w": jnp.ones(4)}}
    assert fingerprint(state) != fingerprint(state | {"step": jnp.int32(4)})
