#!/usr/bin/env bash
# Starts a run on every host of a slice: the same commit, the same pinned packages, one command.
#
#   launch/run.sh NAME --zone=us-central1-a --config=configs/qwen2_5.py:7b --workdir=gs://BUCKET/DIR [--project=P]
#                 [--run=NAME] [--commit=HEAD] [--dry-run] [-- further flags of rlscale_jax.train]
#
# The commit's archive goes to the bucket and from there to each host; training runs on in the background
# (worker.sh), hosts find each other by jax.distributed, and logs, metrics and checkpoints go to --workdir. A second
# start leaves a running run alone and resumes a stopped one from its last checkpoint. If one host cannot start, all are
# stopped: status 4.

source "$(dirname "$0")/pod.sh"

upload_code() { # puts the commit into the bucket, as `archive`
  local file
  archive=$workdir/launch/code/$commit.tar.gz
  file=$(mktemp)
  run git -C "$root" archive --format=tar.gz "--output=$file" "$commit"
  run gcloud storage cp "$file" "$archive"
  rm -f "$file"
}

reach_all() { # every host answers, or nothing is started (a fresh slice refuses connections for a while)
  local attempt
  for ((attempt = 1; attempt <= tries; attempt++)); do
    if on_all_workers true; then return; fi
    sleep "$poll_secs"
  done
  die 4 "a host of $name cannot be reached; nothing was started. Start again, or launch/delete.sh and create.sh"
}

parse_options "$@"
need zone config workdir
name_commit
if [[ ! $dry_run ]]; then
  found=$(state)
  [[ $found == ACTIVE ]] || die 4 "$name is $found; launch/create.sh rents it, launch/resume.sh waits for it"
fi
upload_code
reach_all
fetch="rm -rf rlscale/code && mkdir -p rlscale/code && gcloud storage cat $(printf %q "$archive") | tar xz -C rlscale/code"
if ! on_all_workers "$(worker check) 2>/dev/null || { $fetch; } && $(worker start)"; then
  on_all_workers "$(worker stop)" || echo "$name: some hosts did not answer the stop" >&2
  die 4 "one host could not start; all were stopped, the checkpoints in $workdir are whole"
fi
