#!/usr/bin/env bash
# One host's share of a run: installs the pinned packages, starts training in the background, tells how it goes.
#
#   worker.sh {check | start | status | stop} RUN [gs://BUCKET/RECORDS flags of rlscale_jax.train]
#
# check succeeds while the host trains, this run or another. start does nothing if this run trains and refuses if
# another does. status prints `worker HOST STATE`, STATE being absent, running, done, stopped (it was asked to, and has
# saved) or failed. stop asks training to save and end, and insists after two minutes.

set -euo pipefail

action=$1 run=$2
code=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=$HOME/rlscale/runs/$run
mkdir -p "$home"

running() { # running [RUN_HOME]
  local pid=${1:-$home}/pid
  [[ -s $pid ]] && kill -0 -- "-$(<"$pid")" 2>/dev/null
}

check() {
  local other
  for other in "$HOME"/rlscale/runs/*; do
    if running "$other"; then return; fi
  done
  return 1
}

install() { # one environment per set of pins; the image's own python may be too old. A rehearsal brings its own
  local pins
  python=${RLSCALE_PYTHON:-}
  [[ $python ]] && return
  pins=$(cat "$code/requirements.txt" "$code/requirements-tpu.txt" "$code/constraints.txt" | sha256sum | cut -c1-12)
  python=$HOME/rlscale/venv-$pins/bin/python
  [[ -e $HOME/rlscale/venv-$pins/complete ]] && return
  export PATH=$HOME/.local/bin:$PATH
  command -v uv >/dev/null || python3 -m pip install --user --quiet uv
  uv venv --quiet --clear --python=3.11 "$HOME/rlscale/venv-$pins"
  uv pip install --quiet "--python=$python" "--requirement=$code/requirements-tpu.txt" "--constraint=$code/constraints.txt"
  touch "$HOME/rlscale/venv-$pins/complete"
}

copy_log() { # copy_log RECORDS: to the bucket; a rehearsal's stay where they are
  [[ $1 != gs://* ]] || gcloud storage cp "$home/log.txt" "$1/logs/$(hostname).txt" >/dev/null 2>&1 || true
}

train() { # train RECORDS FLAG...: the background process: training, its log copied to the bucket every minute, its exit status kept
  local status=0 records=$1
  while sleep 60; do copy_log "$records"; done &
  cd "$code"
  RLSCALE_DISTRIBUTED=1 "$python" -m rlscale_jax.train "${@:2}" || status=$?
  echo "$status" >"$home/exit"
  copy_log "$records"
  kill -TERM -- "-$$" # whatever is left of the group: the copier, strays of training
}

start() {
  if running; then
    echo "worker $(hostname) was already running"
    return
  fi
  if check; then
    echo "worker $(hostname): another run trains here; stop it first" >&2
    return 1
  fi
  install
  rm -f "$home/exit"
  export python
  setsid bash "${BASH_SOURCE[0]}" train "$run" "$@" </dev/null >>"$home/log.txt" 2>&1 &
  echo $! >"$home/pid"
  echo "worker $(hostname) started"
}

status() {
  local state=absent
  if [[ -s $home/exit ]]; then
    case $(<"$home/exit") in 0) state="done" ;; 143) state=stopped ;; *) state=failed ;; esac
  elif running; then
    state=running
  elif [[ -s $home/pid ]]; then
    state=failed # killed before it could say so
  fi
  echo "worker $(hostname) $state"
}

stop() {
  running || return 0
  local group
  group=$(<"$home/pid")
  kill -TERM -- "-$group" 2>/dev/null || true
  for _ in $(seq 240); do running && sleep 0.5; done
  kill -KILL -- "-$group" 2>/dev/null || true
}

case $action in
  check | start | status | stop | train) "$action" "${@:3}" ;;
  *) echo "worker.sh: unknown action $action" >&2 && exit 2 ;;
esac
