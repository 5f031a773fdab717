"""What an experiment is: plain dataclasses, one field per decision, defaults as in the published study.

`configs/*.py` build an `Experiment` (one run) or a `Study` (a grid of runs); flags override single fields;
`experiment.validate` checks the whole before anything slow starts. Units are in the names.
Defaults: PROTOCOL of arXiv 2509.25300 (its Table 2 and public code).
"""

import dataclasses
from dataclasses import dataclass, field

SCHEMA_VERSION = 1


@dataclass(kw_only=True)
class ModelConfig:
    """The policy's starting point, a directory with config.json, *.safetensors and tokenizer files."""

    name: str = "model"  # label in curves and figures
    path: str = ""  # Hugging Face directory (local or gs://); the ladder fills it in after pretraining
    n_nominal: float = 0.0  # parameters as the model is named, 7e9 for "7B"; 0: count non-embedding ones
    param_dtype: str = "float32"  # of the master copy: float32 or bfloat16
    compute_dtype: str = "bfloat16"  # of activations and rollouts: bfloat16 or float32


@dataclass(kw_only=True)
class DataConfig:
    """Problem sets: TFDS directories made by `prepare`, or JSONL / parquet files of a user's own."""

    train: str = ""  # problems to train on
    heldout: str = ""  # problems of the test loss
    verifier: str = ""  # "module:function" or "file.py:function"; "": by each problem's data_source
    max_prompt_tokens: int = 2048  # longer prompts are dropped and counted
    order: str = "easy_to_hard"  # "easy_to_hard" or "shuffled"
    num_unique: int = 0  # D_unique problems, stratified by difficulty; 0: all
    reuse_factor: int = 1  # tau: epochs over the subset
    subset: str = "independent"  # "independent" or "nested" subsets of num_unique problems


@dataclass(kw_only=True)
class SamplingConfig:
    max_new_tokens: int = 4096  # a completion is cut here
    temperature: float = 1.0
    top_p: float = 1.0  # 1: cuts nothing
    top_k: int = 0  # 0: cuts nothing
    wave_sequences: int = 0  # sequences decoded at a time; 0: all of the batch


@dataclass(kw_only=True)
class GrpoConfig:
    """The objective of PROTOCOL section 3. Options beyond it name their source in `rlscale_jax.grpo`."""

    prompts_per_step: int = 512
    group_size: int = 8
    num_minibatches: int = 4  # optimiser updates on one rollout batch
    micro_batch_prompts: int = 0  # prompts (with their whole groups) per gradient accumulation step; 0: the mini-batch
    clip_low: float = 0.2  # importance ratios below 1 - clip_low
    clip_high: float = 0.2  # and above 1 + clip_high gain nothing
    dual_clip: float = 3.0  # 0: off
    kl_coef: float = 0.001  # 0: no reference model is held
    kl_clamp: float = 10.0  # the k3 estimate of a token stays within +- this
    normalize_std: bool = True  # advantages over their group's deviation; False: Dr. GRPO
    advantage_eps: float = 1e-6  # added to the standard deviation of a group
    aggregation: str = "token_mean"  # "token_mean" over the mini-batch, or "sequence_mean"
    drop_zero_variance: bool = False  # groups of equal rewards leave the loss (DAPO)
    mask_overlong: bool = False  # completions cut at the limit leave the loss (DAPO)
    importance_cap: float = 0.0  # truncated importance weights sampler -> trainer; 0: off
    logprob_chunk_tokens: int = 1024  # tokens whose logits exist at one time
    remat: str = "full"  # layers recomputed in the backward pass: "full", "dots" (all but products) or "none"
    unroll_layers: bool = False  # straight code, not a loop: compiles longer, spares a GPU copies of what layers keep


@dataclass(kw_only=True)
class OptimizerConfig:
    learning_rate: float = 1e-6  # constant after the warm-up
    warmup_steps: int = 0
    weight_decay: float = 0.1  # decoupled, of every parameter
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float = 1.0  # of the global gradient
    max_nonfinite_steps: int = 5  # skipped updates in a row before the run stops


@dataclass(kw_only=True)
class EvaluationConfig:
    every_steps: int = 1  # and step 0 and the last step, always
    temperature: float = 0.7
    top_p: float = 1.0
    num_samples: int = 1
    max_new_tokens: int = 4096
    suites: str = ""  # further problem sets, "name=path,name=path"
    suites_every_steps: int = 0  # 0: before the first and after the last step


@dataclass(kw_only=True)
class MeshConfig:
    """Devices along each mesh axis; -1 for one axis takes what is left."""

    data: int = 1
    fsdp: int = -1
    tensor: int = 1
    sampler_tensor: int = 0  # ways in which the sampler splits weights, a multiple of tensor; 0: as tensor


@dataclass(kw_only=True)
class CheckpointConfig:
    every_steps: int = 5
    every_secs: float = 15.0  # whichever comes first
    keep_last: int = 2
    keep_every: int = 0  # steps kept for ever; 0: none
    keep_best: int = 1  # of those saved at an evaluation, by test loss


@dataclass(kw_only=True)
class PretrainConfig:
    """How a ladder's base model is made. `num_steps` 0: the model is a published checkpoint."""

    family: str = "qwen2"  # or "llama": no QKV bias, llama3 rope scaling, an LM head of its own
    hidden_size: int = 0
    num_layers: int = 0
    num_heads: int = 0
    num_kv_heads: int = 0
    head_dim: int = 0
    intermediate_size: int = 0
    rope_theta: float = 100.0  # for sequences of some tens of tokens
    num_steps: int = 0
    batch_sequences: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.1
    finetune_steps: int = 0  # batches of solutions without a slip after pretraining: an instruct-like start
    finetune_learning_rate: float = 1e-3
    seed: int = 0


@dataclass(kw_only=True)
class TaskConfig:
    """The synthetic arithmetic task of the ladder (`rlscale_jax.data.arithmetic`)."""

    seed: int = 0
    vocab_size: int = 64  # SentencePiece pieces
    num_corpus: int = 40_000  # worked solutions for pretraining
    slip_rate: float = 0.5  # share of them with a slip
    num_train: int = 8_192
    num_heldout: int = 500
    max_level: int = 4
    rating: PretrainConfig = field(default_factory=PretrainConfig)  # the base model whose pass rate orders the problems
    rating_samples: int = 8


@dataclass(kw_only=True)
class Experiment:
    """One run."""

    name: str = "experiment"  # of the run's directory
    variant: str = ""  # what a sweep has changed, "group_size4"; "": nothing. A law is fitted within one variant
    seed: int = 0  # of everything random in the run
    num_steps: int = 105  # rollout batches
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    reward_workers: int = 2
    reward_timeout_secs: float = 4.5  # for one response
    allow_weak_sandbox: bool = False  # grade code even where the kernel cannot isolate it fully
    log_rollouts_every: int = 20  # steps between samples of rollouts written for people to read; 0: never
    wandb_project: str = ""  # Weights & Biases project to report to, beside TensorBoard; "": none
    schema_version: int = SCHEMA_VERSION


@dataclass(kw_only=True)
class FitConfig:
    resources: tuple[str, ...] = ("compute", "data")
    law: str = "saturating"
    objective: str = "robust"
    drop_first: int = 0  # warm-up steps left out of each curve
    num_bootstrap: int = 200
    confidence: float = 0.9


@dataclass(kw_only=True)
class Study:
    """A grid of runs: members x seeds (x a sweep given by flag), then the fit and the report."""

    name: str = "study"
    members: tuple[Experiment, ...] = ()
    seeds: tuple[int, ...] = (0,)
    parallel_runs: int = 1  # processes at a time; more than 1 only where devices are not exclusive (CPU)
    max_attempts: int = 2
    fit: FitConfig = field(default_factory=FitConfig)
    schema_version: int = SCHEMA_VERSION


def to_dict(config) -> dict:
    """The config as nested plain dicts, ready for JSON."""
    return dataclasses.asdict(config)


def experiment_from_dict(values: dict) -> Experiment:
    """The experiment that `to_dict` wrote.

    Raises:
      ValueError: a field that this version does not know.
    """
    return _from_dict(Experiment, values)


def _from_dict(kind: type, values: dict):
    known = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {', '.join(unknown)}; was this written by a newer version?")
    return kind(
        **{
            name: _from_dict(type(getattr(kind(), name)), value) if isinstance(value, dict) else value
            for name, value in values.items()
        }
    )
