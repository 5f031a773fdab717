"""How far rollouts depend on arithmetic alone: python -m benchmarks.agreement [--dtype=bfloat16]

The same requests in other batches (waves, one prompt at a time) and in float32 draw from the same random numbers, so
that tokens differ only where rounding moves a probability across a draw. The last line is JSON: for each comparison
the rate a token at which sequences part (first differences over tokens compared), and how far the sampler's
log-probabilities are from a forward pass over the whole sequence in the same dtype. A small model with weights large
enough for distributions that differ from position to position.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import ours, workloads
from rlscale_jax.models import Model, logits, runtime
from rlscale_jax.sampler import Rollouts, generate, lay_out

SHAPE = workloads.Shape(
    vocab_size=64, hidden_size=128, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=256
)
NUM_PROMPTS, NUM_SAMPLES, NEW_TOKENS, WEIGHTS = 16, 8, 96, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    dtype = jnp.dtype(parser.parse_args().dtype)
    runtime.start()
    model = ours.random_model(SHAPE)
    model = Model(model.architecture, jax.tree.map(lambda a: WEIGHTS * a if a.ndim > 1 else a, model.params))
    narrow = Model(model.architecture, jax.tree.map(lambda a: a.astype(dtype), model.params))
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, SHAPE.vocab_size, size).tolist() for size in rng.integers(17, 32, NUM_PROMPTS)]
    whole = _sample(narrow, prompts)
    waves = _sample(narrow, prompts, wave_sequences=4 * NUM_SAMPLES)
    alone = [_sample(narrow, [prompt], prompt_ids=[i]).tokens for i, prompt in enumerate(prompts)]
    line = {
        "dtype": dtype.name,
        "tokens": int(whole.tokens.size),
        "parting_rate_waves": _parting_rate(whole.tokens, waves.tokens),
        "parting_rate_alone": _parting_rate(whole.tokens, np.concatenate(alone)),
        "parting_rate_float32": _parting_rate(whole.tokens, _sample(model, prompts).tokens),
        "mean_logprob": round(float(whole.logprobs.mean()), 4),
    }
    print(json.dumps(line | _teacher_forcing(narrow, prompts, whole)))


def _sample(model: Model, prompts: list[list[int]], **more) -> Rollouts:
    settings = {"num_samples": NUM_SAMPLES, "max_new_tokens": NEW_TOKENS, "temperature": 1.0, "eos_ids": (), "seed": 0}
    return generate(lay_out(model), prompts, **settings, **more)


def _parting_rate(first: np.ndarray, second: np.ndarray) -> float:
    """First differences over tokens that were drawn after equal ones, [P G T] each."""
    parted = np.cumsum(first != second, axis=-1)
    compared = np.sum(parted == 0) + np.sum(parted[..., -1] > 0)
    return float(np.sum(parted[..., -1] > 0) / compared)


def _teacher_forcing(model: Model, prompts: list[list[int]], rollouts: Rollouts) -> dict[str, float]:
    errors = []
    for prompt, tokens, found in zip(prompts, rollouts.tokens, rollouts.logprobs, strict=True):
        rows = np.zeros((NUM_SAMPLES, 32 + NEW_TOKENS), np.int32)
        rows[:, : len(prompt)] = prompt
        rows[:, len(prompt) : len(prompt) + NEW_TOKENS] = tokens
        full = logits(model, jnp.asarray(rows), jnp.full(NUM_SAMPLES, len(prompt) + NEW_TOKENS))
        plain = np.asarray(jax.nn.log_softmax(full))[:, len(prompt) - 1 : len(prompt) - 1 + NEW_TOKENS]
        errors.append(np.abs(np.take_along_axis(plain, tokens[..., None], -1)[..., 0] - found))
    return {"logprob_error_mean": float(np.mean(errors)), "logprob_error_max": float(np.max(errors))}


if __name__ == "__main__":
    main()
