"""Collectives read from compiled programs: kinds, axes, loops and bytes, on real programs and on a TPU's text."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.planning import collectives

MESH = make_mesh(MeshConfig(fsdp=4, tensor=2))
TPU_TEXT = """\
%fused (param.1: bf16[8,128]) -> bf16[32,128] {
  %ag.1 = bf16[32,128]{1,0} all-gather(%param.1), channel_id=7, replica_groups=[2,4]<=[4,2]T(1,0), dimensions={0}
}

%all-reduce-scatter (input: f32[64,8]) -> f32[8,8] {
  %all-reduce.9 = f32[64,8]{1,0} all-reduce(%input), channel_id=10, replica_groups=[1,8]<=[8], to_apply=%add
  ROOT %slice.2 = f32[8,8]{1,0} dynamic-slice(%all-reduce.9, %index, %zero), dynamic_slice_sizes={8,8}
}

%condition (wide: (s32[], f32[4])) -> pred[] {
  %constant.3 = s32[]{:T(128)} constant(28)
  %counter = s32[]{:T(128)} get-tuple-element(%wide), index=0
  ROOT %lt = pred[]{:T(512)} compare(%counter, %constant.3), direction=LT, metadata={op_name="cond/lt"}
}

%body (wide: (s32[], f32[4])) -> (s32[], f32[4]) {
  %ag.2 = bf16[32,128]{1,0} fusion(%x), kind=kCustom, calls=%fused
  %ag.3 = bf16[32,128]{1,0} all-gather(%x), channel_id=7, replica_groups=[2,4]<=[4,2]T(1,0), dimensions={0}
  %ar = f32[16]{0} all-reduce(%y), channel_id=8, replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %while = (s32[], f32[4]) while(%tuple), condition=%condition, body=%body
  %scattered = f32[8,8]{1,0} fusion(%z), kind=kCustom, calls=%all-reduce-scatter
  %permute = bf16[64]{0} collective-permute(%z), channel_id=9, source_target_pairs={{0,1},{1,0}}
}
"""


def by_kind(found):
    return {(one.kind, one.axes): one for one in found}


def test_loops_channels_and_groups_of_a_tpu_s_text():
    found = by_kind(collectives.read(TPU_TEXT, MESH))
    gather = found["all-gather", "fsdp"]
    assert (gather.count, gather.group) == (28, 4)  # once a trip, though its channel stands twice
    assert gather.bytes_sent == 28 * 32 * 128 * 2 * 3 / 4
    reduce = found["all-reduce", "tensor"]
    assert (reduce.count, reduce.bytes_sent) == (28, 28 * 2 * 16 * 4 / 2)
    scattered = found["reduce-scatter", "fsdp+tensor"]
    assert (scattered.count, scattered.bytes_sent) == (1, 64 * 8 * 4 * 7 / 8)
    assert found["collective-permute", "tensor"].bytes_sent == 128


RING_TEXT = """\
%cond_ag (wide: (f32[8,8], u32[], s32[])) -> pred[] {
  %constant.5 = u32[]{:T(128)} constant(7), metadata={op_name="dot"}
  %wide = (f32[8,8]{1,0}, u32[]{:T(128)}, /*index=2*/s32[]{:T(128)}) parameter(0)
  %steps = u32[]{:T(128)} get-tuple-element(%wide), index=1
  ROOT %compare = pred[]{:T(512)} compare(%steps, %constant.5), direction=LT, metadata={op_name="dot"}
}

%body_ag (wide.1: (f32[8,8], u32[], s32[])) -> (f32[8,8], u32[], s32[]) {
  %constant.6 = u32[]{:T(128)} constant(2)
  %wide.1 = (f32[8,8]{1,0}, u32[]{:T(128)}, /*index=2*/s32[]{:T(128)}) parameter(0)
  %part = f32[8,8]{1,0} get-tuple-element(%wide.1), index=0
  %steps.1 = u32[]{:T(128)} get-tuple-element(%wide.1), index=1
  %other = s32[]{:T(128)} get-tuple-element(%wide.1), index=2
  %sent = f32[8,8]{1,0} collective-permute(%part), channel_id=3, source_target_pairs={{0,2},{2,4},{4,6},{6,0}}
  %advanced = u32[]{:T(128)} add(%steps.1, %constant.6), metadata={op_name="dot"}
  ROOT %next = (f32[8,8]{1,0}, u32[]{:T(128)}, /*index=2*/s32[]{:T(128)}) tuple(%sent, %advanced, %other)
}

ENTRY %main (p: f32[8,8]) -> f32[8,8] {
  %while.1 = (f32[8,8]{1,0}, u32[]{:T(128)}, s32[]{:T(128)}) while(%init), condition=%cond_ag, body=%body_ag
}
"""


def test_a_product_split_over_a_ring_sends_at_every_step():
    """Its counter has no sign and takes two steps a trip: 0, 2, 4, 6 are below 7."""
    (sent,) = collectives.read(RING_TEXT, MESH)
    assert (sent.kind, sent.axes, sent.count, sent.bytes_sent) == ("collective-permute", "fsdp", 4, 4 * 8 * 8 * 4)
    other = RING_TEXT.replace("direction=LT", "direction=NE")
    assert collectives.read(other, MESH, loop_steps=9)[0].count == 9


def compiled(function, spec, out):
    array = jax.ShapeDtypeStruct((64, 64), jnp.float32, sharding=NamedSharding(MESH, spec))
    lowered = jax.jit(function, out_shardings=NamedSharding(MESH, out)).lower(array)
    return collectives.read(lowered.compile().as_text(), MESH)


def test_a_reduction_over_one_axis():
    (one,) = compiled(lambda x: x.sum(axis=0), P("fsdp", "tensor"), P("tensor"))
    assert (one.kind, one.axes, one.group, one.count) == ("all-reduce", "fsdp", 4, 1)
    assert one.bytes_sent == 2 * 32 * 4 * 3 / 4


def test_a_gather_in_a_scan_runs_as_often_as_the_scan():
    def function(x):
        def step(carry, _):
            full = jax.lax.with_sharding_constraint(carry, NamedSharding(MESH, P(None, "tensor")))
            new = jnp.sin(full @ full.T @ full)
            return jax.lax.with_sharding_constraint(new, NamedSharding(MESH, P("fsdp", "tensor"))), None

        return jax.lax.scan(step, x, length=5)[0]

    found = by_kind(compiled(function, P("fsdp", "tensor"), P("fsdp", "tensor")))
    gather, reduce = found["all-gather", "fsdp"], found["all-reduce", "tensor"]
    assert (gather.count, gather.bytes_sent) == (5, pytest.approx(5 * 64 * 32 * 4 * 3 / 4))
    assert (reduce.count, reduce.bytes_sent) == (5, pytest.approx(5 * 2 * 16 * 64 * 4 / 2))


def test_sums_of_equal_size_that_shard_map_gives_one_channel_count_each():
    def function(x):
        own = lambda x: jax.lax.psum(jnp.sin(jax.lax.psum(x, "fsdp")), "fsdp")  # noqa: E731
        return jax.shard_map(own, mesh=MESH, in_specs=P("fsdp"), out_specs=P(), check_vma=False)(x)

    (one,) = compiled(function, P("fsdp"), P())
    assert (one.kind, one.axes, one.count) == ("all-reduce", "fsdp", 2)
    assert one.bytes_sent == 2 * 2 * 16 * 64 * 4 * 3 / 4


def test_a_program_on_one_device_has_none():
    assert compiled(jnp.sin, P(), P()) == ()
