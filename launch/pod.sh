# shellcheck shell=bash disable=SC2034
# What the launch scripts share: options, dry runs, and the state of a queued resource. Sourced, never run.
#
# Needs bash >= 4.2, python3 >= 3.9 and, except for --dry-run, gcloud with a project and rights on TPUs and the bucket.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
poll_secs=${POLL_SECS:-30}
tries=${TRIES:-5} # at what can fail for a while: ssh, reading a state

name="" topology="" zone="" project="" config="" workdir="" run="" runs="" slices=1 image="" queue="" commit="" max_failures=3
tier=() train_flags=() dry_run="" keep=""

usage() { # the comment at the head of the script
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

die() { # die STATUS MESSAGE: 2 a wrong option, 3 no capacity or quota, 4 the pod or the run failed
  local status=$1
  shift
  echo "${0##*/}: $*" >&2
  exit "$status"
}

parse_options() {
  while (($#)); do
    case $1 in
      --help | -h) usage && exit 0 ;;
      --dry-run) dry_run=1 ;;
      --keep) keep=1 ;;
      --spot | --reserved)
        [[ ${tier[0]-$1} == "$1" ]] || die 2 "give --spot or --reserved, not both"
        tier=("$1")
        ;;
      --topology=* | --zone=* | --project=* | --config=* | --workdir=* | --run=* | --runs=* | --slices=* | --image=* | --queue=* | --commit=*)
        local option=${1%%=*}
        printf -v "${option#--}" '%s' "${1#*=}"
        ;;
      --max-failures=*) max_failures=${1#*=} ;;
      --) shift && train_flags=("$@") && break ;;
      -*) die 2 "unknown option $1 (options are written --name=value; --help lists them; train's own come after --)" ;;
      *)
        [[ -z $name ]] || die 2 "unexpected argument $1 after $name"
        name=$1
        ;;
    esac
    shift
  done
  [[ $max_failures =~ ^[0-9]+$ ]] || die 2 "--max-failures=$max_failures: give a number"
  [[ ${run:-run} =~ ^[a-zA-Z0-9._-]+$ ]] || die 2 "--run=$run: give letters, digits, dots and dashes"
  [[ $name =~ ^[a-z]([a-z0-9-]{0,50}[a-z0-9])?$ ]] || die 2 "NAME '$name': give lower-case letters, digits and dashes"
}

need() { # need OPTION...: dies unless each is set
  local option
  for option in "$@"; do
    [[ -n ${!option} ]] || die 2 "--$option=... is missing (--help says what it is)"
  done
  [[ -z $workdir || $workdir == gs://?*/?* ]] ||
    die 2 "--workdir=$workdir: give a directory in a bucket, gs://BUCKET/DIRECTORY"
  workdir=${workdir%/}
  run=${run:-$name}
  records=$workdir/launch/$run # what launching keeps of a run: logs of the hosts, DONE
}

run() { # executes a command, or prints it in a dry run
  if [[ $dry_run ]]; then
    local word
    for word in "$@"; do
      case $word in
        *\'*) printf '%q ' "$word" ;;
        *[!-a-zA-Z0-9_./:=,@+]*) printf "'%s' " "$word" ;;
        *) printf '%s ' "$word" ;;
      esac
    done
    echo
  else
    "$@"
  fi
}

place() { # the flags that say where a resource lives, as the array `where`
  where=("--zone=$zone")
  [[ -z $project ]] || where+=("--project=$project")
}

slice_facts() { # sets accelerator, runtime_version, num_hosts of $topology; refuses what cannot be bought
  local facts
  facts=$(PYTHONPATH="$root" "${PYTHON:-python3}" "$here/slice.py" "$topology") || exit 2
  read -r accelerator runtime_version num_hosts <<<"$facts"
}

state() { # prints the queued resource's state, NONE where there is none; fails where it cannot be told
  place
  local errors found
  errors=$(mktemp)
  if found=$(gcloud compute tpus queued-resources describe "$name" "${where[@]}" \
    "--format=value(state.state)" 2>"$errors"); then
    echo "${found:-UNKNOWN}"
  elif grep -q NOT_FOUND "$errors"; then
    echo NONE
  else
    cat "$errors" >&2
    rm -f "$errors"
    return 1
  fi
  rm -f "$errors"
}

name_commit() { # sets `commit`, of a tree without uncommitted changes unless --commit says which
  [[ -n $commit ]] || git -C "$root" diff --quiet HEAD -- ||
    die 2 "there are uncommitted changes; commit them, or name the run's code by --commit=REVISION"
  commit=$(git -C "$root" rev-parse --verify --quiet "${commit:-HEAD}^{commit}") || die 2 "--commit=$commit: no such commit"
}

on_all_workers() { # runs a command on every host of the slice at once; fails if one of them fails or is out of reach
  place
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all "--command=$1"
}

worker() { # worker ACTION: the command line of worker.sh for this run
  local line="bash rlscale/code/launch/worker.sh $1 $run" flag
  if [[ $1 == start ]]; then
    line+=" $(printf %q "$records")"
    for flag in "--workdir=$workdir" "--config=$config" ${train_flags[@]+"${train_flags[@]}"}; do
      line+=" $(printf %q "$flag")"
    done
  fi
  echo "$line"
}
