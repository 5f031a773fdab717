"""One evaluation from its request to its figures: everything checked, sampled chunk by chunk, graded, written.

While a chunk is sampled, the one before it is graded and appended by a thread. Chunks are cut by the place of a
problem in its set and draws are keyed by its id, so that stopping and going on changes nothing.
"""

import concurrent.futures
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from rlscale_jax import sampler
from rlscale_jax.data.problems import Problem
from rlscale_jax.evaluation import subject, suites, summary
from rlscale_jax.evaluation.journal import Journal
from rlscale_jax.evaluation.scoring import PendingScore, Scorer
from rlscale_jax.evaluation.subject import Subject
from rlscale_jax.evaluation.suites import ProblemSet
from rlscale_jax.experiment.config import SCHEMA_VERSION, Experiment
from rlscale_jax.models import mesh as meshes
from rlscale_jax.models.fingerprint import fingerprint
from rlscale_jax.rewards import RewardPool, sandbox


class Progress(Protocol):
    """Told how many responses are there."""

    def update(self, step: int, /, **values: float | str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to evaluate; the experiment gives protocol, mesh, dtype, graders and the waves of the sampler."""

    experiment: Experiment
    checkpoint: str
    places: dict[str, str]  # name of a set -> its path, see `suites.locate`
    out: pathlib.Path
    chunk_sequences: int = 512  # sampled, graded and appended at a time


def evaluate(request: Request, *, progress: Callable[[int], Progress]) -> dict[str, summary.Figures]:
    """Evaluates what is not yet in `request.out`, writes `results.json` there and returns each set's figures.

    Args:
      progress: makes what is told, from the number of responses in all.

    Raises:
      ValueError: something in the request cannot be, or the directory holds another evaluation; before any sampling.
    """
    experiment = request.experiment
    if jax.process_count() > 1:
        raise ValueError("an evaluation runs on one host; start it on one, whose devices --config.mesh lays out")
    mesh = meshes.make_mesh(experiment.mesh)
    journal = Journal(request.out)
    model = subject.find(request.checkpoint, today=journal.date)
    sets = [_load(name, path, model, experiment) for name, path in request.places.items()]
    _check(request, model, sets)
    settings = _settings(request, model, sets)
    journal.check(settings)
    with _pool(experiment) as pool:
        weights, step = model.load(dtype=jnp.dtype(experiment.model.compute_dtype), mesh=mesh)
        settings |= {"step": step, "fingerprint": fingerprint(weights.params)}
        scorer = Scorer(
            model=sampler.lay_out(weights),
            tokenizer=model.tokenizer,
            pool=pool,
            config=experiment.evaluation,
            seed=experiment.seed,
            step=step,
            wave_sequences=experiment.sampling.wave_sequences,
        )
        del weights
        with journal.opened(settings):
            _sample_and_grade(scorer, sets, journal, chunk_sequences=request.chunk_sequences, progress=progress)
            return _figures(sets, journal, experiment.evaluation.num_samples)


def _figures(sets: Sequence[ProblemSet], journal: Journal, num_samples: int) -> dict[str, summary.Figures]:
    figures = {one.name: summary.summarize(journal.rows(one.name), one, num_samples=num_samples) for one in sets}
    journal.write_results(figures)
    return figures


def _pool(experiment: Experiment) -> RewardPool:
    return RewardPool(
        experiment.reward_workers,
        task_timeout_secs=experiment.reward_timeout_secs,
        verifier=experiment.data.verifier,
        allow_weak_sandbox=experiment.allow_weak_sandbox,
    )


def _load(name: str, path: str, model: Subject, experiment: Experiment) -> ProblemSet:
    data = experiment.data
    return suites.load(
        name, path, tokenizer=model.tokenizer, max_prompt_tokens=data.max_prompt_tokens, verifier=data.verifier
    )


def _check(request: Request, model: Subject, sets: Sequence[ProblemSet]) -> None:
    """What would else come to light in the middle of the work."""
    config, wave = request.experiment.evaluation, request.experiment.sampling.wave_sequences
    if request.chunk_sequences < config.num_samples:
        raise ValueError(
            f"--chunk_sequences={request.chunk_sequences} does not hold the evaluation.num_samples = "
            f"{config.num_samples} of one problem"
        )
    if 0 < wave < config.num_samples:
        raise ValueError(f"sampling.wave_sequences = {wave} is less than evaluation.num_samples = {config.num_samples}")
    for one in sets:
        total, limit = one.longest_prompt_tokens + config.max_new_tokens, model.architecture.max_positions
        if total > limit:
            raise ValueError(
                f"{one.name}: a prompt of {one.longest_prompt_tokens} tokens and evaluation.max_new_tokens = "
                f"{config.max_new_tokens} make {total}; the model's limit is {limit} positions"
            )
    weak_allowed = request.experiment.allow_weak_sandbox
    if any("code" in one.domains for one in sets) and not weak_allowed and (missing := sandbox.missing_isolation()):
        raise ValueError(
            f"programs cannot be isolated on this machine ({missing}); allow user or network namespaces, leave sets "
            "of programs out, or accept weaker isolation with --config.allow_weak_sandbox=true"
        )


def _settings(request: Request, model: Subject, sets: Sequence[ProblemSet]) -> dict[str, Any]:
    """Everything that the responses depend on, the weights apart."""
    experiment = request.experiment
    evaluation = asdict(experiment.evaluation)
    protocol = {
        **{name: evaluation[name] for name in ("temperature", "top_p", "num_samples", "max_new_tokens")},
        "max_prompt_tokens": experiment.data.max_prompt_tokens,
        "seed": experiment.seed,
        "verifier": experiment.data.verifier,
        "reward_timeout_secs": experiment.reward_timeout_secs,
        "compute_dtype": experiment.model.compute_dtype,
    }
    described = {
        one.name: {
            "path": one.path,
            "content": one.digest,
            "num_problems": len(one.problems),
            "num_overlong_dropped": one.num_overlong,
        }
        for one in sets
    }
    return {
        "schema": SCHEMA_VERSION,
        "checkpoint": model.path,
        "tokenizer": model.tokenizer_digest,
        "protocol": protocol,
        "sets": described,
    }


def _sample_and_grade(
    scorer: Scorer,
    sets: Sequence[ProblemSet],
    journal: Journal,
    *,
    chunk_sequences: int,
    progress: Callable[[int], Progress],
) -> None:
    num_samples = scorer.config.num_samples
    told = progress(num_samples * sum(len(one.problems) for one in sets))

    def finish(pending: PendingScore) -> None:
        score = pending.result()
        journal.append(score, step=scorer.step)
        done = sum(journal.num_done(one.name) for one in sets)
        told.update(done, set=score.source, accuracy=float(score.correct.mean()))

    told.update(sum(journal.num_done(one.name) for one in sets))
    with concurrent.futures.ThreadPoolExecutor(1) as grading:
        before: concurrent.futures.Future | None = None
        for one in sets:
            for chunk in _chunks(one.problems, max(1, chunk_sequences // num_samples)):
                if not journal.lacks(one.name, chunk, num_samples):
                    continue
                pending = scorer.start(chunk, source=one.name)
                if before:
                    before.result()  # raises what went wrong; keeps at most one chunk behind
                before = grading.submit(finish, pending)
        if before:
            before.result()


def _chunks(problems: Sequence[Problem], size: int) -> Iterator[Sequence[Problem]]:
    for first in range(0, len(problems), size):
        yield problems[first : first + size]
