"""The study's configs: protocol numbers of the paper, architectures that count to the published sizes."""

import json
import pathlib

import pytest

from rlscale_jax.experiment import flags, validation
from rlscale_jax.models import architecture

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs"
# non-embedding parameters in billions, as the model cards and the study's protocol state them
SIZES = {
    "Qwen2.5-0.5B": 0.36,
    "Qwen2.5-1.5B": 1.31,
    "Qwen2.5-3B": 2.77,
    "Qwen2.5-7B": 6.53,
    "Qwen2.5-14B": 13.1,
    "Qwen2.5-32B": 31.0,
    "Qwen2.5-72B": 70.0,
    "Llama-3.2-1B": 0.97,
    "Llama-3.2-3B": 2.8,
    "Llama-3.1-8B": 7.0,
    "Llama-3.1-70B": 68.5,
}
VARIANTS = [("qwen2_5", size) for size in ("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b")]
VARIANTS += [("llama3", size) for size in ("1b", "3b", "8b", "70b")]


@pytest.mark.parametrize("name", SIZES)
def test_architectures_count_to_the_published_sizes(name):
    found = architecture.from_hf_config(json.loads((CONFIGS / f"architectures/{name}.json").read_text()))
    assert found.num_nonembedding_params / 1e9 == pytest.approx(SIZES[name], rel=0.015)


@pytest.mark.parametrize(("file", "size"), VARIANTS)
@pytest.mark.parametrize("tuning", ["", "-base", "-instruct"])
def test_variants_are_the_study_s_protocol(file, size, tuning):
    experiment = flags.load(f"{CONFIGS / file}.py:{size}{tuning}")
    validation.validate(experiment)
    assert experiment.model.n_nominal == float(size[:-1]) * 1e9
    assert experiment.model.path.endswith("-Instruct") == (tuning == "-instruct" or (file == "llama3" and not tuning))
    grpo, optimizer = experiment.grpo, experiment.optimizer
    assert (experiment.num_steps, grpo.prompts_per_step, grpo.group_size, grpo.num_minibatches) == (105, 512, 8, 4)
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.clip_norm) == (1e-6, 0.1, 1.0)
    assert (experiment.data.max_prompt_tokens, experiment.sampling.max_new_tokens) == (2048, 4096)
    assert (experiment.sampling.temperature, experiment.evaluation.temperature) == (1.0, 0.7)


@pytest.mark.parametrize("variant", ["8b", "7b-chat", "7B", ""])
def test_unknown_variants_list_the_known(variant):
    with pytest.raises(ValueError, match=r"0\.5b, 1\.5b"):
        flags.load(f"{CONFIGS / 'qwen2_5.py'}:{variant or 'x'}")
