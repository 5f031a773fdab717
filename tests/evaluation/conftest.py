"""A tiny model with random weights, problems for it, and a verifier whose verdicts can be worked out from the text."""

import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from rlscale_jax import models, tokenizers
from rlscale_jax.experiment.config import EvaluationConfig, Experiment, MeshConfig, ModelConfig
from rlscale_jax.models import Model, decoder, mesh
from rlscale_jax.tokenizers.training import train_sentencepiece

NUM_NEW = 24
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 100.0,
    "tie_word_embeddings": True,
    "max_position_embeddings": 128,
    "hidden_act": "silu",
}
ALL_DEVICES = mesh.make_mesh
VERIFIER = "def grade(response, ground_truth):\n    return len(response) % 2 == 0\n"


def write_model(directory: pathlib.Path, *, seed: int) -> pathlib.Path:
    train_sentencepiece([f"{i}+{i + 3}={2 * i + 3}" for i in range(200)], 40, directory / "tokenizer")
    tokenizer = tokenizers.load(directory / "tokenizer")
    architecture = models.from_hf_config({**CONFIG, "vocab_size": tokenizer.vocab_size})
    model = Model(architecture, decoder.init_params(architecture, seed))
    models.save_pretrained(model, directory / "model", dtype=jnp.float32, tokenizer_files=tokenizer.files)
    return directory / "model"


@pytest.fixture(autouse=True, scope="module")
def one_device():
    """Programs for one device compile faster; what is here is the same for several (tested once)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh, "make_mesh", lambda config: ALL_DEVICES(config, jax.devices()[:1]))
        yield ALL_DEVICES


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory) -> pathlib.Path:
    return write_model(tmp_path_factory.mktemp("one"), seed=0)


@pytest.fixture(scope="session")
def other_model_directory(tmp_path_factory) -> pathlib.Path:
    return write_model(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture(scope="session")
def problem_file(tmp_path_factory) -> pathlib.Path:
    """20 problems; the prompts of two are longer than the others'."""
    path = tmp_path_factory.mktemp("problems") / "sums.jsonl"
    rows = [{"prompt": f"{i}+{i + 1}=", "answer": str(2 * i + 1)} for i in range(18)]
    rows[5:5] = [{"prompt": "1+" * 20 + "1=", "answer": "21"}] * 2
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def verifier(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("verifier") / "even.py"
    path.write_text(VERIFIER)
    return f"{path}:grade"


@pytest.fixture(scope="session")
def experiment(verifier) -> Experiment:
    changed = Experiment(
        model=ModelConfig(compute_dtype="float32"),
        evaluation=EvaluationConfig(max_new_tokens=NUM_NEW, num_samples=3),
        mesh=MeshConfig(data=-1, fsdp=1),
        reward_workers=1,
    )
    changed.data.verifier = verifier
    changed.data.max_prompt_tokens = 16
    return changed
