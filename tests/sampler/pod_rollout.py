"""Compiles one rollout's programs for a TPU slice without a TPU: python tests/sampler/pod_rollout.py CASE

Prints JSON: GiB on a device of every program, and for a decode step the bytes that its instructions move to and from
HBM beside one read of weights and caches. A process of its own: libtpu wants its environment before JAX is imported.
"""

import json
import sys

from rlscale_jax.experiment.config import DataConfig, Experiment, GrpoConfig, MeshConfig, ModelConfig, SamplingConfig
from rlscale_jax.planning import hbm, libtpu

CASES = {  # architecture, slice, fsdp, tensor, prompts
    "7b": ({"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}, "v5e:8x8", 16, 4, 64),
    "72b": ({"hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80}, "v5p:8x8x8", 64, 8, 512),
}
HEADS = {"7b": (28, 4), "72b": (64, 8)}


def main(case: str) -> None:
    libtpu.prepare()
    from rlscale_jax.planning import programs  # imports JAX

    experiment, architecture, plan = _request(case)
    report = {}
    for program in programs.sampling(experiment, architecture, plan):
        compiled = program.trace().lower(lowering_platforms=("tpu",)).compile()
        stats = compiled.memory_analysis()
        new = stats.output_size_in_bytes - stats.alias_size_in_bytes
        report[program.name] = (stats.argument_size_in_bytes + new + stats.temp_size_in_bytes) / 2**30
        if program.name == "segment":
            table = architecture.vocab_size * architecture.hidden_size * 2 // plan.mesh.shape["tensor"]  # rows only
            text = compiled.as_text()
            report["step_moves"] = hbm.moved_bytes(text, loop_steps=2) - hbm.moved_bytes(text, loop_steps=1)
            report["one_read"] = sum(program.named.values()) - table
    print(json.dumps(report))


def _request(case: str):
    from rlscale_jax.models import from_hf_config
    from rlscale_jax.models.mesh import make_mesh
    from rlscale_jax.planning import programs, topologies

    shape, topology, fsdp, tensor, prompts = CASES[case]
    heads, kv_heads = HEADS[case]
    names = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": 152064}
    architecture = from_hf_config({"model_type": "qwen2", "tie_word_embeddings": False, **shape, **names})
    experiment = Experiment(
        name=case,
        model=ModelConfig(name=case, path=case),
        data=DataConfig(train="none", heldout="none", max_prompt_tokens=2048),
        grpo=GrpoConfig(prompts_per_step=prompts, group_size=8),
        sampling=SamplingConfig(max_new_tokens=4096),
        mesh=MeshConfig(fsdp=fsdp, tensor=tensor),
    )
    mesh = make_mesh(experiment.mesh, libtpu.devices(topologies.parse(topology)))
    return experiment, architecture, programs.Layout(mesh=mesh, wave_sequences=prompts * 8)


if __name__ == "__main__":
    main(sys.argv[1])
