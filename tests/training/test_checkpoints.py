"""Saves and restores: donated buffers, damaged checkpoints, retention."""

import functools
import resource
import shutil

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
        saves.save(step, state, {}, test_loss=0.5)
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


@pytest.mark.parametrize("seed", range(3))
def test_a_checkpoint_with_one_changed_byte_is_not_taken_for_what_was_saved(tmp_path, seed):
    """Wherever the byte lies: the state that is restored is one that was saved."""
    saves, states = opened(tmp_path), [fresh_state()]
    for step in (1, 2):
        states.append(advance(jax.tree.map(jnp.copy, states[-1])))
        saves.save(step, states[-1], {})
    saves.close()
    files = sorted(p for p in (tmp_path / "checkpoints" / "2").rglob("*") if p.is_file() and "d" in p.parts)
    path = max(files, key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    place = np.random.default_rng(seed).integers(len(data) // 4, 3 * len(data) // 4)
    data[place] ^= 0x10
    path.write_bytes(data)
    again = opened(tmp_path)
    restored, meta = again.restore(checkpoints.abstract(fresh_state()))
    np.testing.assert_array_equal(restored["params"]["w"], states[meta["step"]]["params"]["w"])
    again.close()


def test_the_best_are_kept_beside_the_last(tmp_path):
    saves, state = opened(tmp_path, keep_last=1, keep_best=2, keep_every=5), fresh_state()
    for step, loss in enumerate([0.9, 0.2, None, 0.5, 0.6, 0.1, 0.7, None], 1):
        saves.save(step, state, {}, test_loss=loss)
    saves.close()
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [2, 5, 6, 8]
    again = opened(tmp_path, keep_last=1, keep_best=1, keep_every=5)  # the losses are read back from the disk
    again.save(9, state, {}, test_loss=0.8)
    again.close()
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [5, 6, 9]


def test_leftovers_of_a_killed_save_are_removed(tmp_path):
    saves = opened(tmp_path)
    saves.save(1, fresh_state(), {})
    saves.close()
    shutil.copytree(tmp_path / "checkpoints" / "1", tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp")
    again = opened(tmp_path)
    assert again.restore(checkpoints.abstract(fresh_state()))[1]["step"] == 1
    again.save(2, fresh_state(), {})
    again.close()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]


def test_the_reason_of_a_failed_save_is_told_however_long_the_path(tmp_path):
    """A limit on the size of files stands for a disk that is full."""
    saves = opened(tmp_path / "/".join(["deep" * 20] * 4))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        with pytest.raises(checkpoints.SaveError, match=r"of step 1 could not .*File too large"):
            saves.save(1, fresh_state(), {})
            saves.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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
