"""One use of the plan command: which model, which layout or a search for one, and what is written."""

import dataclasses
import json
import pathlib
import sys
from typing import Any

import jax
from etils import epath

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture, from_hf_config
from rlscale_jax.planning import compilation, estimate, guesses, libtpu, presentation, programs, search
from rlscale_jax.planning.estimate import Assumptions, Plan
from rlscale_jax.planning.topologies import Slice


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the flags say."""

    experiment: Experiment
    config_file: str
    architecture_file: str
    pod: Slice
    is_gpu: bool
    search: bool
    mean_prompt_tokens: int
    mean_completion_tokens: int
    price_per_chip_hour: float
    json_file: str = ""
    html_file: str = ""

    def check(self) -> None:
        """Raises ValueError for what would only be found out after the compiler's minutes."""
        limits = {
            "mean_prompt_tokens": (self.mean_prompt_tokens, self.experiment.data.max_prompt_tokens),
            "mean_completion_tokens": (self.mean_completion_tokens, self.experiment.sampling.max_new_tokens),
        }
        for name, (value, limit) in limits.items():
            if not 0 <= value <= limit:
                raise ValueError(f"--{name}={value}: give 0 (the limit) to {limit}, the config's limit")
        if not 0 <= self.price_per_chip_hour < float("inf"):
            raise ValueError(f"--price_per_chip_hour={self.price_per_chip_hour}: give 0 or more")
        for name, file in {"json": self.json_file, "html": self.html_file}.items():
            path = pathlib.Path(file)
            if file and "://" not in file and (path.is_dir() or not path.parent.is_dir()):
                raise ValueError(f"--{name}={file}: give a file in a directory that exists")

    @property
    def assumptions(self) -> Assumptions:
        return Assumptions(
            mean_prompt_tokens=self.mean_prompt_tokens,
            mean_completion_tokens=self.mean_completion_tokens,
            price_per_chip_hour=self.price_per_chip_hour,
        )


def run(request: Request) -> bool:
    """Plans, prints, writes; whether the (best) plan fits.

    Raises:
      ValueError: flags out of range, no architecture, a mesh that cannot be, or no libtpu.
    """
    request.check()
    notes = _notes(request)
    architecture = read_architecture(request)
    tried = _plans(request, architecture)
    best = tried[0][1]
    parts = (
        presentation.summary(best),
        presentation.phases(best),
        presentation.moments(best),
        presentation.times(best),
        presentation.transfers(best),
    )
    print("\n\n".join(presentation.text(rows) for rows in parts))
    for name, plan in tried[1:6]:
        print(
            f"\nalso tried: {name}: {'fits' if plan.fits else 'does not fit'}, {plan.iteration_secs:.0f} s an iteration"
        )
    print("\n" + "\n".join(notes))
    if request.json_file:
        epath.Path(request.json_file).write_text(presentation.to_json(best, notes=notes, runners_up=tried[1:]))
    if request.html_file:
        title = f"{request.experiment.model.name} on {request.pod.name}"
        epath.Path(request.html_file).write_text(presentation.html(best, title=title, notes=notes, runners_up=tried))
    return best.fits


def read_architecture(request: Request) -> Architecture:
    """From the file given, the model's own config.json, or the published one beside the configs.

    Raises:
      ValueError: none of them is there.
    """
    path = request.experiment.model.path
    published = pathlib.Path(request.config_file).parent / "architectures"
    names = [epath.Path(path).name, epath.Path(path).name.removesuffix("-Instruct")]
    places = [epath.Path(path) / "config.json", *(epath.Path(published / f"{name}.json") for name in names)]
    if request.architecture_file:
        places = [epath.Path(request.architecture_file)]
    for place in places:
        if place.exists():
            return from_hf_config(json.loads(place.read_text()))
    pretrain = request.experiment.pretrain
    if pretrain.num_steps and not path:
        raise ValueError("a ladder's model has no config.json before its base is trained; give --architecture=FILE")
    raise ValueError(f"no architecture at {' or '.join(map(str, places))}; give --architecture=FILE (a config.json)")


def _plans(request: Request, architecture: Architecture) -> list[tuple[str, Plan]]:
    """Best first."""
    if request.is_gpu:
        devices = jax.devices("cpu")[: request.pod.num_chips]
    else:
        devices = libtpu.devices(request.pod)
    if request.search:
        return _searched(request, architecture, devices)
    layout = programs.layout(request.experiment, devices)
    compiler = compilation.compile_program
    if request.is_gpu:
        compiler = guesses.compiler(request.experiment, architecture, layout)
    plan = estimate.plan(
        request.experiment, architecture, request.pod, layout, request.assumptions, progress=_say, compiler=compiler
    )
    return [(layout.name, plan)]


def _searched(request: Request, architecture: Architecture, devices: list[Any]) -> list[tuple[str, Plan]]:
    compiler = None if request.is_gpu else compilation.compile_program
    problem = (request.experiment, architecture, request.pod, devices, request.assumptions)
    found = search.search(*problem, compiler=compiler, progress=_say)
    if not found:
        raise ValueError(f"no mesh splits this model and batch over the {request.pod.num_chips} chips")
    best, plan = found[0]
    print(f"use {best.flags}\n" if plan.fits else f"nothing that was tried fits; the nearest: {best.flags}\n")
    return [(candidate.name, plan) for candidate, plan in found]


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


def _notes(request: Request) -> list[str]:
    full = request.experiment.sampling.max_new_tokens
    lengths = f"Times and cost are for completions of {request.mean_completion_tokens or full} tokens (limit {full})."
    if request.is_gpu:
        return ["Analytic: memory and roofline by formula; nothing was compiled for a GPU.", lengths]
    share = request.assumptions.efficiency
    return [
        f"Compiled by libtpu {libtpu.version()}, jax {jax.__version__}.",
        f"Expected is the roofline over assumed shares of peak: arithmetic {share.arithmetic:.0%}, "
        f"memory {share.memory:.0%}, links {share.links:.0%}, decode steps {share.decode:.0%}.",
        lengths,
    ]
