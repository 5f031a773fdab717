"""What a run holds and computes: no reference where no KL is paid; the sampler's weights are the trainer's."""

import dataclasses
import gc

import jax
import pytest

from rlscale_jax.models import Model
from rlscale_jax.training import assets, loop, run


def ready(tiny, tiny_assets, **grpo):
    experiment = assets.ensure(tiny.experiment(num_steps=1), tiny_assets, log_path=tiny_assets / "log.txt")
    experiment.grpo = dataclasses.replace(experiment.grpo, **grpo)
    return experiment


def one_step(experiment, directory):
    """Bytes that a run holds before its first step, the log-probability passes of that step, and its metrics."""
    gc.collect()
    before, passes = sum(a.nbytes for a in jax.live_arrays()), []
    with run.opened(experiment, directory, jax.devices()[:1]) as parts:

        def counted(params, batch):
            passes.append(params)
            return parts.programs.logprobs(params, batch)

        watched = dataclasses.replace(parts, programs=dataclasses.replace(parts.programs, logprobs=counted))
        state = watched.initial_state()
        gc.collect()
        held = sum(a.nbytes for a in jax.live_arrays()) - before
        collected = watched.collect(watched.policy(state), 1)
        scored = watched.score(state, collected)
        num_params_bytes = sum(a.nbytes for a in jax.tree.leaves(state["params"]))
        return held / num_params_bytes, len(passes), watched.update(state, collected, scored)[1]


def test_without_a_kl_term_no_reference_is_held_and_none_is_computed(tiny, tiny_assets, tmp_path):
    """Parameters and two moments are three times the parameters' size; a reference is one more."""
    held, passes, row = one_step(ready(tiny, tiny_assets, kl_coef=0.0, num_minibatches=1), tmp_path)
    assert held == pytest.approx(3, abs=0.2) and passes == 0 and row["actor/kl_loss"] == 0
    held, passes, _ = one_step(ready(tiny, tiny_assets), tmp_path)
    assert held == pytest.approx(4, abs=0.2) and passes == 4  # old and reference, of two mini-batches


def test_a_sampler_with_other_weights_is_refused_before_step_0(tiny, tiny_assets, tmp_path, monkeypatch):
    policy = run.Run.policy

    def other(self, state):
        made = policy(self, state)
        return Model(made.architecture, jax.tree.map(lambda a: a * 1.001, made.params))

    monkeypatch.setattr(run.Run, "policy", other)
    with pytest.raises(RuntimeError, match=r"the sampler's weights .* are not the trainer's"):
        loop.train(ready(tiny, tiny_assets), tmp_path, devices=jax.devices()[:1])
