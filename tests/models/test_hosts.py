"""Shares of several hosts, and a host alone; what hosts send each other is tested with a run (tests/training)."""

import jax
import pytest

from rlscale_jax.models import hosts


@pytest.mark.parametrize(("num_items", "num_hosts"), [(7, 3), (8, 2), (1, 4), (0, 2)])
def test_shares_dealt_back_are_the_whole(num_items, num_hosts, monkeypatch):
    items, shares = list(range(num_items)), []
    for index in range(num_hosts):
        monkeypatch.setattr(jax, "process_count", lambda: num_hosts)
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(hosts.share(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert hosts.deal_back(shares) == items


def test_a_host_alone_sends_nothing_and_raises_what_was_raised():
    def refuse():
        raise FileNotFoundError("there is no such file")

    assert hosts.gather((1, 2)) == [(1, 2)] and hosts.from_first(lambda: "made") == "made" and hosts.is_first()
    with pytest.raises(FileNotFoundError):
        hosts.from_first(refuse)
