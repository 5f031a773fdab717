"""What ladder runs share: starting points that differ in family or finetuning, and the suites of an evaluation."""

import dataclasses
import json
import pathlib

import numpy as np

from rlscale_jax import models
from rlscale_jax.data.problems import read_problems
from rlscale_jax.training import assets


def made(tiny, directory, **changes):
    experiment = tiny.experiment(pretrain=dataclasses.replace(tiny.BASE, **changes))
    return assets.ensure(experiment, directory, log_path=directory / "log.txt")


def test_a_finetuned_start_begins_where_its_base_ends(tiny, tiny_assets):
    base = made(tiny, tiny_assets)
    num_bases = len(list(tiny_assets.glob("base-??????????")))
    tuned = made(tiny, tiny_assets, finetune_steps=1, finetune_learning_rate=0.0)
    moved = made(tiny, tiny_assets, finetune_steps=2, finetune_learning_rate=1e-3)
    assert len(list(tiny_assets.glob("base-??????????"))) == num_bases + 2  # the base is not made again
    kernels = [
        np.asarray(models.load_pretrained(e.model.path, dtype=np.float32).params["layers"]["up"]["kernel"])
        for e in (base, tuned, moved)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert 0 < np.abs(kernels[2] - kernels[0]).max() < 0.01


def test_a_llama_ladder_has_llama_s_shape(tiny, tiny_assets):
    path = pathlib.Path(made(tiny, tiny_assets, family="llama").model.path)
    config = json.loads((path / "config.json").read_text())
    assert (config["model_type"], config["attention_bias"], config["tie_word_embeddings"]) == ("llama", False, False)
    assert config["rope_scaling"]["rope_type"] == "llama3"
    model = models.load_pretrained(path, dtype=np.float32)
    assert "lm_head" in model.params and "bias" not in model.params["layers"]["q"]


def test_runs_are_evaluated_on_easier_harder_larger_and_other_questions(tiny, tiny_assets):
    experiment = made(tiny, tiny_assets)
    paths = dict(entry.split("=") for entry in experiment.evaluation.suites.split(","))
    assert set(paths) >= {"larger", "difference", "largest"}
    sets = {name: read_problems(path) for name, path in paths.items()}
    assert all(int(p.text.split("+")[0].split("-")[0]) >= 50 for p in sets["larger"])
    heldout = {p.text for p in read_problems(experiment.data.heldout)}
    levels = {name: {p.provenance for p in sets[name]} for name in ("easier", "harder") if name in sets}
    assert all(p.text in heldout for name in levels for p in sets[name])
    assert levels.get("harder", {"level 4"}) == {"level 4"} and levels.get("easier", {"level 1"}) == {"level 1"}
