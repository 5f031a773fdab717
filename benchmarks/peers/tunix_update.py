"""google-tunix's trainers: python -m benchmarks.peers.tunix_update W3 (GRPO) or W4 (an AdamW step on sequences)."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tunix.rl import rl_cluster
from tunix.rl.grpo import grpo_learner
from tunix.rl.rollout import base_rollout
from tunix.sft import peft_trainer

from benchmarks import measure, workloads
from benchmarks.peers import tunix
from benchmarks.peers.turns import Turns

NUM_STEPS = 1000


def main(name: str) -> None:
    work = workloads.UPDATES[name]
    measure.serve(_grpo(work).step if work.with_rollout else _sequences(work))


def _sequences(work: workloads.Update):
    """An SFT step, the model's next-token loss over all positions."""
    size = (work.num_prompts, work.prompt_tokens + work.new_tokens)
    model = tunix.build(work.shape, work.dtype, remat=work.remat)
    config = peft_trainer.TrainingConfig(eval_every_n_steps=NUM_STEPS, max_steps=NUM_STEPS)
    trainer = peft_trainer.PeftTrainer(model, optax.adamw(1e-6, weight_decay=0.1), config)
    causal = jnp.tril(jnp.ones((size[1], size[1]), bool))
    constant = {
        "input_mask": jnp.ones(size, bool),
        "positions": jnp.broadcast_to(jnp.arange(size[1]), size),
        "attention_mask": jnp.broadcast_to(causal, (size[0], *causal.shape)),
    }
    trainer.with_gen_model_input_fn(lambda tokens: {"input_tokens": tokens, **constant})
    train_step, _ = trainer.jit_train_and_eval_step()
    rng = np.random.default_rng(0)

    def step() -> None:
        loss = train_step(jnp.asarray(rng.integers(3, work.shape.vocab_size, size), jnp.int32))
        jax.block_until_ready((loss, nnx.state(trainer.model)))

    return step


def _grpo(work: workloads.Update) -> Turns:
    """The learner's own loop; the next turn is taken when it asks for the next batch of prompts."""
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    with mesh:
        actor, reference = (tunix.build(work.shape, work.dtype, remat=work.remat) for _ in range(2))
    roles = rl_cluster.Role
    cluster = rl_cluster.RLCluster(
        actor=actor,
        reference=reference,
        tokenizer=tunix.Ids(),
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh={roles.ACTOR: mesh, roles.REFERENCE: mesh, roles.ROLLOUT: mesh},
            rollout_engine="vanilla",
            offload_to_cpu=False,
            training_config=_training(work),
            rollout_config=_rollout(work),
        ),
    )
    algorithm = grpo_learner.GRPOConfig(num_generations=work.num_samples, num_iterations=1, beta=0.001, epsilon=0.2)
    learner = grpo_learner.GRPOLearner(rl_cluster=cluster, algo_config=algorithm, reward_fns=_reward)
    turns = Turns(lambda: learner.train(batches()))
    _finish_each_step(learner, cluster, turns)

    def batches():
        rng, size = np.random.default_rng(0), (work.num_prompts, work.prompt_tokens)
        for _ in range(NUM_STEPS):
            tokens = rng.integers(3, work.shape.vocab_size, size)
            yield {"prompts": np.array([" ".join(map(str, row)) for row in tokens])}

    return turns


def _finish_each_step(learner, cluster, turns: Turns) -> None:
    run = learner._run_global_step

    def run_and_wait(*args, **kwargs):
        result = run(*args, **kwargs)
        jax.block_until_ready(nnx.state(cluster.actor_trainer.model))
        turns.finished()
        return result

    learner._run_global_step = run_and_wait


def _training(work: workloads.Update) -> rl_cluster.RLTrainingConfig:
    return rl_cluster.RLTrainingConfig(
        actor_optimizer=optax.adamw(1e-6, weight_decay=0.1),
        eval_every_n_steps=NUM_STEPS,
        max_steps=NUM_STEPS,
        mini_batch_size=work.num_prompts,
        train_micro_batch_size=work.num_prompts,
        rollout_micro_batch_size=work.num_prompts,
        compute_logps_micro_batch_size=work.num_prompts,
        metrics_logging_options=None,
        checkpoint_root_directory=None,
    )


def _rollout(work: workloads.Update) -> base_rollout.RolloutConfig:
    return base_rollout.RolloutConfig(
        max_tokens_to_generate=work.new_tokens,
        max_prompt_length=work.prompt_tokens,
        kv_cache_size=work.prompt_tokens + work.new_tokens,
        temperature=1.0,
        top_p=1.0,
        top_k=None,
        eos_tokens=[tunix.NEVER],
    )


def _reward(prompts, completions, **_):
    """Share of even tokens."""
    rows = [[int(word) for word in text.split()] for text in completions]
    return [sum(token % 2 == 0 for token in row) / max(1, len(row)) for row in rows]


if __name__ == "__main__":
    main(sys.argv[1])
