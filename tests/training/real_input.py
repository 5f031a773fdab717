"""The study's batch structure scaled down, on its own prompts: for commands, --config=tests/training/real_input.py:SIZE

`REAL_INPUT` names a directory with model/, train/ and heldout/ (see test_real_input).
"""

import os

from rlscale_jax.experiment.config import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    Experiment,
    GrpoConfig,
    ModelConfig,
    SamplingConfig,
)

PARAM_DTYPE = {
    "tiny": "float32",
    "half": "bfloat16",
}  # a state and a save of it in float32 are 12 GB for the 0.5B shape
MAX_PROMPT_TOKENS = {"tiny": 192, "half": 128}
NEW_TOKENS = {"tiny": 24, "half": 8}
PROMPTS = {"tiny": 16, "half": 4}  # of 512; 4 mini-batches and the KL term as in the study


def get_config(size: str) -> Experiment:
    place = os.environ["REAL_INPUT"]
    return Experiment(
        name=size,
        num_steps=3 if size == "tiny" else 2,
        model=ModelConfig(name=size, path=f"{place}/model", param_dtype=PARAM_DTYPE[size], compute_dtype="float32"),
        data=DataConfig(train=f"{place}/train", heldout=f"{place}/heldout", max_prompt_tokens=MAX_PROMPT_TOKENS[size]),
        sampling=SamplingConfig(max_new_tokens=NEW_TOKENS[size]),
        grpo=GrpoConfig(
            prompts_per_step=PROMPTS[size], group_size=8 if size == "tiny" else 2, logprob_chunk_tokens=128
        ),
        evaluation=EvaluationConfig(max_new_tokens=NEW_TOKENS[size], every_steps=2),
        checkpoint=CheckpointConfig(every_steps=1, every_secs=1e9, keep_last=1, keep_best=0),
        reward_workers=1,
    )
