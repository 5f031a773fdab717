"""What the compiler said of a program before, kept on disk under the program's text, devices and compiler.

An unchanged program is then not compiled again: by a search, by a config with the same shapes, after an interruption.
"""

import hashlib
import importlib.metadata
import inspect
import json
import os
import pathlib
from typing import Any

import jax

from rlscale_jax.models import runtime
from rlscale_jax.planning import collectives
from rlscale_jax.planning.programs import Program


def place(program: Program, text: str) -> pathlib.Path | None:
    """The file for a program whose lowered text this is; None where nothing is kept (RLSCALE_CACHE_DIR=off)."""
    directory = runtime.cache_directory()
    if directory is None:
        return None
    devices = [(d.id, d.platform, d.device_kind, getattr(d, "coords", None)) for d in program.mesh.devices.flat]
    versions = [jax.__version__, *(found.version for found in importlib.metadata.distributions(name="libtpu"))]
    mesh = (program.mesh.axis_names, program.mesh.devices.shape)
    reading = (program.loop_steps, inspect.getsource(collectives))  # what is kept was read from the compiler's text
    known = repr((text, devices, versions, mesh, reading, os.environ.get("XLA_FLAGS", "")))
    return directory / "plans" / f"{hashlib.sha256(known.encode()).hexdigest()[:32]}.json"


def read(path: pathlib.Path | None) -> dict[str, Any]:
    """What was written there; empty where nothing was."""
    return json.loads(path.read_text()) if path and path.exists() else {}


def write(path: pathlib.Path | None, found: dict[str, Any]) -> None:
    """Whole or not at all, as several plans may run at a time."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(found))
    temporary.replace(path)
