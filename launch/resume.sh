#!/usr/bin/env bash
# Supervises a run to its end: rents the slice, starts, watches, and goes on after a preemption or a failure.
#
#   launch/resume.sh NAME --topology=v5e:8x8 --zone=us-central1-a --config=configs/qwen2_5.py:7b
#                    --workdir=gs://BUCKET/DIR [--project=P] [--spot | --reserved] [--keep] [--max-failures=3] [--dry-run]
#                    [--run=NAME] [--commit=HEAD] [-- further flags of rlscale_jax.train]
#
# Training lives on the slice: when this supervisor dies, start it again and it goes on watching. At the end, or after
# more than --max-failures failures in a row, the slice is given back (--keep: it stays). A finished run is marked by
# WORKDIR/launch/NAME/DONE and never started again.

source "$(dirname "$0")/pod.sh"

call() { # call SCRIPT FLAG...: another launch script, for this slice
  local script=$1
  shift
  "$here/$script" "$name" "${where[@]}" ${dry_run:+--dry-run} "$@"
}

rent() { # a wrong option (2) or a refusal (3) is final
  local status=0
  call create.sh "--topology=$topology" ${tier[@]+"${tier[@]}"} || status=$?
  ((status != 2 && status != 3)) || exit "$status"
  return "$status"
}
start() { call run.sh "--config=$config" "--workdir=$workdir" "--run=$run" "--commit=$commit" -- ${train_flags[@]+"${train_flags[@]}"}; }
give_back() { [[ $keep ]] || call delete.sh; }

follow() { # prints how it ended: done, failed, stopped (a notice: it has saved), unreachable or preempted
  local misses=0 found lines
  while sleep "$poll_secs"; do
    found=$(state) || continue # the API is out of reach: the run is not
    [[ $found == ACTIVE ]] || { echo preempted && return; }
    if ! lines=$(on_all_workers "$(worker status)" 2>/dev/null); then
      ((++misses < tries)) || { echo unreachable && return; }
      continue
    fi
    misses=0
    if grep -qE ' (failed|absent)$' <<<"$lines"; then echo failed && return; fi
    if grep -q ' stopped$' <<<"$lines"; then echo stopped && return; fi
    if (($(grep -c ' done$' <<<"$lines") == num_hosts)); then echo 'done' && return; fi
  done
}

finish() { # the run is over
  echo "$config" | gcloud storage cp - "$records/DONE" || echo "$name: could not write $records/DONE" >&2
  give_back
  echo "$name: run $run is done"
  exit 0
}

supervise() {
  local failures=0 outcome began
  while ((failures <= max_failures)); do
    began=$SECONDS
    if ! rent; then
      outcome=unrented
    elif ! start; then
      outcome=failed
    else
      outcome=$(follow)
    fi
    echo "$name: $outcome after $((SECONDS - began)) s"
    ((SECONDS - began < 3600)) || failures=0
    case $outcome in
      done) finish ;;
      unrented) failures=$((failures + 1)) && sleep "$poll_secs" ;;
      failed) failures=$((failures + 1)) && { on_all_workers "$(worker stop)" || call delete.sh; } ;;
      stopped) on_all_workers "$(worker stop)" || call delete.sh ;;
      unreachable) failures=$((failures + 1)) && call delete.sh ;;
    esac
  done
  give_back
  die 4 "gave up after $failures failures in a row; see $records/logs. Checkpoints are whole: start again to go on"
}

parse_options "$@"
need topology zone config workdir
name_commit
slice_facts
place
if [[ $dry_run ]]; then
  rent && start && on_all_workers "$(worker status)" && give_back
elif finished=$(gcloud storage cat "$records/DONE" 2>/dev/null); then
  [[ $finished == "$config" ]] || die 2 "run $run in $workdir was --config=$finished and is done; give another --run=NAME"
  echo "$name: run $run is done already"
else
  supervise
fi
