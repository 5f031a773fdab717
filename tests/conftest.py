"""Test set-up: several virtual CPU devices, strict promotion, shape checking, the optional real data."""

import os
import pathlib
from typing import ClassVar

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

ROOT = pathlib.Path(__file__).parent.parent
# Tests build the same small programs again and again; a second process or run need not compile them.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem


class MemoryBuckets(MemoryFileSystem):
    """gs:// in memory, with the names that Google's file system gives."""

    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs://"))

    def glob(self, path, **kwargs):
        return [name.removeprefix("/") for name in super().glob(path, **kwargs)]


@pytest.fixture
def bucket(monkeypatch):
    """The file system behind gs:// paths, which epath opens through fsspec."""
    buckets = MemoryBuckets()
    monkeypatch.setattr(fsspec, "filesystem", lambda *_, **__: buckets)
    yield buckets
    buckets.store.clear()


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The study's real files (RLSCALE_TEST_DATA, or shared/data beside the checkout); skips where absent."""
    places = [os.environ.get("RLSCALE_TEST_DATA", ""), ROOT.parent / "shared" / "data", ROOT / "shared" / "data"]
    for place in filter(None, places):
        if pathlib.Path(place).is_dir():
            return pathlib.Path(place)
    pytest.skip("the study's data files are not here")
