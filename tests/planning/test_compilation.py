"""Compiling for a plan: what is remembered, and how far a search compiles."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.planning import compilation, estimate, guesses, memory_traffic, programs, search, topologies
from rlscale_jax.planning.estimate import Assumptions
from rlscale_jax.planning.programs import Program

POD = topologies.parse("v5e:2x4")


def program(scale: float) -> Program:
    square = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    return Program(name="one", function=jax.jit(lambda x: scale * (x @ x)), args=(square,), mesh=mesh, runs=1)


def test_an_unchanged_program_is_not_compiled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("RLSCALE_CACHE_DIR", str(tmp_path))
    first = compilation.compile_program(program(2.0))
    assert first.memory and first.memory.arguments == 64 * 64 * 4
    assert first.moved_bytes >= 2 * 64 * 64 * 4  # read and written

    def refuse(*_):
        raise AssertionError("compiled again")

    monkeypatch.setattr(compilation, "_compile", refuse)
    assert compilation.compile_program(program(2.0)) == first
    with pytest.raises(AssertionError, match="compiled again"):
        compilation.compile_program(program(3.0))
    with pytest.raises(AssertionError, match="compiled again"):
        compilation.compile_program(dataclasses.replace(program(2.0), options={"xla_of_another": "choice"}))
    monkeypatch.setenv("RLSCALE_CACHE_DIR", "off")
    with pytest.raises(AssertionError, match="compiled again"):
        compilation.compile_program(program(2.0))


def test_a_search_stops_compiling_a_layout_at_the_first_program_that_does_not_fit(experiment, architecture):
    asked: list[str] = []

    def compiler(candidate_program: Program) -> compilation.Compiled:
        asked.append(candidate_program.name)
        guess = guesses.compiler(experiment, architecture, programs.layout(experiment, jax.devices()))
        return dataclasses.replace(guess(candidate_program), memory=None, over="needs 2GiB of 1GiB")

    tried = search.search(experiment, architecture, POD, jax.devices(), Assumptions(), compiler=compiler)
    assert len(asked) == len(tried) == search.MOST_COMPILED
    assert not any(plan.fits for _, plan in tried)
    fullest = [max(candidate.first.moments, key=lambda m: m.total).name for candidate, _ in tried]
    assert sorted(asked) == sorted(fullest)


def test_a_refined_guess_is_the_compiled_plan(experiment, architecture, compiled_plan):
    guess = guesses.compiler(experiment, architecture, compiled_plan.layout)
    first = estimate.plan(experiment, architecture, POD, compiled_plan.layout, Assumptions(), compiler=guess)
    known = {moment.name: moment for moment in compiled_plan.moments}
    mean = memory_traffic.of_programs(experiment, architecture, compiled_plan.layout)
    at_most = memory_traffic.of_programs(experiment, architecture, compiled_plan.layout, filled=1.0)

    def compiler(wanted: Program) -> compilation.Compiled:
        moment = known[wanted.name]
        parts = moment.parts
        memory = compilation.Memory(
            arguments=sum(wanted.named.values()) + parts["other arguments"],
            new_outputs=parts["results"],
            temporaries=parts["temporaries"],
            code=parts["code"],
        )
        return compilation.Compiled(
            name=wanted.name,
            memory=memory,
            over="",
            compile_secs=moment.compile_secs,
            flops=moment.flops,
            moved_bytes=moment.memory_bytes / (mean[wanted.name] / at_most[wanted.name]),
            traffic=moment.traffic,
            fingerprint=moment.fingerprint,
        )

    assert estimate.refined(first, compiler, progress=lambda _: None).moments == compiled_plan.moments
