"""A whole plan on virtual devices: what is held, whether it fits, how time and cost follow from its programs."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from rlscale_jax.experiment.config import CheckpointConfig
from rlscale_jax.planning import (
    estimate,
    guesses,
    picture,
    presentation,
    programs,
    roofline,
    search,
    shapes,
    topologies,
)
from rlscale_jax.planning.estimate import Assumptions
from rlscale_jax.training import batch

POD = topologies.parse("v5e:2x4")


def test_memory_at_each_moment(compiled_plan, architecture):
    moments = {moment.name: moment for moment in compiled_plan.moments}
    assert set(moments) == {"reshard", "reshard ends", "prefill", "segment", "fold", "logprobs", "step"}
    share = architecture.num_params * 4 / 8
    for name, moment in moments.items():  # weights and moments are held or passed at every moment
        assert moment.parts["weights"] == pytest.approx(share, rel=0.02), name
        assert moment.parts["optimiser"] == pytest.approx(2 * share, rel=0.02), name
        assert moment.parts["reference"] == pytest.approx(share, rel=0.02), name
    # 16 sequences over 4 batch shards, 32 slots of 2 layers x 1 of 2 heads x 64 x (key, value), float32
    assert moments["segment"].parts["cache"] == 4 * 32 * 2 * 64 * 2 * 4
    assert moments["segment"].parts["sampler weights"] == pytest.approx(architecture.num_params * 4 / 2, rel=0.02)
    assert all(m.total == sum(m.parts.values()) and m.parts["temporaries"] >= 0 for m in moments.values())
    assert moments["step"].runs == 2 and moments["logprobs"].runs == 4 and moments["segment"].runs == 2 * 2


def test_a_sampler_that_splits_further_is_planned_on_its_own_mesh(experiment, architecture, compiled_plan):
    """Half the weights a device while sampling, as many in training; what is moved is in the plan."""
    experiment.mesh.tensor, experiment.mesh.sampler_tensor = 2, 4
    layout = programs.layout(experiment, jax.devices())
    assert layout.name == "mesh 1x4x2, sampler 1x2x4, waves of 16"
    plan = estimate.plan(experiment, architecture, POD, layout, Assumptions())
    one, other = ({moment.name: moment for moment in made.moments} for made in (compiled_plan, plan))
    split, whole = (moments["segment"].parts["sampler weights"] for moments in (other, one))
    assert split == pytest.approx(whole / 2, rel=0.25), "2 key/value heads over 4 devices are whole"
    assert other["step"].parts["weights"] == one["step"].parts["weights"]
    assert other["step"].flops == one["step"].flops
    assert {"fsdp", "fsdp_inner"} & {axis for t in other["reshard"].traffic for axis in t.axes.split("+")}
    assert plan.fits and plan.phases["reshard"] > 0


def test_it_fits_only_below_the_limit(compiled_plan):
    assert compiled_plan.fits
    small = dataclasses.replace(POD, chip=dataclasses.replace(POD.chip, hbm_bytes=compiled_plan.peak.total - 1))
    assert not dataclasses.replace(compiled_plan, pod=small).fits
    over = dataclasses.replace(compiled_plan.moments[0], over="needs 2GiB of 1GiB")
    assert not dataclasses.replace(compiled_plan, moments=(over,)).fits


def test_time_and_cost_follow_from_the_programs(experiment, architecture, compiled_plan):
    plan, efficiency = compiled_plan, roofline.Efficiency()
    moments = {moment.name: moment for moment in plan.moments}
    assert plan.phases["update"] == pytest.approx(2 * moments["step"].cost.expected(efficiency))
    assert plan.phases["logprobs"] == pytest.approx(4 * moments["logprobs"].cost.expected(efficiency))
    hours = (10 * plan.iteration_secs + plan.phases["evaluation"]) / 3600
    assert plan.chip_hours == pytest.approx(hours * 8)
    assert plan.floor_secs < plan.iteration_secs
    shorter = estimate.plan(
        *(experiment, architecture, POD, plan.layout, Assumptions(mean_prompt_tokens=16, mean_completion_tokens=32)),
        compiler=guesses.compiler(experiment, architecture, plan.layout),
    )
    full = estimate.plan(
        *(experiment, architecture, POD, plan.layout, Assumptions()),
        compiler=guesses.compiler(experiment, architecture, plan.layout),
    )
    assert shorter.phases["decode"] == pytest.approx(full.phases["decode"] / 2)
    assert shorter.phases["prefill"] == full.phases["prefill"]
    assert 0.5 < shorter.phases["update"] / full.phases["update"] < 0.55


def test_a_guess_without_compiling_is_near_the_compiler_s(experiment, architecture, compiled_plan):
    guess = guesses.compiler(experiment, architecture, compiled_plan.layout)
    guessed = estimate.plan(experiment, architecture, POD, compiled_plan.layout, Assumptions(), compiler=guess)
    arguments = ("weights", "optimiser", "reference", "sampler weights", "prompt cache", "cache", "other arguments")
    for one, other in zip(guessed.moments, compiled_plan.moments, strict=True):
        known, compiled = (sum(m.parts.get(name, 0) for name in arguments) for m in (one, other))
        assert known == pytest.approx(compiled, rel=0.02), one.name
        if one.name in ("logprobs", "step", "segment", "prefill"):
            assert one.flops == pytest.approx(other.flops, rel=0.3), one.name


def test_bfloat16_programs_trace(experiment, architecture):
    experiment.model.compute_dtype = "bfloat16"
    for program in estimate.all_programs(experiment, architecture, programs.layout(experiment, jax.devices())):
        program.trace()


def test_groups_are_cut_over_the_shards_as_the_run_cuts_them(experiment):
    experiment.grpo.micro_batch_prompts = 2
    mesh = programs.layout(experiment, jax.devices()).mesh
    planned = shapes.batch(experiment, mesh, 2, old=True, ref=True)
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes.batch(experiment, mesh, 4, old=True, ref=True))
    two = jax.tree.map(lambda a: a[:2], zeros)
    assert jax.tree.map(np.shape, batch.split_groups(two, 4)) == jax.tree.map(lambda a: a.shape, planned)
    assert planned.completion_tokens.shape == (4, 2, 64)


def test_impossible_layouts_name_the_numbers(experiment):
    experiment.grpo.group_size, experiment.grpo.micro_batch_prompts = 3, 1
    with pytest.raises(ValueError, match=r"1 prompts with 3 samples .* data\*fsdp=4"):
        programs.layout(experiment, jax.devices())
    experiment.grpo.group_size, experiment.grpo.micro_batch_prompts = 4, 0
    experiment.sampling.wave_sequences = 24
    with pytest.raises(ValueError, match="wave_sequences=24 is 6 groups"):
        programs.layout(experiment, jax.devices())


def test_search_orders_what_fits_by_time(experiment, architecture):
    tried = search.search(experiment, architecture, POD, jax.devices(), Assumptions(), compiler=None)
    assert len({candidate.name for candidate, _ in tried}) == len(tried) == 3
    secs = [plan.iteration_secs for _, plan in tried]
    assert secs == sorted(secs) and all(plan.fits for _, plan in tried)
    others = search.candidates(experiment, architecture, POD, jax.devices(), Assumptions())
    assert all(candidate.first.iteration_secs >= secs[0] for candidate in others)
    small = dataclasses.replace(POD, chip=dataclasses.replace(POD.chip, hbm_bytes=1000))
    tried = search.search(experiment, architecture, small, jax.devices(), Assumptions(), compiler=None)
    assert not any(plan.fits for _, plan in tried)


def test_json_has_fits_at_its_top_level(compiled_plan):
    numbers = json.loads(presentation.to_json(compiled_plan, notes=["n"], runners_up=[("other", compiled_plan)]))
    assert next(iter(numbers)) == "fits" and numbers["fits"] is True
    assert numbers["peak_bytes"] == compiled_plan.peak.total
    assert numbers["tried"][0]["layout"] == "other"
    assert sum(numbers["phases"].values()) == pytest.approx(numbers["secs_per_iteration"])


def test_page_and_table_say_the_same(compiled_plan):
    page = presentation.html(compiled_plan, title="a <title>", notes=["a note"], runners_up=[])
    assert "a &lt;title&gt;" in page and "a note" in page
    text = presentation.text(presentation.summary(compiled_plan))
    assert text.splitlines()[0].split() == ["fits", "yes"]
    for row in presentation.moments(compiled_plan)[1:]:
        assert row[0] in page and row[2] in page
    assert 'src="data:image/png;base64,' in page


def test_the_picture_shows_all_bytes_and_seconds(compiled_plan):
    memory, time = picture.picture(compiled_plan).figure.axes
    for row, moment in enumerate(compiled_plan.moments):
        shown = sum(bar.get_width() for bar in memory.patches if round(bar.get_y() + bar.get_height() / 2) == row)
        assert shown == pytest.approx(moment.total / 2**30)
    assert [bar.get_width() for bar in time.patches] == pytest.approx(list(compiled_plan.phases.values()))


def test_checkpoints_are_state_over_hosts(compiled_plan, architecture):
    assert compiled_plan.checkpoint_bytes == pytest.approx(3 * 4 * architecture.num_params, rel=0.02)
    assert compiled_plan.checkpoint_secs == pytest.approx(compiled_plan.checkpoint_bytes / 1e9)
    assert compiled_plan.phases["checkpoint"] == pytest.approx(
        compiled_plan.checkpoint_bytes / 10e9 / CheckpointConfig().every_steps
    )


def test_links_of_a_torus():
    assert roofline.link_bandwidth(topologies.parse("v5e:8x8"), 8) == 50e9  # one dimension, no way round
    assert roofline.link_bandwidth(topologies.parse("v5e:16x16"), 16) == 2 * 50e9
    assert roofline.link_bandwidth(topologies.parse("v5p:8x8x8"), 512) == 6 * 100e9
