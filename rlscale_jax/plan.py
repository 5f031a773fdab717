"""Will it fit, how fast, at what cost: compiles a run for a pod, ahead of time, on a machine without one.

  python -m rlscale_jax.plan --config=configs/qwen2_5.py:7b --topology=v5e:8x8
  python -m rlscale_jax.plan --config=configs/qwen2_5.py:72b --topology=v5p:8x8x8 --json=plan.json --html=plan.html
  python -m rlscale_jax.plan --config=configs/llama3.py:8b --topology=v6e:8x8 --search --price_per_chip_hour=2.7

The run's own programs are compiled by the TPU compiler (libtpu) with every array at full size: memory and transfers are
the compiler's, FLOPs our own count. `--topology=h100:8` gives memory and roofline by formula. Exit status 1: it does
not fit.
"""

import sys

from absl import flags as absl_flags
from ml_collections import config_flags

from rlscale_jax.experiment import flags, validation
from rlscale_jax.planning import gpus, libtpu, topologies

CONFIG = flags.define_config()
TOPOLOGY = absl_flags.DEFINE_string("topology", None, "slice, e.g. v5e:8x8 or v5p:8x8x8; or GPUs, e.g. h100:8")
ARCHITECTURE = absl_flags.DEFINE_string("architecture", "", "config.json to plan for; default: the config's model")
SEARCH = absl_flags.DEFINE_bool("search", False, "try meshes, micro-batches, waves and remat; recommend the fastest")
MEAN_PROMPT = absl_flags.DEFINE_integer("mean_prompt_tokens", 0, "for times and cost; 0: the limit")
MEAN_COMPLETION = absl_flags.DEFINE_integer("mean_completion_tokens", 0, "for times and cost; 0: the limit")
PRICE = absl_flags.DEFINE_float("price_per_chip_hour", 0.0, "for the cost, in any currency")
JSON = absl_flags.DEFINE_string("json", "", "file for the numbers")
HTML = absl_flags.DEFINE_string("html", "", "file for the page")


def main(_) -> None:
    if not TOPOLOGY.value:
        raise ValueError("give --topology=v5e:8x8, v5p:8x8x8, h100:8 or the like")
    if not hasattr(CONFIG.value, "grpo"):
        raise ValueError("this config is a study; plan one of its members")
    validation.validate(CONFIG.value)
    is_gpu = gpus.is_gpu(TOPOLOGY.value)
    pod = gpus.parse(TOPOLOGY.value) if is_gpu else topologies.parse(TOPOLOGY.value)
    libtpu.prepare(num_cpu_devices=pod.num_chips if is_gpu else 1)
    from rlscale_jax.planning import session  # imports JAX, which must find the environment prepared

    request = session.Request(
        experiment=CONFIG.value,
        config_file=config_flags.get_config_filename(absl_flags.FLAGS["config"]),
        architecture_file=ARCHITECTURE.value,
        pod=pod,
        is_gpu=is_gpu,
        search=SEARCH.value,
        mean_prompt_tokens=MEAN_PROMPT.value,
        mean_completion_tokens=MEAN_COMPLETION.value,
        price_per_chip_hour=PRICE.value,
        json_file=JSON.value,
        html_file=HTML.value,
    )
    if not session.run(request):
        sys.exit(1)


if __name__ == "__main__":
    flags.run(main, usage=__doc__)
