"""Accuracy, test loss and its errors, avg@n and pass@k from right-or-wrong outcomes per question and sample."""

import math

import numpy as np
from jaxtyping import Bool


def test_loss(correct: Bool[np.ndarray, "Q n"]) -> float:
    """1 - pass@1, the mean over questions and samples."""
    return float(1.0 - correct.mean())


def standard_error(correct: Bool[np.ndarray, "Q n"]) -> float:
    """Standard error of the test loss, questions being the independent draws.

    With one sample a question this is the binomial error; with more, the spread of the questions' means, which
    holds the variance between questions as well as that of sampling.
    """
    per_question = correct.mean(axis=1)
    num_questions = len(per_question)
    if num_questions < 2:
        return math.nan
    return float(per_question.std(ddof=1) / math.sqrt(num_questions))


def binomial_error(correct: Bool[np.ndarray, "Q n"]) -> float:
    """sqrt(p (1 - p) / (Q n)): every response an independent draw, so too small where samples share a question."""
    accuracy = correct.mean()
    return float(math.sqrt(accuracy * (1 - accuracy) / correct.size))


def sampling_error(correct: Bool[np.ndarray, "Q n"]) -> float:
    """Standard error over n passes of the same questions, from sampling alone; nan for one pass."""
    per_pass = correct.mean(axis=0)
    if len(per_pass) < 2:
        return math.nan
    return float(per_pass.std(ddof=1) / math.sqrt(len(per_pass)))


def pass_at_k(correct: Bool[np.ndarray, "Q n"], k: int) -> float:
    """Unbiased chance that at least one of k samples is right (Chen et al. 2021, eq. 1).

    Raises:
      ValueError: k is not between 1 and the number of samples.
    """
    num_samples = correct.shape[1]
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} needs 1 <= k <= the {num_samples} samples of each question")
    wrong = num_samples - correct.sum(axis=1)
    misses = [math.comb(int(w), k) / math.comb(num_samples, k) for w in wrong]
    return float(1.0 - np.mean(misses))
