#!/usr/bin/env bash
# Rehearses a pod on this machine: each host is a process with virtual devices, started by worker.sh as on a pod.
#
#   launch/rehearse.sh RUN --config=configs/ladder_cpu.py:d24 --workdir=runs/rehearsal [--hosts=2] [--devices=4]
#                      [--preempt=SECONDS] [-- further flags of rlscale_jax.train]
#
# Hosts find each other by jax.distributed on loopback, reductions go over gloo. --preempt gives all of them SIGTERM so
# many seconds after the first record, once, as the cloud does, and starts them again: the run goes on from what it
# saved. Python is $PYTHON, else .venv's, else python3. Status 0: the run is done; 4: a host failed (its log is under
# WORKDIR/hosts).

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
run="" config="" workdir="" hosts=2 devices=4 preempt=0 flags=()

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

die() { # die STATUS MESSAGE
  echo "rehearse.sh: ${*:2}" >&2
  exit "$1"
}

parse_options() {
  while (($#)); do
    case $1 in
      --help | -h) usage && exit 0 ;;
      --config=* | --workdir=* | --hosts=* | --devices=* | --preempt=*)
        local option=${1%%=*}
        printf -v "${option#--}" '%s' "${1#*=}"
        ;;
      --) shift && flags=("$@") && break ;;
      -*) die 2 "unknown option $1 (--help lists them; train's own come after --)" ;;
      *) run=$1 ;;
    esac
    shift
  done
  [[ $run =~ ^[a-zA-Z0-9._-]+$ ]] || die 2 "RUN '$run': give letters, digits, dots and dashes"
  [[ $config && $workdir ]] || die 2 "--config=... and --workdir=... are needed (--help says what they are)"
  [[ $hosts =~ ^[1-9]$ && $devices =~ ^[1-9][0-9]*$ && $preempt =~ ^[0-9]+$ ]] ||
    die 2 "--hosts=$hosts --devices=$devices --preempt=$preempt: give numbers, at most 9 hosts"
}

choose_python() {
  python=${PYTHON:-$root/.venv/bin/python}
  [[ -x $python ]] || python=$(command -v python3)
}

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

worker() { # worker HOST ACTION ARGUMENT...: worker.sh as on that host, whose home is a directory of its own
  HOME=$workdir/hosts/$1 RLSCALE_PYTHON=$python RLSCALE_COORDINATOR=127.0.0.1:$port RLSCALE_NUM_PROCESSES=$hosts \
    RLSCALE_PROCESS_ID=$1 RLSCALE_CACHE_DIR=$cache JAX_PLATFORMS=cpu \
    XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices" \
    bash "$here/worker.sh" "$2" "$run" "${@:3}"
}

each() { # each ACTION ARGUMENT...: on all hosts at once
  local host
  for ((host = 0; host < hosts; host++)); do worker "$host" "$@" & done
  wait
}

start() {
  port=$(free_port)
  each start "$workdir/launch/$run" "--config=$config" "--workdir=$workdir" ${flags[@]+"${flags[@]}"}
}

follow() { # prints done or failed, or preempted that many seconds after the first record
  local states limit=$1 began=""
  while sleep 0.5; do
    states=$(each status)
    if grep -qE ' (failed|absent)$' <<<"$states"; then echo failed && return; fi
    if (($(grep -c ' done$' <<<"$states") == hosts)); then echo 'done' && return; fi
    [[ $began ]] || ! compgen -G "$workdir/runs/*/metrics.jsonl" >/dev/null || began=$SECONDS
    if ((limit)) && [[ $began ]] && ((SECONDS - began >= limit)); then echo preempted && return; fi
  done
}

parse_options "$@"
choose_python
cache=${RLSCALE_CACHE_DIR:-$HOME/.cache/rlscale_jax}
port=0
mkdir -p "$workdir/launch/$run/logs"
workdir=$(cd "$workdir" && pwd)
trap 'each stop; exit 4' INT TERM
start
outcome=$(follow "$preempt")
if [[ $outcome == preempted ]]; then
  echo "$run: preempted, and started again"
  each stop
  start
  outcome=$(follow 0)
fi
echo "$run: $outcome"
[[ $outcome == 'done' ]] || { each stop && die 4 "a host failed; see $workdir/hosts/*/rlscale/runs/$run/log.txt"; }
