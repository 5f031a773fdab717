"""What the compiler said of a program before, kept on disk under the program's text, devices and compiler.

An unchanged program is then not compiled again: by a search, by a config with the same shapes, after an interruption.
The compiled text is kept whole, so that a better way of reading it costs no compilation either.
"""

import gzip
import hashlib
import importlib.metadata
import json
import os
import pathlib
from typing import Any

import jax

from rlscale_jax.models import runtime
from rlscale_jax.planning.programs import Program


def fingerprint(program: Program, text: str) -> str:
    """Of a program whose lowered text this is, for these devices and this compiler."""
    devices = [(d.id, d.platform, d.device_kind, getattr(d, "coords", None)) for d in program.mesh.devices.flat]
    versions = [jax.__version__, *(found.version for found in importlib.metadata.distributions(name="libtpu"))]
    mesh = (program.mesh.axis_names, program.mesh.devices.shape)
    options = (program.options,) if program.options else ()
    known = repr((text, devices, versions, mesh, os.environ.get("XLA_FLAGS", ""), *options))
    return hashlib.sha256(known.encode()).hexdigest()[:32]


def place(name: str) -> pathlib.Path | None:
    """The file of a program with this fingerprint; None where nothing is kept (RLSCALE_CACHE_DIR=off)."""
    directory = runtime.cache_directory()
    return directory / "plans" / f"{name}.json.gz" if directory else None


def read(path: pathlib.Path | None) -> dict[str, Any]:
    """What was written there; empty where nothing was."""
    return json.loads(gzip.decompress(path.read_bytes())) if path and path.exists() else {}


def write(path: pathlib.Path | None, found: dict[str, Any]) -> None:
    """Whole or not at all, as several plans may run at a time."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(gzip.compress(json.dumps(found).encode(), compresslevel=3))
    temporary.replace(path)
