"""Saves and restores: donated buffers, damaged checkpoints, retention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.experiment.config import CheckpointConfig
from rlscale_jax.training import checkpoints


def fresh_state() -> dict:
    return {"params": {"w": jnp.arange(200_000, dtype=jnp.float32)}, "step": jnp.int32(0)}


@functools.partial(jax.jit, donate_argnums=0)
def advance(state):
    return {"params": {"w": state["params"]["w"] * 2 + 1}, "step": state["step"] + 1}


def opened(tmp_path, **overrides) -> checkpoints.RunCheckpoints:
    return checkpoints.RunCheckpoints(tmp_path / "checkpoints", CheckpointConfig(every_steps=1, **overrides))


def test_a_save_holds_the_state_that_was_given_though_its_buffers_are_donated_at_once(tmp_path):
    saves, state = opened(tmp_path, keep_last=5), fresh_state()
    expected = []
    for step in range(1, 5):
        state = advance(state)
        expected.append(np.array(state["params"]["w"], copy=True))
        saves.save(step, state, {})
        state = advance(advance(state))  # overwrites the buffers while the save is on its way
    saves.close()
    for step, values in enumerate(expected, 1):
        kept = checkpoints.ocp.load_checkpointables(str(tmp_path / "checkpoints" / str(step)), {"state": fresh_state()})
        np.testing.assert_array_equal(kept["state"]["params"]["w"], values)


def test_restore_gives_the_newest_state_and_its_meta(tmp_path):
    saves, state = opened(tmp_path), fresh_state()
    for step in (1, 2, 3):
        state = advance(state)
        saves.save(step, state, {"counters": {"samples": step * 64}})
    saves.close()
    again = opened(tmp_path)
    restored, meta = again.restore(checkpoints.abstract(fresh_state()))
    np.testing.assert_array_equal(restored["params"]["w"], state["params"]["w"])
    assert meta["step"] == 3 and meta["counters"] == {"samples": 192}
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]  # keep_last = 2
    again.close()


@pytest.mark.parametrize("damage", ["truncate", "remove_meta", "remove_arrays"])
def test_a_damaged_newest_checkpoint_is_set_aside_for_the_one_before(tmp_path, damage):
    saves, state = opened(tmp_path), fresh_state()
    for step in (1, 2):
        state = advance(state)
        saves.save(step, state, {})
    saves.close()
    newest = tmp_path / "checkpoints" / "2"
    for path in [p for p in newest.rglob("*") if p.is_file()]:
        if damage == "truncate":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif (damage == "remove_meta") == ("meta" in path.parts):
            path.unlink()
    again = opened(tmp_path)
    restored, meta = again.restore(checkpoints.abstract(fresh_state()))
    assert meta["step"] == 1
    np.testing.assert_array_equal(restored["params"]["w"], advance(fresh_state())["params"]["w"])
    assert list((tmp_path / "damaged").iterdir())
    again.close()


def test_a_relative_directory_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saves = checkpoints.RunCheckpoints("some/where", CheckpointConfig())
    saves.save(1, fresh_state(), {})
    saves.close()
    assert (tmp_path / "some" / "where" / "1").is_dir()


def test_no_checkpoint_gives_none(tmp_path):
    saves = opened(tmp_path)
    assert saves.restore(checkpoints.abstract(fresh_state())) is None
    saves.close()
