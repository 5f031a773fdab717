#!/usr/bin/env bash
# Rents a TPU slice through a queued resource and waits until it is there.
#
#   launch/create.sh NAME --topology=v5e:8x8 --zone=us-central1-a [--project=P] [--spot | --reserved] [--dry-run]
#
# Without --spot or --reserved the slice is on demand. A second start finds the first one's request and waits for it;
# a request that failed or was preempted is removed and made again. Status 3: refused (quota), and nothing is left.

source "$(dirname "$0")/pod.sh"

request() {
  local status=0
  run gcloud compute tpus queued-resources create "$name" "--node-id=$name" "${where[@]}" \
    "--accelerator-type=$accelerator" "--runtime-version=$runtime_version" ${tier[@]+"${tier[@]}"} || status=$?
  ((status == 0)) || give_up "the request was refused"
}

remove() {
  run gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
}

give_up() { # leaves nothing behind
  [[ $dry_run || $(state) == NONE ]] || remove || die 4 "$name: $1, and the request could not be removed: launch/delete.sh"
  die 3 "$name ($accelerator in $zone): $1; nothing was left. Ask for quota, or try another zone or --spot"
}

check_size() { # a slice of the same name must be the slice that is asked for
  local found
  found=$(gcloud compute tpus queued-resources describe "$name" "${where[@]}" \
    "--format=value(tpu.nodeSpec[0].node.acceleratorType)") || return 1
  [[ ${found##*/} == "$accelerator" ]] || die 2 "$name exists as ${found##*/}, not $accelerator; use another NAME"
}

wait_for_slice() {
  local requested="" misses=0 found
  while true; do
    if ! found=$(state); then
      ((++misses < tries)) || die 4 "the state of $name cannot be read; it is as it was"
      sleep "$poll_secs" && continue
    fi
    case $found in
      ACTIVE)
        if check_size; then echo "$name is ready: $topology, $num_hosts hosts" && return; fi
        ((++misses < tries)) || die 4 "the size of $name cannot be read; it is as it was"
        sleep "$poll_secs" && continue
        ;;
      NONE) request && requested=1 ;;
      SUSPENDED) remove ;;
      FAILED) if [[ $requested ]]; then give_up "the request failed"; else remove; fi ;;
      *) echo "$name: $found" && sleep "$poll_secs" ;;
    esac
    misses=0
  done
}

parse_options "$@"
need topology zone
slice_facts
place
trap 'die 4 "interrupted; $name may be granted later and then costs money: start again, or launch/delete.sh"' INT TERM
if [[ $dry_run ]]; then request; else wait_for_slice; fi
