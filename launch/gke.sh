#!/usr/bin/env bash
# Queues a run on a GKE cluster with JobSet and Kueue instead of renting a slice.
#
#   launch/gke.sh NAME --topology=v5e:8x8 --config=configs/qwen2_5.py:7b --workdir=gs://BUCKET/DIR
#                 --image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/rlscale:TAG --queue=LOCAL_QUEUE [--spot] [--dry-run]
#                 [-- further flags of rlscale_jax.train]
#
# The image is built from launch/Dockerfile. Kueue starts the job when its queue has the whole slice; JobSet restarts
# all hosts when one fails or is preempted, and the run goes on from its checkpoint. `kubectl delete jobset NAME` ends it.

source "$(dirname "$0")/pod.sh"

parse_options "$@"
need topology config workdir image queue
manifest=$(PYTHONPATH="$root" "${PYTHON:-python3}" "$here/jobset.py" "--name=$name" "--topology=$topology" \
  "--image=$image" "--queue=$queue" "--max-restarts=$max_failures" ${tier[@]+"${tier[@]}"} \
  -- "--config=$config" "--workdir=$workdir" ${train_flags[@]+"${train_flags[@]}"})
if [[ $dry_run ]]; then
  echo "$manifest"
  run kubectl apply --filename=-
else
  kubectl apply --filename=- <<<"$manifest"
fi
