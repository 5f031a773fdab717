#!/usr/bin/env bash
# The main job on this machine: installs into .venv, then runs (or goes on with) the CPU ladder study in runs/ladder.
#   bash launch/local.sh [VARIANT]     VARIANT: smoke for a 90-second study (runs/ladder_smoke)
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
install requirements.txt
variant="${1:-}"
exec .venv/bin/python -m rlscale_jax.study \
  --config="configs/ladder_cpu.py${variant:+:$variant}" --workdir="runs/ladder${variant:+_$variant}"
