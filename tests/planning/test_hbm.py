"""Bytes between chip and memory, read from a compiled program's text: what counts whole, in part, and not at all."""

import jax
import jax.numpy as jnp
import pytest

from rlscale_jax.planning import hbm, hlo

FUSED = """\
%slices (param_0: f32[28,8,128], param_1: s32[]) -> f32[8,128] {
  %param_0 = f32[28,8,128]{2,1,0:T(8,128)} parameter(0)
  %param_1 = s32[]{:T(128)} parameter(1)
  ROOT %slice = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%param_0, %param_1), dynamic_slice_sizes={1,8,128}
}

%updates (param_0: f32[28,8,128], param_1: f32[1,8,128], param_2: s32[]) -> f32[28,8,128] {
  %param_0 = f32[28,8,128]{2,1,0:T(8,128)} parameter(0)
  %param_1 = f32[1,8,128]{2,1,0:T(8,128)} parameter(1)
  %param_2 = s32[]{:T(128)} parameter(2)
  ROOT %set = f32[28,8,128]{2,1,0:T(8,128)} dynamic-update-slice(%param_0, %param_1, %param_2)
}

%renames (param_0: f32[28,8,128]) -> f32[28,1024] {
  %param_0 = f32[28,8,128]{2,1,0:T(8,128)} parameter(0)
  ROOT %flat = f32[28,1024]{1,0} bitcast(%param_0)
}

%multiplies (param_0: f32[28,8,128]) -> f32[28] {
  %param_0 = f32[28,8,128]{2,1,0:T(8,128)} parameter(0)
  %flat = f32[28,1024]{1,0} fusion(%param_0), kind=kLoop, calls=%renames
  ROOT %sum = f32[28]{0:S(1)} reduce(%flat), dimensions={1}, to_apply=%add
}

%gathers (param_0: bf16[8,16], param_1: bf16[8,128]) -> bf16[8,128] {
  %param_0 = bf16[8,16]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %param_1 = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(1)
  ROOT %custom = bf16[8,128]{1,0:T(8,128)(2,1)} custom-call(%param_1), custom_call_target="AsyncCollectiveDone"
}
"""
BODY = """\
%condition (wide: (s32[], f32[4])) -> pred[] {{
  %constant.3 = s32[]{{:T(128)}} constant(28)
  %counter = s32[]{{:T(128)}} get-tuple-element(%wide), index=0
  ROOT %lt = pred[]{{:T(512)}} compare(%counter, %constant.3), direction=LT
}}

%body (wide: (s32[], f32[4])) -> (s32[], f32[4]) {{
  %wide = (s32[], f32[28,8,128]) parameter(0)
  %index = s32[]{{:T(128)S(6)}} get-tuple-element(%wide), index=0
  %stack = f32[28,8,128]{{2,1,0:T(8,128)}} get-tuple-element(%wide), index=1
{line}
}}

ENTRY %main (p: f32[4]) -> f32[4] {{
  %while = (s32[], f32[28,8,128]) while(%tuple), condition=%condition, body=%body
}}
"""
ROWS = "f32[1,8,128]{2,1,0:T(8,128)}"
PART = 8 * 128 * 4


def program(line: str) -> str:
    """A loop whose body is this line, and what it calls."""
    called = [part for part in FUSED.split("\n\n") if part[1:].partition(" ")[0] in {"renames", *hlo.called(line)}]
    return "\n\n".join([*called, BODY.format(line=line)])


@pytest.mark.parametrize(
    ("line", "moved"),
    [
        (f"  %a = {ROWS[:-1]}S(1)}} fusion(%stack, %index), kind=kLoop, calls=%slices", PART),  # its result stays here
        (f"  %a = {ROWS} fusion(%stack, %index), kind=kLoop, calls=%slices", 2 * PART),
        (f"  %a = {ROWS} dynamic-slice(%stack, %index), dynamic_slice_sizes={{1,8,128}}", 2 * PART),
        ("  %a = f32[28,8,128]{2,1,0:T(8,128)} add(%stack, %stack)", 3 * 28 * PART),
        ("  %a = f32[4,100]{1,0:T(8,128)} broadcast(%index), dimensions={}", PART),  # one tile, whole
        ("  %a = f32[28,8,128]{1,2,0} bitcast(%stack)", 0),
        ("  %a = f32[28]{0:S(1)} fusion(%stack), kind=kOutput, calls=%multiplies", 28 * PART),
        (
            f"  %a = (({ROWS.replace('1,8', '28,8')}), {ROWS[:-1]}S(1)}}, s32[]{{:S(2)}}) slice-start(%stack)",
            PART,
        ),
        (
            f"  %new = {ROWS} broadcast(%index), dimensions={{}}\n"
            "  ROOT %a = f32[28,8,128]{2,1,0:T(8,128)} fusion(%stack, %new, %index), kind=kLoop, calls=%updates",
            3 * PART,  # made, read, put in its place
        ),
        (
            f"  %a = ({ROWS[:-1]}S(1)}}, {ROWS}, u32[]{{:S(2)}}) copy-start(%stack)\n"
            f"  %b = {ROWS[:-1]}S(1)}} copy-done(%a)",
            PART,
        ),
        (
            "  %own = bf16[8,16]{1,0:T(8,128)(2,1)S(1)} bitcast(%stack)\n"
            "  %all = bf16[8,128]{1,0:T(8,128)(2,1)} bitcast(%stack)\n"
            "  %a = bf16[8,128]{1,0:T(8,128)(2,1)} fusion(%own, %all), kind=kCustom, "
            "output_to_operand_aliasing={{}: (1, {})}, calls=%gathers",
            0,  # counted where it began
        ),
    ],
)
def test_what_an_instruction_in_a_loop_of_28_moves(line, moved):
    assert hbm.moved_bytes(program(line)) == pytest.approx(28 * moved, abs=28 * 2048)  # the loop counts its own trips


def test_a_real_program_moves_about_what_it_must():
    """A scan over 16 layers of weights [64 64]: each is read once, the activations [8 64] about twice a layer."""
    weights = jax.ShapeDtypeStruct((16, 64, 64), jnp.float32)
    x = jax.ShapeDtypeStruct((8, 64), jnp.float32)
    step = jax.jit(lambda x, weights: jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0])
    must = 16 * (64 * 64 + 2 * 8 * 64) * 4
    text = step.lower(x, weights).compile().as_text()
    assert text and must <= hbm.moved_bytes(text) <= 4 * must


def test_loops_whose_length_is_not_written_take_what_is_given():
    text = program("  %a = f32[28,8,128]{2,1,0:T(8,128)} add(%stack, %stack)").replace("constant(28)", "x(28)")
    assert hbm.moved_bytes(text, loop_steps=5) == pytest.approx(5 * 3 * 28 * PART, rel=0.01)
    assert hlo.trips(hlo.computations(text), 5)["body"] == 5
