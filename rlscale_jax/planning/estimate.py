"""A plan: what a run holds on each chip at each moment, how long an iteration takes, what the whole run costs.

Memory comes from the compiled programs and what is held beside them; time from the roofline of each program. Times are
for full lengths (every completion at the limit: the longest an iteration can take) unless mean lengths are given.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture
from rlscale_jax.planning import memory_traffic, programs, roofline
from rlscale_jax.planning.compilation import Compiled, compile_program
from rlscale_jax.planning.programs import Layout, Program
from rlscale_jax.planning.topologies import Slice

TRAINING = ("logprobs", "accumulate", "apply", "step")
BUCKET_BYTES_PER_HOST = 1e9  # assumed: what a host writes to a bucket per second, whatever its network could
HOST_COPY_BYTES = 10e9  # assumed: from a host's chips per second, the part of a save that training waits for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What a plan cannot know. Lengths 0: the config's limits."""

    mean_prompt_tokens: int = 0
    mean_completion_tokens: int = 0
    evaluation_problems: int = 500
    price_per_chip_hour: float = 0.0
    efficiency: roofline.Efficiency = dataclasses.field(default_factory=roofline.Efficiency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A program while it runs: bytes on a chip by what they are."""

    name: str
    parts: dict[str, int]
    over: str  # the compiler's words where it does not fit
    runs: float
    compile_secs: float
    cost: roofline.Cost
    flops: float  # of all chips, one run
    memory_bytes: float  # that one run moves between a chip and its memory, by the compiled program's text
    formula_bytes: float  # the same by formula, a check; where nothing was compiled both are the formula's
    traffic: tuple
    fingerprint: str  # of what was compiled; empty where nothing was

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is known of a run on a slice with one layout."""

    experiment: Experiment
    architecture: Architecture
    pod: Slice
    layout: Layout
    moments: tuple[Moment, ...]
    assumptions: Assumptions

    @property
    def fits(self) -> bool:
        return all(self.holds(moment) for moment in self.moments)

    def holds(self, moment: Moment) -> bool:
        """Whether a moment fits a chip."""
        return not moment.over and moment.total <= self.pod.chip.hbm_bytes

    @property
    def peak(self) -> Moment:
        """The fullest moment; one that the compiler refused before all others."""
        return max(self.moments, key=lambda moment: (bool(moment.over), moment.total))

    @functools.cached_property
    def phases(self) -> dict[str, float]:
        """Expected seconds of each phase of one iteration."""
        return _phases(self)

    @property
    def floor_secs(self) -> float:
        """One iteration's rollout and update at the roofline, at full lengths."""
        return sum(moment.runs * moment.cost.roofline for moment in self.moments)

    @property
    def checkpoint_bytes(self) -> int:
        """Master weights and moments, of all chips."""
        resident = programs.resident(self.experiment, self.architecture, self.layout)
        return (resident["weights"] + resident["optimiser"]) * self.pod.num_chips

    @property
    def iteration_secs(self) -> float:
        return sum(self.phases.values())

    @property
    def checkpoint_secs(self) -> float:
        """Until a save is in the bucket; training waits only for the copy to the hosts."""
        return self.checkpoint_bytes / self.pod.num_hosts / BUCKET_BYTES_PER_HOST

    @property
    def chip_hours(self) -> float:
        """Of the whole run, with the evaluation before its first step."""
        total = self.experiment.num_steps * self.iteration_secs + self.phases["evaluation"]
        return total / 3600 * self.pod.num_chips

    @property
    def tokens_per_chip_sec(self) -> float:
        """Sampled tokens per second and chip while sampling."""
        config = self.experiment
        mean = self.assumptions.mean_completion_tokens or config.sampling.max_new_tokens
        tokens = config.grpo.prompts_per_step * config.grpo.group_size * mean
        return tokens / (self.phases["prefill"] + self.phases["decode"]) / self.pod.num_chips

    @property
    def mfu_bound(self) -> float:
        """Useful FLOPs of the update, 6 x parameters x tokens, over what the chips could do in its roofline time."""
        config = self.experiment
        row = config.data.max_prompt_tokens + config.grpo.group_size * config.sampling.max_new_tokens
        useful = 6.0 * self.architecture.num_nonembedding_params * row * config.grpo.prompts_per_step
        floor = sum(m.runs * m.cost.roofline for m in self.moments if m.name in TRAINING)
        return useful / (floor * self.pod.num_chips * self.pod.chip.peak_flops)


def plan(
    experiment: Experiment,
    architecture: Architecture,
    pod: Slice,
    layout: Layout,
    assumptions: Assumptions,
    *,
    progress: Callable[[str], None] = lambda _: None,
    compiler: Callable[[Program], Compiled] = compile_program,
) -> Plan:
    """Compiles every program of an iteration and puts together what they take."""
    empty = Plan(
        experiment=experiment,
        architecture=architecture,
        pod=pod,
        layout=layout,
        moments=(),
        assumptions=assumptions,
    )
    return dataclasses.replace(empty, moments=tuple(_moments(empty, compiler, progress)))


def refined(guess: Plan, compiler: Callable[[Program], Compiled], *, progress: Callable[[str], None]) -> Plan:
    """A guessed plan with its programs compiled, the fullest first; what is left of the guess when one does not fit
    stays a guess, as it decides nothing any more."""
    order = [m.name for m in sorted(guess.moments, key=lambda moment: -moment.total)]
    moments = {moment.name: moment for moment in guess.moments}
    for moment in _moments(guess, compiler, progress, order=order):
        moments[moment.name] = moment
        if not guess.holds(moment):
            break
    return dataclasses.replace(guess, moments=tuple(moments.values()))


def _moments(
    plan: Plan, compiler: Callable[[Program], Compiled], progress: Callable[[str], None], *, order: Sequence[str] = ()
) -> Iterator[Moment]:
    """The moments of a plan's programs, compiled one by one as they are asked for."""
    problem = (plan.experiment, plan.architecture, plan.layout)
    moves, at_most = memory_traffic.of_programs(*problem), memory_traffic.of_programs(*problem, filled=1.0)
    made = {program.name: program for program in all_programs(plan.experiment, plan.architecture, plan.layout)}
    for name in order or made:
        progress(name)
        compiled = compiler(made[name])
        mean = moves[name] / at_most[name]  # compiled with full caches; they grow during a rollout
        yield _moment(plan.pod, made[name], compiled, moved=compiled.moved_bytes * mean, by_formula=moves[name])


def all_programs(experiment: Experiment, architecture: Architecture, layout: Layout) -> list[Program]:
    return [
        *programs.resharding(experiment, architecture, layout),
        *programs.sampling(experiment, architecture, layout),
        *programs.training(experiment, architecture, layout),
    ]


def _moment(pod: Slice, program: Program, compiled: Compiled, *, moved: float, by_formula: float) -> Moment:
    moved = moved or by_formula
    parts = program.held | program.named
    if compiled.memory:
        parts["other arguments"] = max(0, compiled.memory.arguments - sum(program.named.values()))
        parts |= {"results": compiled.memory.new_outputs, "temporaries": compiled.memory.temporaries}
        parts["code"] = compiled.memory.code
    return Moment(
        name=program.name,
        parts=parts,
        over=compiled.over,
        runs=program.runs,
        compile_secs=compiled.compile_secs,
        cost=roofline.cost(pod, flops=compiled.flops, memory_bytes=moved, traffic=compiled.traffic),
        flops=compiled.flops,
        memory_bytes=moved,
        formula_bytes=by_formula,
        traffic=compiled.traffic,
        fingerprint=compiled.fingerprint,
    )


def _phases(plan: Plan) -> dict[str, float]:
    experiment = plan.experiment
    trained, decoded = fills(experiment, plan.assumptions)
    efficiency = plan.assumptions.efficiency
    full = {m.name: m.runs * m.cost.expected(efficiency, decodes=m.name == "segment") for m in plan.moments}
    decode = decoded * (full["segment"] + full["fold"])
    waves = experiment.grpo.prompts_per_step * experiment.grpo.group_size / plan.layout.wave_sequences
    problems = plan.assumptions.evaluation_problems
    evaluation = full["prefill"] * problems / experiment.grpo.prompts_per_step
    evaluation += decode / waves * _evaluation_waves(plan, problems)
    return {
        "reshard": full["reshard"] + full["reshard ends"],
        "prefill": full["prefill"],
        "decode": decode,
        "logprobs": trained * full["logprobs"],
        "update": trained * sum(full.get(name, 0.0) for name in ("accumulate", "step")) + full.get("apply", 0.0),
        "evaluation": evaluation / experiment.evaluation.every_steps,
        "checkpoint": plan.checkpoint_bytes / plan.pod.num_hosts / HOST_COPY_BYTES / experiment.checkpoint.every_steps,
    }


def _evaluation_waves(plan: Plan, problems: int) -> float:
    """Decoding an evaluation, in times of a training wave: by the bytes of a step, as decoding is bound by memory."""
    rows, wave = problems * plan.experiment.evaluation.num_samples, plan.layout.wave_sequences
    num_waves = -(-rows // wave)
    bytes_of = functools.partial(memory_traffic.decode_bytes, plan.experiment, plan.architecture, plan.layout)
    training = bytes_of(num_rows=wave, num_prompts=wave // plan.experiment.grpo.group_size)
    return num_waves * bytes_of(num_rows=rows / num_waves, num_prompts=problems / num_waves) / training


def fills(experiment: Experiment, assumptions: Assumptions) -> tuple[float, float]:
    """Shares of full length: of a training row, and of a completion."""
    prompt, completion = experiment.data.max_prompt_tokens, experiment.sampling.max_new_tokens
    mean_prompt = assumptions.mean_prompt_tokens or prompt
    mean_completion = assumptions.mean_completion_tokens or completion
    samples = experiment.grpo.group_size
    row = (mean_prompt + samples * mean_completion) / (prompt + samples * completion)
    return row, mean_completion / completion
