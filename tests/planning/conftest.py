"""A small model and run whose whole plan compiles in seconds."""

import jax
import pytest

from rlscale_jax.experiment.config import DataConfig, Experiment, GrpoConfig, MeshConfig, ModelConfig, SamplingConfig
from rlscale_jax.models import from_hf_config
from rlscale_jax.planning import estimate, programs, topologies


@pytest.fixture(scope="session", autouse=True)
def memory_of_compilations(tmp_path_factory):
    """What is compiled here is compiled, not remembered from another session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLSCALE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def architecture():
    return from_hf_config(
        {
            "model_type": "qwen2",
            "vocab_size": 512,
            "hidden_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 384,
            "tie_word_embeddings": True,
        }
    )


@pytest.fixture
def experiment() -> Experiment:
    return make_experiment()


def make_experiment() -> Experiment:
    """Mini-batches of 4 prompts x 4 samples, 16 + 64 tokens."""
    return Experiment(
        name="tiny",
        num_steps=10,
        model=ModelConfig(name="tiny", path="nowhere/Tiny", compute_dtype="float32"),
        data=DataConfig(train="nowhere/train", heldout="nowhere/heldout", max_prompt_tokens=16),
        grpo=GrpoConfig(prompts_per_step=8, group_size=4, num_minibatches=2),
        sampling=SamplingConfig(max_new_tokens=64, wave_sequences=16),
        mesh=MeshConfig(tensor=2),
    )


@pytest.fixture(scope="session")
def compiled_plan(architecture):
    """Of virtual devices, by the CPU's compiler; once for all tests."""
    made = make_experiment()
    layout = programs.layout(made, jax.devices())
    return estimate.plan(made, architecture, topologies.parse("v5e:2x4"), layout, estimate.Assumptions())
