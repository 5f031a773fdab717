#!/usr/bin/env python3
"""Stands for uv on a fake host: accepts exactly the two commands of worker.sh, links this interpreter."""

import os
import pathlib
import sys

argv = sys.argv[1:]
if argv[:1] == ["venv"]:
    assert argv[:-1] == ["venv", "--quiet", "--clear", "--python=3.11"], argv
    binaries = pathlib.Path(argv[-1]) / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    if not (binaries / "python").exists():
        (binaries / "python").symlink_to(sys.executable)
else:
    names = [arg.partition("=")[0] for arg in argv]
    assert names == ["pip", "install", "--quiet", "--python", "--requirement", "--constraint"], argv
    for arg in argv[3:]:
        assert os.path.exists(arg.partition("=")[2]), arg
    if (pathlib.Path(os.environ["FAKE_CLOUD"]) / "install_fails").exists():
        sys.exit("no matching distribution")
