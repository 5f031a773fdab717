"""The stream: D_total items, each problem tau times, the same from any step on any number of hosts."""

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlscale_jax.data.stream import ProblemStream
from rlscale_jax.experiment.config import DataConfig

TAUS = (1, 2, 4, 5, 10, 20, 25, 50, 100)
FIELDS = {"order": st.sampled_from(["easy_to_hard", "shuffled"]), "subset": st.sampled_from(["independent", "nested"])}


def stream(problems, *, prompts_per_step=4, seed=0, token_length=lambda problem: 1, **config) -> ProblemStream:
    return ProblemStream(
        problems, DataConfig(**config), prompts_per_step=prompts_per_step, seed=seed, token_length=token_length
    )


def ids(problems) -> list[str]:
    return [problem.problem_id for problem in problems]


@pytest.mark.parametrize("tau", TAUS)
@settings(max_examples=20, deadline=None)
@given(per_step=st.sampled_from([1, 8, 20, 40]), seed=st.integers(0, 9), **FIELDS)
def test_reuse_gives_exactly_d_total_items_and_each_problem_tau_times(graded, tau, per_step, seed, order, subset):
    d_total = 400  # every tau and every batch size divides it
    reused = stream(
        graded(500),
        prompts_per_step=per_step,
        seed=seed,
        num_unique=d_total // tau,
        reuse_factor=tau,
        order=order,
        subset=subset,
    )
    taken = [name for step in range(reused.num_steps) for name in ids(reused.take(step))]
    assert len(taken) == reused.num_items == d_total
    assert set(collections.Counter(taken).values()) == {tau}
    assert len(set(taken)) == d_total // tau
    for epoch in range(tau):  # epochs do not mix, whatever the step size
        assert len(set(taken[epoch * d_total // tau : (epoch + 1) * d_total // tau])) == d_total // tau


@settings(max_examples=60, deadline=None)
@given(
    num_problems=st.integers(1, 60),
    tau=st.integers(1, 5),
    per_host=st.integers(1, 4),
    hosts=st.integers(1, 4),
    seed=st.integers(0, 9),
    data=st.data(),
    **FIELDS,
)
def test_any_step_on_any_number_of_hosts_is_the_same(
    graded, num_problems, tau, per_host, hosts, seed, data, order, subset
):
    per_step = per_host * hosts
    if num_problems * tau < per_step:
        return
    settings_ = {"prompts_per_step": per_step, "seed": seed, "reuse_factor": tau, "order": order, "subset": subset}
    straight = stream(graded(num_problems), **settings_)
    whole = [ids(straight.take(step)) for step in range(straight.num_steps)]
    step = data.draw(st.integers(0, straight.num_steps - 1))
    resumed = stream(graded(num_problems), **settings_)  # a new process that begins here
    assert ids(resumed.take(step)) == whole[step]
    shares = [ids(resumed.take(step, host, hosts)) for host in range(hosts)]
    assert [name for share in shares for name in share] == whole[step]
    assert {len(share) for share in shares} == {per_host}


def test_a_step_may_end_one_epoch_and_begin_the_next(graded):
    reused = stream(graded(6), prompts_per_step=4, reuse_factor=2)
    order = ids(sorted(graded(6), key=lambda problem: problem.difficulty))
    assert [ids(reused.take(step)) for step in range(3)] == [order[:4], order[4:] + order[:2], order[2:]]


def test_difficulty_rises_within_each_epoch(graded):
    reused = stream(graded(50), prompts_per_step=10, reuse_factor=3)
    taken = [problem.difficulty for step in range(15) for problem in reused.take(step)]
    for epoch in range(3):
        assert taken[epoch * 50 : (epoch + 1) * 50] == sorted(taken[:50])


def test_shuffled_epochs_differ_from_each_other_and_between_seeds(graded):
    orders = [
        [ids(stream(graded(40), prompts_per_step=40, reuse_factor=2, order="shuffled", seed=s).take(e)) for e in (0, 1)]
        for s in (0, 1)
    ]
    assert len({tuple(order) for pair in orders for order in pair}) == 4


def test_the_published_run_has_105_steps_and_drops_the_rest(make_problem):
    published = stream([make_problem(i) for i in range(53_904)], prompts_per_step=512)
    assert (published.num_steps, published.num_items - 512 * published.num_steps) == (105, 144)
    assert ids(published.take(104))[-1] == "p53759"


def test_overlong_prompts_leave_before_the_subset_is_drawn_and_are_counted(graded):
    lengths = {problem.problem_id: 10 + (i % 3 == 0) for i, problem in enumerate(graded(90))}
    dropped = stream(
        graded(90), max_prompt_tokens=10, num_unique=60, token_length=lambda problem: lengths[problem.problem_id]
    )
    assert (dropped.num_overlong, len(dropped.problems)) == (30, 60)
    assert {lengths[name] for name in ids(dropped.problems)} == {10}  # exactly the limit is not too long


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"order": "hard_to_easy"}, "data.order is 'hard_to_easy'; expected one of easy_to_hard, shuffled"),
        ({"subset": "random"}, "data.subset is 'random'"),
        ({"reuse_factor": 0}, "data.reuse_factor is 0"),
        ({"prompts_per_step": 0}, "prompts_per_step is 0"),
        ({"num_unique": 11}, "subset of 11 problems out of 10"),
        ({"num_unique": -1}, "subset of -1"),
        ({"prompts_per_step": 16}, "10 problems x 1 epochs do not fill one step of 16"),
        ({"max_prompt_tokens": 0}, "all 10 prompts are longer than 0 tokens"),
    ],
)
def test_impossible_streams_are_refused(graded, changes, reason):
    with pytest.raises(ValueError, match=reason):
        stream(graded(10), **changes)


def test_steps_and_hosts_that_do_not_exist_are_refused(graded):
    ten = stream(graded(10), prompts_per_step=4)
    for step in (-1, 2):
        with pytest.raises(ValueError, match="10 problems in steps of 4 give 2; lower num_steps"):
            ten.take(step)
    for host, hosts in ((0, 3), (2, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"host {host} of {hosts}"):
            ten.take(0, host, hosts)
