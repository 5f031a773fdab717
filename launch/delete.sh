#!/usr/bin/env bash
# Gives a slice back, whatever its state, and checks that it is gone. Checkpoints and records stay in the bucket.
#
#   launch/delete.sh NAME --zone=us-central1-a [--project=P] [--dry-run]

source "$(dirname "$0")/pod.sh"

parse_options "$@"
need zone
place
delete=(gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet)
if [[ $dry_run ]]; then
  run "${delete[@]}"
  exit
fi
for ((attempt = 1; attempt <= 20; attempt++)); do
  found=$(state) || found=UNREADABLE
  case $found in
    NONE) echo "$name is gone" && exit 0 ;;
    DELETING | UNREADABLE) ;;
    *) "${delete[@]}" || echo "$name: $found; asking again" >&2 ;;
  esac
  sleep "$poll_secs"
done
die 4 "$name is still there ($found) and may cost money: see the console of project ${project:-your default}"
