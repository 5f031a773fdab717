"""Verifiable rewards: one verdict for a response, by domain, in processes that may be killed."""

import atexit
import functools

from rlscale_jax.rewards.dispatch import DOMAINS, domain_of
from rlscale_jax.rewards.pool import Handle, RewardPool
from rlscale_jax.rewards.verdict import STATUSES, Verdict

__all__ = ["DOMAINS", "STATUSES", "Handle", "RewardPool", "Verdict", "domain_of", "verify"]


def verify(data_source: str, response: str, ground_truth: object, *, verifier: str = "") -> Verdict:
    """Grades one response; never raises, and ends within seconds on any text.

    ground_truth: as the study's files hold it (a string; for zebra puzzles a grid or its JSON).
    verifier: a user's "module:function" or "file.py:function" instead of the one by data_source.
    Work that could hang runs in one worker process, started at the first need and kept; batches belong
    into a `RewardPool`.
    """
    return _own_pool(verifier).submit([(data_source, response, ground_truth)]).result()[0]


@functools.cache
def _own_pool(verifier: str) -> RewardPool:
    pool = RewardPool(1, verifier=verifier)
    atexit.register(pool.close)
    return pool
