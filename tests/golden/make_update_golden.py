"""Writes tests/golden/update.npz: one GRPO update of a tiny Qwen2, by PyTorch and transformers, in float64.

Nothing of this package is used: the model is Hugging Face's, one sequence at a time without padding or sharing of
prompts; the loss is a loop over tokens; the update is torch's AdamW after clip_grad_norm_.
Run: python tests/golden/make_update_golden.py   (needs torch and transformers)
"""

import pathlib

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

PROMPTS, SAMPLES, VOCAB, WIDTH = 4, 3, 29, 6
CLIP, DUAL_CLIP, KL_COEF, KL_CLAMP = 0.2, 3.0, 0.05, 10.0
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-2, 0.1, 1.0


def make_model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    model = Qwen2ForCausalLM(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def make_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (PROMPTS, SAMPLES)
    return {
        "prompt_lengths": rng.integers(2, 6, PROMPTS),
        "prompt_tokens": rng.integers(0, VOCAB, (PROMPTS, 5)),
        "completion_lengths": rng.integers(1, WIDTH + 1, shape),
        "completion_tokens": rng.integers(0, VOCAB, (*shape, WIDTH)),
        "rewards": np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]], np.float64),
        "old_noise": rng.normal(size=(*shape, WIDTH)) * 0.5,
        "ref_noise": rng.normal(size=(*shape, WIDTH)) * 0.5,
    }


def completion_logprobs(model, data, prompt: int, sample: int):
    """Log-probabilities and entropies of one completion's tokens."""
    start = int(data["prompt_lengths"][prompt])
    length = int(data["completion_lengths"][prompt, sample])
    text = np.concatenate([data["prompt_tokens"][prompt, :start], data["completion_tokens"][prompt, sample, :length]])
    tokens = torch.tensor(text)
    table = torch.log_softmax(model(tokens[None]).logits[0, start - 1 : -1], dim=-1)
    return table.gather(1, tokens[start:, None])[:, 0], -(table.exp() * table).sum(-1)


def token_loss(logprob, old, ref, advantage):
    ratio = torch.exp(logprob - old)
    policy = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - CLIP, 1 + CLIP))
    if advantage < 0:
        policy = torch.min(policy, -DUAL_CLIP * advantage)
    difference = ref - logprob
    return policy, (difference.exp() - difference - 1).clamp(-KL_CLAMP, KL_CLAMP)


def main() -> None:
    model, data = make_model(), make_data()
    initial = {f"before/{name}": value.detach().numpy().copy() for name, value in model.named_parameters()}
    rewards = torch.tensor(data["rewards"])
    advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)
    logprobs = np.zeros((PROMPTS, SAMPLES, WIDTH))
    policies, kls, entropies, log_ratios = [], [], [], []
    for prompt, sample in np.ndindex(PROMPTS, SAMPLES):
        scored, entropy = completion_logprobs(model, data, prompt, sample)
        logprobs[prompt, sample, : len(scored)] = scored.detach().numpy()
        for t, logprob in enumerate(scored):
            old = logprob.detach() + data["old_noise"][prompt, sample, t]
            ref = logprob.detach() + data["ref_noise"][prompt, sample, t]
            policy, kl = token_loss(logprob, old, ref, advantages[prompt, sample])
            policies.append(policy)
            kls.append(kl)
            log_ratios.append(logprob.detach() - old)
        entropies.extend(entropy.detach())
    pg_loss, kl_loss = torch.stack(policies).mean(), torch.stack(kls).mean()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    (pg_loss + KL_COEF * kl_loss).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    results = {
        "advantages": advantages.numpy(),
        "logprobs": logprobs,
        "pg_loss": pg_loss.item(),
        "kl_loss": kl_loss.item(),
        "entropy": torch.stack(entropies).mean().item(),
        "ppo_kl": -torch.stack(log_ratios).mean().item(),
        "grad_norm": norm.item(),
    }
    after = {f"after/{name}": value.detach().numpy() for name, value in model.named_parameters()}
    np.savez_compressed(pathlib.Path(__file__).with_name("update.npz"), **data, **initial, **after, **results)


if __name__ == "__main__":
    main()
