"""A step's metrics row: rewards, lengths, speed, scaling counters, evaluation."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rlscale_jax import sampler
from rlscale_jax.evaluation.scoring import Score
from rlscale_jax.experiment import flops
from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture
from rlscale_jax.training.collect import Collected

Row = dict[str, Any]  # numbers, and a few words
_BUSY = ("gen", "old_log_prob", "ref", "update_actor", "testing")  # parts of a step in which programs run


@dataclass(frozen=True)
class Counters:
    """Totals since the start of the run; they travel in checkpoints."""

    samples: int = 0  # prompts seen, the study's D
    tokens: int = 0  # prompt tokens once per sample, and completion tokens
    flops_paper: float = 0.0
    flops_total: float = 0.0

    def after(self, collected: Collected, experiment: Experiment, architecture: Architecture) -> "Counters":
        """The totals with one more step."""
        prompts = np.array([len(prompt) for prompt in collected.prompts])
        completions = collected.rollouts.lengths
        grpo = experiment.grpo
        n_nominal = experiment.model.n_nominal or architecture.num_nonembedding_params
        spent = flops.total_flops(
            flops.ForwardCost.of(architecture),
            prompts,
            completions,
            extra_forwards=(grpo.num_minibatches > 1) + (grpo.kl_coef > 0),
            remat=grpo.remat == "full",
        )
        return Counters(
            samples=self.samples + len(prompts),
            tokens=self.tokens + int(prompts.sum() * completions.shape[1] + completions.sum()),
            flops_paper=self.flops_paper + flops.paper_flops(n_nominal, prompts, completions),
            flops_total=self.flops_total + spent,
        )


def scaling_row(counters: Counters, experiment: Experiment, architecture: Architecture) -> Row:
    n_nonembed = architecture.num_nonembedding_params
    counted = {f"scaling/{name}": value for name, value in asdict(counters).items()}
    nominal = experiment.model.n_nominal or n_nonembed
    return {**counted, "scaling/n_nominal": nominal, "scaling/n_nonembed": n_nonembed}


def rollout_row(collected: Collected, *, max_prompt_tokens: int) -> Row:
    """Rewards, lengths, verdicts, and groups that teach nothing because all their rewards are equal."""
    rewards = collected.rewards
    lengths = collected.rollouts.lengths
    prompts = np.array([len(prompt) for prompt in collected.prompts])
    uniform = rewards.max(axis=1) == rewards.min(axis=1)
    statuses = Counter(verdict.status for row in collected.verdicts for verdict in row)
    row = {
        "critic/rewards/mean": rewards.mean(),
        "critic/rewards/max": rewards.max(),
        "critic/rewards/min": rewards.min(),
        "frac_reward_zero_std": uniform.mean(),
        "frac_reward_all_right": (uniform & (rewards[:, 0] > 0)).mean(),
        "frac_reward_all_wrong": (uniform & (rewards[:, 0] <= 0)).mean(),
        "response_length/clip_ratio": (collected.rollouts.finish == sampler.FINISH_LENGTH).mean(),
        "prompt_length/clip_ratio": (prompts >= max_prompt_tokens).mean(),
    }
    row |= _spread("response_length", lengths) | _spread("prompt_length", prompts)
    rates = ("unboxed", "timeout", "parse_fail", "refused", "crashed")
    return row | {f"reward/{status}_rate": statuses[status] / rewards.size for status in rates}


def _spread(name: str, values: np.ndarray) -> Row:
    return {f"{name}/mean": values.mean(), f"{name}/max": values.max(), f"{name}/min": values.min()}


def evaluation_row(score: Score) -> Row:
    """Accuracy of one set; the held-out set's is the study's test loss."""
    num_samples = score.correct.shape[1]
    row: Row = {f"val-core/{score.source}/acc/mean@{num_samples}": 1.0 - score.test_loss}
    row[f"val-aux/{score.source}/response_length/mean"] = score.lengths.mean()
    row[f"val-aux/{score.source}/response_length/clip_ratio"] = score.truncated.mean()
    if score.source == "heldout":
        row |= {
            "scaling/test_loss": score.test_loss,
            "scaling/test_loss_se": score.test_loss_se,
            "scaling/correct": score.correct.sum(),
            "scaling/total": score.correct.size,
        }
    return row


def performance_row(
    collected: Collected, timings: Row, architecture: Architecture, *, step_flops: float, peak_flops: float
) -> Row:
    """Speed of a step whose parts took `timings` (timing_s/NAME); `peak_flops` of all devices together, per second.

    `perf/mfu/actor` counts what an update needs, forward and backward, and no recomputation.
    """
    prompts = np.array([len(prompt) for prompt in collected.prompts])
    lengths = collected.rollouts.lengths
    tokens = int(prompts.sum() * lengths.shape[1] + lengths.sum())
    secs = timings["timing_s/step"]
    update = flops.update_flops(flops.ForwardCost.of(architecture), prompts, lengths)
    return {
        "perf/total_num_tokens": tokens,
        "perf/time_per_step": secs,
        "perf/throughput": tokens / secs,
        "perf/flops_per_sec": step_flops / secs,
        "perf/mfu/actor": update / (timings["timing_s/update_actor"] * peak_flops),
    }


def wait_share(timings: Row) -> float:
    """Share of a step in which no program ran: verdicts awaited, batches built, records written."""
    busy = sum(timings.get(f"timing_s/{name}", 0.0) for name in _BUSY) - timings.get("timing_s/testing_reward", 0.0)
    return max(0.0, 1.0 - busy / timings["timing_s/step"])


def plain(row: Row) -> Row:
    """The row with Python's own numbers in place of NumPy's, fit for JSON."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
