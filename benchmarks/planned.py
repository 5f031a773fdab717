"""A benchmark's workload as the planner sees it: seconds of one repetition, from the programs' own FLOPs and bytes."""

import jax

from benchmarks import ours, workloads
from benchmarks.floor import Machine
from rlscale_jax.experiment.config import DataConfig, Experiment, ModelConfig, SamplingConfig
from rlscale_jax.planning import estimate, flops, programs
from rlscale_jax.planning.compilation import Compiled
from rlscale_jax.planning.estimate import Assumptions
from rlscale_jax.planning.roofline import Efficiency
from rlscale_jax.planning.topologies import Chip, Slice


def predicted_secs(work: workloads.Rollout | workloads.Update, machine: Machine, efficiency: Efficiency) -> float:
    """Seconds of one repetition of a workload on one device with these rates."""
    made = experiment(work)
    plan = estimate.plan(
        made,
        ours.architecture(work.shape),
        _alone(machine),
        programs.layout(made, jax.devices()[:1]),
        Assumptions(efficiency=efficiency),
        compiler=_counted,
    )
    phases = ["update"] if isinstance(work, workloads.Update) else []
    if isinstance(work, workloads.Rollout) or work.with_rollout:
        phases += ["prefill", "decode", "logprobs"]
    return sum(plan.phases[phase] for phase in phases)


def experiment(work: workloads.Rollout | workloads.Update) -> Experiment:
    """A config with the workload's shape of batch; its model is given apart."""
    config = ours.grpo_config(work)
    return Experiment(
        model=ModelConfig(compute_dtype=work.dtype),
        data=DataConfig(max_prompt_tokens=work.prompt_tokens),
        sampling=SamplingConfig(max_new_tokens=work.new_tokens),
        grpo=config,
    )


def _counted(program: programs.Program) -> Compiled:
    """What the clock needs of a program: nothing is compiled."""
    work = flops.count(program.trace().jaxpr, loop_steps=program.loop_steps)
    return Compiled(name=program.name, memory=None, over="", compile_secs=0.0, flops=work, moved_bytes=0.0, traffic=())


def _alone(machine: Machine) -> Slice:
    chip = Chip(
        name="here",
        accelerator="",
        cores_counted=1,
        peak_flops=machine.flops,
        hbm_bytes=2**62,
        hbm_bandwidth=machine.bytes,
        ici_link=1.0,
        torus_dims=2,
        dcn=1.0,
        max_chips=1,
        runtime_version="",
        gke_accelerator="",
        gke_machine="",
    )
    return Slice(chip, (1,))
