#!/usr/bin/env bash
# Many runs over several slices: each slice takes the next run until none is left.
#
#   launch/sweep.sh NAME --runs=launch/study_v5e.txt --slices=4 --topology=v5e:8x8 --zone=us-central1-a
#                   --workdir=gs://BUCKET/STUDY [--project=P] [--spot | --reserved] [--max-failures=3] [--dry-run]
#                   [-- flags for every run]
#
# A line of the file is a run: its name, its --config, further flags; # begins a comment. Slices are NAME-1, NAME-2, ...
# and are given back at the end. Records lie in WORKDIR/runs, as a study's. A second start skips finished runs and
# resumes the others. Status 4: some runs failed, or a slice could not be given back; 3: no slice for some runs (each is
# listed).

source "$(dirname "$0")/pod.sh"

read_runs() { # sets `lines`, one run each
  [[ -r $runs ]] || die 2 "--runs=$runs: no such file"
  mapfile -t lines < <(sed 's/#.*//; /^[[:space:]]*$/d' "$runs")
  local line run_name
  for line in ${lines[@]+"${lines[@]}"}; do
    read -r run_name line <<<"$line"
    [[ $run_name =~ ^[a-zA-Z0-9._-]+$ && " $line" == *" --config="* ]] ||
      die 2 "--runs=$runs: '$run_name $line': write RUN --config=FILE:variant [flags]"
  done
  ((${#lines[@]})) || die 2 "--runs=$runs: no runs in it"
  local twice
  twice=$(printf '%s\n' "${lines[@]}" | awk '{print $1}' | sort | uniq -d)
  [[ -z $twice ]] || die 2 "--runs=$runs: names stand twice: ${twice//$'\n'/, }"
}

one_run() { # one_run SLICE RUN --config=... FLAG...
  local slice=$1 run_name=$2 words=("${@:3}") word config_flag="" flags=()
  for word in "${words[@]}"; do
    if [[ $word == --config=* ]]; then config_flag=$word; else flags+=("$word"); fi
  done
  "$here/resume.sh" "$slice" "--topology=$topology" "${where[@]}" ${tier[@]+"${tier[@]}"} ${dry_run:+--dry-run} --keep \
    "--max-failures=$max_failures" "$config_flag" "--workdir=$workdir" "--run=$run_name" "--commit=$commit" -- \
    ${flags[@]+"${flags[@]}"} ${train_flags[@]+"${train_flags[@]}"}
}

claim() { # prints the first run that no slice has taken, and takes it
  local index
  for index in "${!lines[@]}"; do
    if mkdir "$claims/$index" 2>/dev/null; then echo "$index" && return; fi
  done
  return 1
}

serve() { # one slice: claims runs until none is left, then is given back; without quota it leaves them to the others
  local slice=$1 index words status
  while index=$(claim); do
    read -ra words <<<"${lines[index]}"
    status=0
    one_run "$slice" "${words[@]}" </dev/null || status=$?
    if ((status == 3)); then
      rmdir "$claims/$index"
      break
    fi
    ((status == 0)) || echo "${words[0]}" >>"$claims/failed"
  done
  "$here/delete.sh" "$slice" "${where[@]}" ${dry_run:+--dry-run} || echo "$slice" >>"$claims/left"
}

conclude() { # says what is not as it should be
  local index words status=0
  while index=$(claim); do
    read -ra words <<<"${lines[index]}"
    echo "${words[0]}" >>"$claims/refused"
  done
  [[ ! -e $claims/left ]] || { status=4 && echo "not given back, may cost money: $(paste -sd' ' "$claims/left")" >&2; }
  [[ ! -e $claims/failed ]] || { status=4 && echo "failed: $(paste -sd' ' "$claims/failed")" >&2; }
  [[ ! -e $claims/refused ]] || { status=${status/0/3} && echo "no slice for: $(paste -sd' ' "$claims/refused")" >&2; }
  ((status == 0)) || die "$status" "start again to resume what is not done"
  echo "$name: all ${#lines[@]} runs are done"
}

interrupted() { # each job is a process group of its own (set -m): its supervisor and that one's children end with it
  local job
  for job in $(jobs -p); do kill -TERM -- "-$job" 2>/dev/null || true; done
  die 4 "interrupted; what trains goes on: start again to supervise it, or launch/delete.sh"
}

parse_options "$@"
need topology zone workdir runs
name_commit
[[ $slices =~ ^[1-9][0-9]*$ ]] || die 2 "--slices=$slices: give a number of slices"
slice_facts
place
read_runs
claims=$(mktemp -d)
trap 'rm -rf "$claims"' EXIT
trap interrupted INT TERM
if [[ $dry_run ]]; then
  serve "$name-1"
  exit
fi
set -m
for ((number = 1; number <= slices && number <= ${#lines[@]}; number++)); do
  serve "$name-$number" &
done
wait
conclude
