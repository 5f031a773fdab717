"""Our FLOPs count: loops, branches, kernels and meshes by hand; the update's programs against the closed form."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from rlscale_jax.experiment.config import Experiment, GrpoConfig, MeshConfig, OptimizerConfig
from rlscale_jax.models import from_hf_config, splash
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.planning import flops, shapes
from rlscale_jax.training import update

SQUARE = jax.ShapeDtypeStruct((8, 8), jnp.float32)
ONE = 2 * 8**3  # FLOPs of a product of two of them


def counted(function, *args, **options):
    return flops.count(jax.jit(function).trace(*args).jaxpr, **options)


def test_a_product_and_a_batch_of_products():
    assert counted(jnp.matmul, SQUARE, SQUARE) == ONE
    batch = jax.ShapeDtypeStruct((5, 2, 3), jnp.float32)
    assert counted(lambda a: jnp.einsum("bij,bkj->bik", a, a), batch) == 5 * 2 * 2 * 2 * 3


def test_loops_are_multiplied_out():
    def scanned(x):
        return jax.lax.scan(lambda c, _: (jax.lax.scan(lambda d, _: (d @ d, None), c, length=3)[0], None), x, length=7)

    def looped(x):
        return jax.lax.while_loop(lambda c: c.sum() > 0, lambda c: c @ c, x)

    assert counted(scanned, SQUARE) == 21 * ONE
    assert counted(looped, SQUARE, loop_steps=4) == 4 * ONE


def test_the_costliest_branch_and_the_recomputed_forward_count():
    branched = functools.partial(jax.lax.cond, True, lambda x: x @ x @ x, lambda x: x)
    assert counted(branched, SQUARE) == 2 * ONE
    block = jax.checkpoint(lambda w, x: jnp.sin(jnp.sin(x @ w) @ w).sum())
    assert (
        counted(jax.grad(block), SQUARE, SQUARE) == (2 + 1 + 4) * ONE
    )  # forward, recomputed but for the last product, backward


def test_products_under_shard_map_run_on_every_device():
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    split = jax.shard_map(lambda x: x @ x.T, mesh=mesh, in_specs=P("fsdp"), out_specs=P("fsdp"), check_vma=False)
    assert counted(split, SQUARE) == 8 * 2 * 2 * 8 * 2


def test_a_kernel_without_a_formula_is_refused():
    from jax.experimental import pallas as pl

    def kernel(x, y):
        y[...] = x[...]

    with pytest.raises(NotImplementedError, match="kernel"):
        counted(pl.pallas_call(kernel, out_shape=SQUARE, interpret=True, name="mine"), SQUARE)


@pytest.mark.parametrize("tensor", [1, 2])
@pytest.mark.parametrize(("heads", "remat"), [((4, 2), "full"), ((4, 1), "full"), ((4, 2), "dots")])
def test_update_programs_equal_the_closed_form(tensor, heads, remat):
    architecture = from_hf_config(
        {
            "model_type": "qwen2",
            "vocab_size": 512,
            "hidden_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": heads[0],
            "num_key_value_heads": heads[1],
            "intermediate_size": 384,
        }
    )
    experiment = Experiment(grpo=GrpoConfig(group_size=4, prompts_per_step=8, num_minibatches=2, remat=remat))
    experiment.data.max_prompt_tokens, experiment.sampling.max_new_tokens = 128, 256
    mesh = make_mesh(MeshConfig(tensor=tensor), jax.devices()[:4])
    built = update.build(
        architecture,
        experiment.grpo,
        OptimizerConfig(),
        compute_dtype=jnp.bfloat16,
        shared_prefix_attend=splash.shared_prefix_attend,
    )
    params = shapes.params(architecture, mesh, jnp.float32)
    batch = shapes.batch(experiment, mesh, 4, old=True, ref=True)
    expected = flops.closed_form(experiment, architecture, num_rows=4, num_samples=4)
    with jax.set_mesh(mesh):
        logprobs = flops.count(built.logprobs.trace(params, batch).jaxpr)
        state = shapes.opt_state(built, params, mesh)
        step = flops.count(built.step.trace(state, batch).jaxpr)
    assert logprobs == pytest.approx(expected["logprobs"], rel=0.02)
    assert step == pytest.approx(expected["step"], rel=0.02)
