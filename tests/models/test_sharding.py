"""Forward and gradients on 1, 2, 4 and 8 devices; layouts as the table says; impossible meshes refused.

`XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.models.test_sharding` prints the matrix of
docs/models.md.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from rlscale_jax import models
from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models import Architecture, Model, attention, decoder
from rlscale_jax.models import mesh as meshes
from rlscale_jax.models.sharding import check_mesh, param_shardings

# As Qwen2.5-3B: 16 query heads on 2 key/value heads. Tied, so that the table is both looked up and multiplied by.
QWEN = Architecture(
    model_type="qwen2", vocab_size=64, hidden_size=32, num_layers=2, num_heads=16, num_kv_heads=2, head_dim=4,
    intermediate_size=48, rms_norm_eps=1e-6, rope_theta=1e4, qkv_bias=True, tie_embeddings=True,
)  # fmt: skip
# Untied, with a vocabulary that nothing divides and 3 key/value heads.
LLAMA = Architecture(
    model_type="llama", vocab_size=61, hidden_size=24, num_layers=2, num_heads=12, num_kv_heads=3, head_dim=6,
    intermediate_size=40, rms_norm_eps=1e-5, rope_theta=1e4, qkv_bias=False, tie_embeddings=False,
)  # fmt: skip
TOKENS = np.random.default_rng(0).integers(0, 61, (8, 8)).astype(np.int32)
# architecture, data, fsdp, tensor
MESHES = [(QWEN, 1, 2, 1), (QWEN, 1, 1, 4), (QWEN, 2, 2, 2), (QWEN, 1, 1, 8), (LLAMA, 1, 2, 4)]
MORE_MESHES = [
    (QWEN, 1, 1, 1), (QWEN, 1, 1, 2), (QWEN, 1, 2, 2), (QWEN, 1, 8, 1), (QWEN, 1, 2, 4), (LLAMA, 1, 4, 2),
    (LLAMA, 4, 2, 1), (LLAMA, 2, 1, 2),
]  # fmt: skip
CASES = [*MESHES, *(pytest.param(case, marks=pytest.mark.slow) for case in MORE_MESHES)]


def mesh_of(data: int, fsdp: int, tensor: int):
    return meshes.make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor), jax.devices()[: data * fsdp * tensor])


@functools.cache
def params_of(architecture):
    """Numpy, and far from what initialisation gives, so that biases and scales matter."""
    rng = np.random.default_rng(1)
    fresh = decoder.init_params(architecture, 0)
    return jax.tree.map(lambda a: np.asarray(a + 0.2 * rng.standard_normal(a.shape), np.float32), fresh)


def loss(architecture, params, tokens):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden, _ = decoder.hidden_states(
        architecture, params, tokens, positions, attention.causal_attend(), compute_dtype=jnp.float32, remat="full"
    )
    logprobs = jax.nn.log_softmax(decoder.unembed(params, hidden))
    return -jnp.mean(jnp.take_along_axis(logprobs[:, :-1], tokens[:, 1:, None], -1)), logprobs


def loss_and_grads(architecture, params, tokens):
    return jax.jit(jax.value_and_grad(loss, argnums=1, has_aux=True), static_argnums=0)(architecture, params, tokens)


@functools.cache
def on_one_device(architecture):
    return jax.device_get(loss_and_grads(architecture, params_of(architecture), TOKENS))


def on_mesh(architecture, sizes):
    mesh = mesh_of(*sizes)
    params = jax.device_put(params_of(architecture), param_shardings(architecture, mesh))
    tokens = jax.device_put(TOKENS, meshes.batch_sharding(mesh))
    with jax.set_mesh(mesh):
        return jax.device_get(loss_and_grads(architecture, params, tokens))


def distances(ours, reference):
    """Largest difference of each array, relative to the array's largest value where that is above 1."""
    return jax.tree.map(lambda a, b: float(np.abs(a - b).max() / max(1.0, np.abs(b).max())), ours, reference)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0].model_type}-{c[1]}x{c[2]}x{c[3]}")
def test_forward_and_gradients_equal_one_device(case):
    architecture, *sizes = case
    apart = distances(on_mesh(architecture, sizes), on_one_device(architecture))
    assert max(jax.tree.leaves(apart)) <= 3e-6


def test_parameters_lie_as_the_table_says():
    shards = jax.tree.map(
        lambda a, place: place.shard_shape(a.shape), params_of(QWEN), param_shardings(QWEN, mesh_of(1, 2, 4))
    )
    layers = shards["layers"]
    assert shards["embed"]["embedding"] == (64 // 4, 32 // 2)
    assert layers["q"]["kernel"] == (2, 32 // 2, 64 // 4)
    assert layers["q"]["bias"] == (2, 64 // 4)
    assert layers["k"]["kernel"] == (2, 32 // 2, 8), "2 key/value heads over tensor=4 are replicated"
    assert layers["v"]["bias"] == (2, 8)
    assert layers["o"]["kernel"] == (2, 64 // 4, 32 // 2)
    assert layers["down"]["kernel"] == (2, 48 // 4, 32 // 2)
    assert layers["attn_norm"]["scale"] == (2, 32)
    split = param_shardings(QWEN, mesh_of(1, 4, 2))["layers"]["k"]["kernel"]
    assert split.shard_shape((2, 32, 8)) == (2, 32 // 4, 8 // 2)
    head = param_shardings(LLAMA, mesh_of(1, 4, 2))["lm_head"]["kernel"]
    assert head.shard_shape((24, 61)) == (24 // 4, 61), "61 rows do not divide over tensor=2"


def test_a_sharded_model_answers_as_a_whole_one():
    lengths = np.array([8, 3, 5, 8, 1, 2, 7, 8])
    whole = models.logits(Model(QWEN, params_of(QWEN)), TOKENS, lengths)
    sharded = jax.device_put(params_of(QWEN), param_shardings(QWEN, mesh_of(1, 2, 4)))
    np.testing.assert_allclose(models.logits(Model(QWEN, sharded), TOKENS, lengths), whole, atol=3e-5)
    odd = models.logits(Model(QWEN, sharded), TOKENS[:3], lengths[:3])  # 3 rows over fsdp=2
    np.testing.assert_allclose(odd, whole[:3], atol=3e-5)


@pytest.mark.parametrize(
    "names, sizes", [(("tensor", "fsdp"), (4, 2)), (("fsdp",), (8,)), (("data", "tensor"), (2, 4))]
)
def test_meshes_made_elsewhere_are_taken(names, sizes, tmp_path):
    """jax.make_mesh gives Explicit axes unless told otherwise, and callers name only those that they split."""
    models.save_pretrained(Model(QWEN, params_of(QWEN)), tmp_path)
    model = models.load_pretrained(tmp_path, dtype="float32", mesh=jax.make_mesh(sizes, names))
    lengths = np.array([8, 3, 5, 8, 1, 2, 7, 8])
    whole = models.logits(Model(QWEN, params_of(QWEN)), TOKENS, lengths)
    np.testing.assert_allclose(models.logits(model, TOKENS, lengths), whole, atol=3e-5)
    given = dict(zip(names, sizes, strict=True))
    shard = model.params["layers"]["q"]["kernel"].sharding.shard_shape((2, 32, 64))
    assert shard == (2, 32 // given.get("fsdp", 1), 64 // given.get("tensor", 1))


def test_axes_with_other_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"mesh axes \['model'\] are not known; name them data, fsdp, tensor"):
        meshes.adopted(jax.make_mesh((8,), ("model",)))


def test_batches_divide_over_data_and_fsdp():
    assert meshes.batch_sharding(mesh_of(2, 2, 2)).shard_shape((8, 5)) == (2, 5)


def test_impossible_meshes_are_refused_with_their_numbers():
    with pytest.raises(ValueError, match="num_attention_heads 12 does not divide over tensor=8"):
        check_mesh(LLAMA, mesh_of(1, 1, 8))
    with pytest.raises(ValueError, match=r"hidden_size 30 does not divide over fsdp=4.*divides 30"):
        check_mesh(Architecture(**{**vars(LLAMA), "hidden_size": 30}), mesh_of(1, 4, 1))
    with pytest.raises(ValueError, match="intermediate_size 42 does not divide over tensor=4"):
        check_mesh(Architecture(**{**vars(LLAMA), "intermediate_size": 42}), mesh_of(1, 1, 4))


def test_an_impossible_mesh_is_refused_before_weights_are_looked_for(tmp_path):
    models.save_pretrained(Model(LLAMA, params_of(LLAMA)), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="num_attention_heads 12 does not divide over tensor=8"):
        models.load_pretrained(tmp_path, dtype=jnp.float32, mesh=mesh_of(1, 1, 8))


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"data": 3, "fsdp": 1, "tensor": 1}, "data=3, fsdp=1, tensor=1 needs 3 devices; there are 8"),
        ({"data": 3, "fsdp": -1, "tensor": 1}, "needs a multiple of 3 devices; there are 8"),
        ({"data": -1, "fsdp": -1, "tensor": 1}, "one of them may be -1"),
        ({"data": 0, "fsdp": -1, "tensor": 1}, "sizes are 1 or more"),
    ],
)
def test_mesh_sizes_must_fit_the_devices(sizes, message):
    with pytest.raises(ValueError, match=message):
        meshes.make_mesh(MeshConfig(**sizes))


def test_minus_one_takes_what_is_left():
    assert dict(meshes.make_mesh(MeshConfig(data=2, fsdp=-1, tensor=2)).shape) == {"data": 2, "fsdp": 2, "tensor": 2}


@pytest.mark.parametrize("data, fsdp, tensor, sampler", [(1, 8, 1, 4), (2, 2, 2, 4), (1, 4, 2, 8)])
def test_a_device_s_heads_in_sampling_are_some_of_those_it_trains(data, fsdp, tensor, sampler):
    mesh = meshes.make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor, sampler_tensor=sampler))
    to_sample = meshes.for_sampling(mesh)
    assert meshes.ways(mesh, "embed") == fsdp and meshes.ways(mesh, "batch") == data * fsdp
    assert (meshes.ways(to_sample, "heads"), meshes.ways(to_sample, "batch")) == (sampler, 8 // sampler)
    assert list(mesh.devices.flat) == list(to_sample.devices.flat), "one program may use both"
    trained, sampled = (
        jax.sharding.NamedSharding(one, P(None, meshes.axes(one, "heads"))).devices_indices_map((1, 16))
        for one in (mesh, to_sample)
    )
    for device, (_, columns) in sampled.items():
        assert set(range(16)[columns]) <= set(range(16)[trained[device][1]])
    spans = [[d.id for d in group] for group in mesh.devices.swapaxes(2, 3).reshape(-1, tensor)]
    assert all(max(span) - min(span) == tensor - 1 for span in spans), "training's tensor is of neighbours"


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"fsdp": 4, "tensor": 2, "sampler_tensor": 3}, "sampler_tensor=3 with fsdp=4, tensor=2: give 0"),
        ({"fsdp": 4, "tensor": 2, "sampler_tensor": 1}, "a multiple of tensor that divides fsdp.tensor=8"),
        ({"fsdp": 8, "tensor": 1, "sampler_tensor": 16}, "sampler_tensor=16"),
        ({"data": 4, "fsdp": 1, "tensor": 2, "sampler_tensor": 4}, "sampler_tensor=4 with fsdp=1"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        meshes.make_mesh(MeshConfig(**sizes))


def test_an_architecture_must_divide_over_the_sampler_s_mesh_too():
    with pytest.raises(ValueError, match="num_attention_heads 12 does not divide over tensor=8"):
        check_mesh(LLAMA, meshes.make_mesh(MeshConfig(fsdp=2, tensor=4, sampler_tensor=8)))


def row(architecture, *sizes) -> str:
    """A line of docs/models.md's sharding matrix."""
    (loss_apart, logprobs_apart), grads_apart = distances(on_mesh(architecture, sizes), on_one_device(architecture))
    heads = f"{architecture.num_heads}/{architecture.num_kv_heads}"
    numbers = f"{loss_apart:.1e} | {logprobs_apart:.1e} | {max(jax.tree.leaves(grads_apart)):.1e}"
    return f"| {architecture.model_type} {heads} | {' | '.join(map(str, sizes))} | {numbers} |"


if __name__ == "__main__":
    print(*(row(*case) for case in sorted([*MESHES, *MORE_MESHES], key=str)), sep="\n")
