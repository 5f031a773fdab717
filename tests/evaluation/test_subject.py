"""What --checkpoint may name."""

import datetime
import json
import shutil

import jax.numpy as jnp
import pytest

from rlscale_jax import models
from rlscale_jax.evaluation import subject
from rlscale_jax.models import checkpoint

TODAY = datetime.date(2025, 9, 30)


@pytest.fixture(scope="module")
def model(model_directory):
    return models.load_pretrained(model_directory, dtype=jnp.float32)


def test_published_weights_count_where_pretraining_checkpoints_lie_beside(model_directory, model, tmp_path):
    """As in the ladder's assets/base-HASH."""
    checkpoint.import_hf(model_directory, tmp_path / "converted")
    base = shutil.copytree(model_directory, tmp_path / "base")
    shutil.copytree(tmp_path / "converted" / "checkpoints" / "0", base / "checkpoints" / "81")
    found = {place: subject.find(str(tmp_path / place), today=TODAY) for place in ("base", "converted")}
    found["step"] = subject.find(str(tmp_path / "converted" / "checkpoints" / "0"), today=TODAY)
    assert [found[place].published for place in ("base", "converted", "step")] == [True, False, False]
    assert len({one.tokenizer_digest for one in found.values()}) == 1


@pytest.mark.parametrize("broken", ["nowhere", "empty", "file.txt", "weightless"])
def test_what_is_no_model_is_refused(broken, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "weightless").mkdir()
    (tmp_path / "weightless" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=rf"--checkpoint=.*{broken}: no model there; give a Hugging Face directory"):
        subject.find(str(tmp_path / broken), today=TODAY)


def test_a_tokenizer_of_another_model_is_refused(model_directory, tmp_path):
    shutil.copytree(model_directory, tmp_path / "small")
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    (tmp_path / "small" / "config.json").write_text(json.dumps(config | {"vocab_size": 7}))
    with pytest.raises(ValueError, match="the model's embedding only 7"):
        subject.find(str(tmp_path / "small"), today=TODAY)


def test_prompts_that_hold_the_date_stay_as_they_began(model_directory, tmp_path):
    dated = shutil.copytree(model_directory, tmp_path / "dated")
    (dated / "chat_template.jinja").write_text("{{ strftime_now('%d') }}={{ messages[0]['content'] }}")
    texts = []
    for day in (1, 2):
        tokenizer = subject.find(str(dated), today=datetime.date(2025, 9, day)).tokenizer
        texts.append(tokenizer.decode(tokenizer.render([{"role": "user", "content": "3"}])))
    assert texts == ["01=3", "02=3"]
