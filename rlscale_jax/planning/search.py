"""Finds a layout: meshes, micro-batches, decoding waves and remat, the fastest that fits first.

Every candidate gets a first estimate without compiling (closed-form FLOPs, memory of arrays and saved activations),
which sets the order; then candidates are compiled until one fits and `runners_up` more are known.
"""

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

from rlscale_jax.experiment.config import Experiment, MeshConfig
from rlscale_jax.models import Architecture, sharding
from rlscale_jax.planning import estimate, guesses, programs
from rlscale_jax.planning.compilation import Compiled
from rlscale_jax.planning.estimate import Assumptions, Plan
from rlscale_jax.planning.programs import Layout, Program
from rlscale_jax.planning.topologies import Slice

TENSOR = (1, 2, 4, 8, 16)
REMAT = ("full", "dots")
MOST_COMPILED = 8  # candidates, whether they fit or not: a compilation takes minutes
SPARE = 0.9  # share of a chip's memory that a first estimate may fill; temporaries need the rest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    experiment: Experiment
    layout: Layout
    first: Plan  # nothing compiled

    @property
    def name(self) -> str:
        grpo = self.experiment.grpo
        return f"{self.layout.name}, {programs.micro_prompts(self.experiment)} prompts at a time, remat {grpo.remat}"

    @property
    def flags(self) -> str:
        """What gives a run this layout."""
        fields = {
            "mesh.tensor": self.experiment.mesh.tensor,
            "mesh.sampler_tensor": self.experiment.mesh.sampler_tensor,
            "grpo.micro_batch_prompts": self.experiment.grpo.micro_batch_prompts,
            "grpo.remat": self.experiment.grpo.remat,
            "sampling.wave_sequences": self.experiment.sampling.wave_sequences,
        }
        return " ".join(f"--config.{name}={value}" for name, value in fields.items())


def search(
    experiment: Experiment,
    architecture: Architecture,
    pod: Slice,
    devices: Sequence,
    assumptions: Assumptions,
    *,
    runners_up: int = 2,
    compiler: Callable[[Program], Compiled] | None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[tuple[Candidate, Plan]]:
    """Compiled plans, those that fit first and fastest of these first; empty only if no mesh is possible at all.

    Without a compiler (GPUs) the first estimates are the plans.
    """
    found: list[tuple[Candidate, Plan]] = []
    fitting = 0
    for candidate in candidates(experiment, architecture, pod, devices, assumptions):
        progress(candidate.name)
        plan = candidate.first
        if compiler:
            plan = estimate.refined(plan, compiler, progress=progress)
        found.append((candidate, plan))
        fitting += plan.fits
        if fitting > runners_up or len(found) == MOST_COMPILED:
            break
    return sorted(
        found, key=lambda pair: (not pair[1].fits, pair[1].iteration_secs if pair[1].fits else pair[1].peak.total)
    )


def candidates(
    experiment: Experiment, architecture: Architecture, pod: Slice, devices: Sequence, assumptions: Assumptions
) -> list[Candidate]:
    """Possible layouts, by the first estimate: what seems to fit before what does not, faster before slower."""
    found = []
    for changed, layout in _possible(experiment, architecture, devices):
        first = estimate.plan(
            changed, architecture, pod, layout, assumptions, compiler=guesses.compiler(changed, architecture, layout)
        )
        found.append(Candidate(experiment=changed, layout=layout, first=first))
    limit = SPARE * pod.chip.hbm_bytes
    return sorted(found, key=lambda c: (c.first.peak.total > limit, c.first.iteration_secs))


def _possible(experiment, architecture, devices) -> Iterator[tuple[Experiment, Layout]]:
    per_batch = experiment.grpo.prompts_per_step // experiment.grpo.num_minibatches
    micros = [per_batch // parts for parts in (1, 2, 4, 8, 16, 32, 64, 128) if per_batch % parts == 0]
    whole = experiment.grpo.prompts_per_step * experiment.grpo.group_size
    waves = [whole // parts for parts in (1, 2, 4, 8) if whole % parts == 0]
    meshes = [pair for pair in itertools.product(TENSOR, TENSOR) if pair[1] >= pair[0] and len(devices) % pair[1] == 0]
    for (tensor, sampler), micro, wave, remat in itertools.product(meshes, micros, waves, REMAT):
        changed = copy.deepcopy(experiment)
        changed.mesh = MeshConfig(tensor=tensor, sampler_tensor=sampler)
        changed.grpo.micro_batch_prompts, changed.grpo.remat = micro, remat
        changed.sampling.wave_sequences = wave
        try:
            layout = programs.layout(changed, devices)
            sharding.check_mesh(architecture, layout.mesh)
        except ValueError:
            continue  # an impossible combination is no candidate
        yield changed, layout
