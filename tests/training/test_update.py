"""One update against PyTorch's, and against itself however the mini-batch is cut, ordered, padded or sharded."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models import attention, cudnn
from rlscale_jax.models import mesh as meshes
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.models.sharding import param_shardings
from rlscale_jax.training import batch as batches
from rlscale_jax.training import update


@pytest.fixture(scope="module")
def programs(update_case):
    return build(update_case)


def build(case, *, attend=attention.shared_prefix_attend, **changes):
    config = dataclasses.replace(case.grpo, **changes)
    parts = (case.architecture, config, case.optimizer)
    return update.build(*parts, compute_dtype=jnp.float32, shared_prefix_attend=attend)


def run(case, programs, micro_batches):
    """Params, metrics after one update on the micro-batches."""
    state, metrics = programs.update(programs.init_state(case.params()), micro_batches)
    return state["params"], jax.device_get(metrics)


@pytest.fixture(scope="module")
def whole(update_case, programs):
    return run(update_case, programs, [update_case.batch])


def assert_same(first, second, *, atol=2e-6):
    """Of (params, metrics)."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4), first, second)
    furthest = [
        max((np.abs(np.subtract(a, b)).max() for a, b in zip(*map(jax.tree.leaves, parts), strict=True)), default=0.0)
        for parts in zip(first, second, strict=True)
    ]
    print("largest difference of a weight {:.1e}, of a metric {:.1e}".format(*furthest))  # for docs; pytest -s


def test_advantages_and_logprobs_are_torchs(update_case, programs, golden):
    np.testing.assert_allclose(update_case.batch.advantages, golden["advantages"], rtol=1e-5)
    logprobs = programs.logprobs(update_case.params(), update_case.batch)
    np.testing.assert_allclose(logprobs, golden["logprobs"], atol=5e-6)


def test_micro_batches_add_up_in_float32(update_case, programs):
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), update_case.params())
    accumulated = programs.start(params)
    for _ in range(2):
        accumulated = jax.eval_shape(programs.accumulate, params, accumulated, update_case.batch)
    assert {a.dtype for a in jax.tree.leaves(accumulated["gradient"])} == {jnp.dtype(jnp.float32)}


def test_metrics_and_updated_weights_are_torchs(update_case, whole, golden):
    params, metrics = whole
    for name in ("pg_loss", "kl_loss", "entropy", "ppo_kl", "grad_norm"):
        np.testing.assert_allclose(metrics[f"actor/{name}"], golden[name], rtol=1e-4, err_msg=name)
    # Adam's first step is lr * sign(g) where |g| >> eps: 1e-2 a weight, met here to 1e-5.
    assert_same((params, {}), (update_case.params_after(), {}), atol=1e-5)


@pytest.mark.parametrize("cuts", [[[0, 1], [2, 3]], [[2], [1], [0], [3]]])
def test_micro_batches_change_nothing(update_case, programs, whole, cuts):
    """Sequences differ in length, so a mean of micro-batch means would differ."""
    parts = [batches.take(update_case.batch, cut) for cut in cuts]
    assert_same(run(update_case, programs, parts), whole)


def test_order_and_padding_change_nothing(update_case, programs, whole):
    reordered = batches.take(update_case.batch, [2, 0, 3, 1])
    samples = {
        field.name: getattr(reordered, field.name)[:, [1, 2, 0]]
        for field in dataclasses.fields(reordered)
        if not field.name.startswith("prompt")
    }
    padded = batches.fit_to_buckets(dataclasses.replace(reordered, **samples))
    assert padded.completion_tokens.shape[-1] > update_case.batch.completion_tokens.shape[-1]
    assert_same(run(update_case, programs, [padded]), whole)


def test_what_stands_in_padding_changes_nothing(update_case, programs, whole):
    """Not even token 0, which is a real token here, or the eos: masks come from lengths."""
    wide = batches.fit_to_buckets(update_case.batch)
    past = np.arange(wide.completion_tokens.shape[-1]) >= wide.completion_lengths[..., None]
    prompt_past = np.arange(wide.prompt_tokens.shape[-1]) >= wide.prompt_lengths[:, None]
    noisy = dataclasses.replace(
        wide,
        completion_tokens=np.where(past, 17, wide.completion_tokens),
        prompt_tokens=np.where(prompt_past, 11, wide.prompt_tokens),
        old_logprobs=np.where(past, np.nan, wide.old_logprobs),
    )
    assert_same(run(update_case, programs, [noisy]), whole)


def test_shared_prompts_equal_the_plain_computation(update_case, programs, whole):
    """Every sample in a row of its own, with its own copy of the prompt."""
    plain = batches.split_groups(update_case.batch, 12)
    assert plain.completion_tokens.shape[:2] == (12, 1)
    assert_same(run(update_case, programs, [plain]), whole)


@pytest.mark.parametrize(("remat", "chunk_tokens"), [("full", 1), ("dots", 1000)])
def test_remat_and_chunks_change_nothing(update_case, whole, remat, chunk_tokens):
    programs = build(update_case, remat=remat, logprob_chunk_tokens=chunk_tokens)
    assert_same(run(update_case, programs, [update_case.batch]), whole)


@pytest.mark.parametrize("remat", ["full", "dots", "none"])
def test_layers_as_straight_code_change_nothing_and_are_still_made_again(update_case, whole, remat):
    programs = build(update_case, remat=remat, unroll_layers=True)
    assert_same(run(update_case, programs, [update_case.batch]), whole)
    state, batch = jax.eval_shape(lambda: (programs.init_state(update_case.params()), update_case.batch))
    text = programs.step.lower(state, batch).as_text()
    again = 0 if remat == "none" else update_case.architecture.num_layers
    assert text.count("optimization_barrier") == again  # without one a compiler may merge what is made twice


def test_rows_as_cudnn_wants_them_change_nothing(update_case, whole):
    attend = functools.partial(cudnn.shared_prefix_attend, implementation="xla")
    assert_same(run(update_case, build(update_case, attend=attend), [update_case.batch]), whole)


def test_update_lowers_for_gpus(update_case):
    """As they have it: layers as straight code, the head's gradient added within its product."""
    abstract, params = jax.eval_shape(lambda: update_case.batch), jax.eval_shape(update_case.params)
    programs = build(update_case, unroll_layers=True)
    traced = programs.step.trace(jax.eval_shape(programs.init_state, params), abstract)
    loops = {
        name: traced.lower(lowering_platforms=(name,)).as_text().count("stablehlo.while") for name in ("cuda", "cpu")
    }
    assert loops["cpu"] - loops["cuda"] == 1


@pytest.mark.parametrize(
    "shape",
    [
        (2, 2, 2),
        (3, 1, 1),
        *(pytest.param(shape, marks=pytest.mark.slow) for shape in [(1, 2, 1), (2, 1, 2), (3, 2, 1)]),
    ],
)
def test_devices_change_nothing(update_case, whole, shape):
    axes = dict(zip(("data", "fsdp", "tensor"), shape, strict=True))
    mesh = make_mesh(MeshConfig(**axes), jax.devices()[: np.prod(shape)])
    assert_same(run_on(mesh, update_case, update_case.batch), whole)


def test_a_mesh_that_is_not_the_sampler_s_changes_nothing(update_case, whole):
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=1, sampler_tensor=2), jax.devices()[:4])
    assert mesh.axis_names[-1] == "fsdp_inner"
    assert_same(run_on(mesh, update_case, update_case.batch), whole)


def run_on(mesh, case, *micro_batches):
    """As `run`, of micro-batches laid out on a mesh."""
    programs = build(case)
    with jax.set_mesh(mesh):
        params = jax.device_put(case.params(), param_shardings(case.architecture, mesh))
        placed = [batches.place(batch, mesh) for batch in micro_batches]
        logprobs = programs.logprobs(params, placed[0])
        state, metrics = programs.update(programs.init_state(params), placed)
    assert logprobs.sharding.is_equivalent_to(placed[0].sampler_logprobs.sharding, 3)
    return jax.device_get(state["params"]), jax.device_get(metrics)


def test_micro_batches_on_devices_change_nothing(update_case, programs):
    """The second has a device all of whose completions are outside of the loss, the other's of unequal lengths."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=1), jax.devices()[:2])
    rest, last = (batches.take(update_case.batch, cut) for cut in ([0, 1], [2, 3]))
    nothing = dataclasses.replace(last, loss_mask=last.loss_mask & [[True], [False]])
    expected = run(update_case, programs, [rest, nothing])
    assert_same(run_on(mesh, update_case, rest, nothing), expected)


@pytest.mark.parametrize("alone", [2**20, 100])
def test_devices_that_split_rows_alone_meet_once(update_case, whole, monkeypatch, alone):
    """They exchange all small gradients as one array, each large one, and the metrics' sums."""
    monkeypatch.setattr(meshes, "_SMALL", alone)
    mesh = make_mesh(MeshConfig(data=2, fsdp=1), jax.devices()[:2])
    assert_same(run_on(mesh, update_case, update_case.batch), whole)
    programs = build(update_case)  # of its own: traces are kept
    with jax.set_mesh(mesh):
        params = jax.device_put(update_case.params(), param_shardings(update_case.architecture, mesh))
        num_alone = sum(p.size > alone for p in jax.tree.leaves(params))
        inputs = programs.init_state(params), batches.place(update_case.batch, mesh)
        main = programs.step.lower(*inputs).compile().as_text().split("ENTRY")
    exchanged = [re.findall(r" (all-\w+|reduce-scatter|collective-permute)\((.*?)\)", text) for text in main]
    assert not any(exchanged[:-1])  # none in a loop
    arrays = [kind for kind, operands in exchanged[-1] for _ in operands.split(", ")]
    assert sorted(arrays) == ["all-gather"] + ["all-reduce"] * (1 + num_alone)


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", range(1, 9))
def test_one_to_eight_devices_change_nothing(update_case, whole, num_devices):
    """The batch 70 times over, 840 sequences, has the same token means and so the same update."""
    many = batches.take(update_case.batch, np.arange(280) % 4)
    mesh = make_mesh(MeshConfig(data=num_devices, fsdp=1), jax.devices()[:num_devices])
    assert_same(run_on(mesh, update_case, many), whole)


@pytest.mark.parametrize("num_devices", [5, 7])
def test_devices_that_nothing_divides_over_are_refused(update_case, num_devices):
    with pytest.raises(ValueError, match=f"4 prompts with 3 samples do not divide over {num_devices} shards"):
        batches.split_groups(update_case.batch, num_devices)


def test_eight_shards_cut_groups_where_prompts_do_not_suffice(update_case, programs):
    """4 prompts over 8 shards: groups of 3 do not divide, groups of 2 do."""
    with pytest.raises(ValueError, match="4 prompts with 3 samples do not divide over 8 shards"):
        batches.split_groups(update_case.batch, 8)
    pairs = jax.tree.map(lambda a: a[:, :2] if a.ndim > 1 and a.shape[:2] == (4, 3) else a, update_case.batch)
    single = run(update_case, programs, [pairs])
    assert_same(run_on(make_mesh(MeshConfig(fsdp=8)), update_case, pairs), single)


def masked(batch, mask):
    return dataclasses.replace(batch, loss_mask=np.asarray(mask, bool))


def test_filtered_completions_leave_the_denominator(update_case, programs):
    """A batch with prompt 2 masked is the batch without prompt 2, in every metric and weight."""
    mask = np.ones((4, 3), bool)
    mask[2] = False
    kept = run(update_case, programs, [batches.take(update_case.batch, [0, 1, 3])])
    assert_same(run(update_case, programs, [masked(update_case.batch, mask)]), kept)


def test_metrics_cover_all_micro_batches(update_case, programs, whole):
    """The KL of a part alone is another one; the sum over parts is not the last part's."""
    parts = [batches.take(update_case.batch, [0, 1]), batches.take(update_case.batch, [2, 3])]
    last = run(update_case, programs, parts[1:])[1]["actor/kl_loss"]
    assert abs(last - whole[1]["actor/kl_loss"]) > 1e-4
    np.testing.assert_allclose(
        run(update_case, programs, parts)[1]["actor/kl_loss"], whole[1]["actor/kl_loss"], rtol=1e-5
    )


@pytest.mark.parametrize("num_parts", [1, 2])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_nonfinite_step_changes_nothing_and_is_counted(update_case, programs, num_parts, poison):
    advantages = update_case.batch.advantages.copy()
    advantages[1, 1] = poison
    bad = dataclasses.replace(update_case.batch, advantages=advantages)
    parts = [batches.take(bad, rows) for rows in np.split(np.arange(4), num_parts)]
    state, _ = programs.update(programs.init_state(update_case.params()), [update_case.batch])
    before = jax.tree.map(np.array, state)
    for count in (1, 2):
        state, metrics = programs.update(state, parts)
        assert metrics["actor/nonfinite"] == count
    for name in ("params", "opt_state", "step"):
        jax.tree.map(np.testing.assert_array_equal, state[name], before[name])
    state, metrics = programs.update(state, [update_case.batch])
    assert (int(state["nonfinite"]), int(state["step"])) == (0, 2)


def test_a_batch_without_counted_tokens_changes_nothing(update_case, programs):
    state = programs.init_state(update_case.params())
    before = jax.tree.map(np.array, state)
    state, metrics = programs.update(state, [masked(update_case.batch, np.zeros((4, 3)))])
    jax.tree.map(np.testing.assert_array_equal, state, before)
    assert metrics["actor/loss"] == 0


def test_on_policy_needs_no_old_logprobs(update_case, programs):
    """With old log-probabilities from the same weights, or without any, the update is the same."""
    logprobs = programs.logprobs(update_case.params(), update_case.batch)
    given = dataclasses.replace(update_case.batch, old_logprobs=np.array(logprobs))
    absent = dataclasses.replace(update_case.batch, old_logprobs=None)
    assert_same(run(update_case, programs, [absent]), run(update_case, programs, [given]))


def test_with_logprobs_scores_each_micro_batch(update_case, programs):
    bare = dataclasses.replace(update_case.batch, old_logprobs=None, ref_logprobs=None)
    minibatches = [[batches.take(bare, [0, 1]), batches.take(bare, [2])], [batches.take(bare, [3])]]
    scored = programs.with_logprobs(minibatches, ref_params=update_case.params())
    whole = np.asarray(programs.logprobs(update_case.params(), bare))
    assert [[micro.old_logprobs for micro in part] for part in scored] == [[None, None], [None]]
    np.testing.assert_allclose(scored[0][1].ref_logprobs[0], whole[2], atol=2e-6)


def test_programs_lower_from_shapes_alone(update_case):
    """As `plan` does: no array exists."""
    programs = build(update_case)
    abstract = jax.eval_shape(lambda: update_case.batch)
    params = jax.eval_shape(update_case.params)
    state = jax.eval_shape(programs.init_state, params)
    accumulated = jax.eval_shape(programs.start, params)
    for lowered in (
        programs.step.lower(state, abstract),
        programs.logprobs.lower(params, abstract),
        programs.accumulate.lower(params, accumulated, abstract),
        programs.apply.lower(state, accumulated),
    ):
        assert lowered.as_text()


def test_completions_have_no_gradient_from_each_other_nor_from_their_future(update_case, programs):
    """Changing one completion's last token leaves every other log-probability as it was, bit by bit."""
    batch = update_case.batch
    before = np.asarray(programs.logprobs(update_case.params(), batch))
    tokens = batch.completion_tokens.copy()
    place = (1, 2, batch.completion_lengths[1, 2] - 1)
    tokens[place] = (tokens[place] + 1) % 29
    after = np.asarray(programs.logprobs(update_case.params(), dataclasses.replace(batch, completion_tokens=tokens)))
    assert set(zip(*np.nonzero(before != after), strict=True)) == {place}


def test_mean_metrics(update_case):
    rows = [{"a": np.float32(1), "b_max": np.float32(5), "actor/nonfinite": np.int32(3)}]
    rows += [{"a": np.float32(2), "b_max": np.float32(4), "actor/nonfinite": np.int32(0)}]
    assert update.mean_metrics(rows) == {"a": 1.5, "b_max": 5.0, "actor/nonfinite": 3.0}
