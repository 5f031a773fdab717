"""One set of tiny assets (tokenizer, problem sets, base model) for all training tests."""

import importlib.util
import pathlib
import shutil

import pytest

from rlscale_jax.training import assets


def _load(name: str):
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny():
    return _load("tiny")


@pytest.fixture(scope="session")
def pod():
    return _load("pod")


@pytest.fixture(scope="session")
def fake_bucket():
    return _load("fake_bucket")


@pytest.fixture
def copy_run():
    """Copies a run's directory; two runs may then go on from one."""
    return shutil.copytree


@pytest.fixture(scope="session")
def tiny_assets(tiny, tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("assets")
    assets.ensure(tiny.experiment(), directory, log_path=directory / "log.txt")
    return directory


@pytest.fixture(scope="session")
def golden():
    return _load("golden_update").arrays()


@pytest.fixture(scope="session")
def update_case(golden):
    return _load("golden_update").case(golden)
