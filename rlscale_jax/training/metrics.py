"""What a step's metrics row holds: rewards, lengths, scaling counters, evaluation, by the field's usual names."""

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

from rlscale_jax import sampler
from rlscale_jax.evaluation.scoring import Score
from rlscale_jax.experiment import flops
from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture
from rlscale_jax.training.collect import Collected

Row = dict[str, float]


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


def rollout_row(collected: Collected) -> Row:
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


def performance_row(collected: Collected, step_secs: float, step_flops: float) -> Row:
    lengths = collected.rollouts.lengths
    tokens = sum(len(prompt) for prompt in collected.prompts) * lengths.shape[1] + lengths.sum()
    return {
        "perf/total_num_tokens": tokens,
        "perf/time_per_step": step_secs,
        "perf/throughput": tokens / step_secs,
        "perf/flops_per_sec": step_flops / step_secs,
    }
