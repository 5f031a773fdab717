"""Other projects on the same work, each in a process and an environment of its own (see `benchmarks.measure`)."""

import pathlib
import subprocess

PACKAGES = {  # of the samplers
    "hf": ("torch", "transformers"),
    "tunix": ("tunix",),
    "llamacpp": ("llama_cpp", "gguf"),
    "llamacpp_each": ("llama_cpp", "gguf"),
}
INSTALL = "python -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/requirements-peers.txt"
USUAL_PYTHON = ".venv-peers/bin/python"


def default_python() -> str:
    """The environment that INSTALL makes, where it is; otherwise whatever `python` is."""
    return USUAL_PYTHON if pathlib.Path(USUAL_PYTHON).exists() else "python"


def check(name: str, python: str) -> None:
    """Raises ValueError, before anything is measured, where a peer's packages are missing: which, and what to do."""
    wanted = PACKAGES[name]
    script = f"import importlib.util as u; print(*(p for p in {wanted!r} if u.find_spec(p) is None))"
    try:
        found = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"--peer={name}: --peer_python={python} does not run ({error}); {_advice()}") from error
    if missing := found.stdout.split():
        raise ValueError(f"--peer={name} needs {' and '.join(missing)}, which {python} does not have; {_advice()}")


def _advice() -> str:
    return f"make the peers' environment ({INSTALL}) and pass --peer_python={USUAL_PYTHON}"
