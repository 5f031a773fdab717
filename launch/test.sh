#!/usr/bin/env bash
# Installs the development packages into .venv, then lints, checks types and runs the tests.
#   bash launch/test.sh [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
install requirements-dev.txt
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/pyright
exec .venv/bin/python -m pytest -n 2 "$@"
