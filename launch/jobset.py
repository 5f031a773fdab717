"""Prints the GKE JobSet manifest of a run: one indexed job, a pod per host of the slice, queued by Kueue.

JSON, which kubectl reads as it reads YAML. JobSet gives the pods their names and GKE injects the TPU's environment
(TPU_WORKER_ID, TPU_WORKER_HOSTNAMES), by which jax.distributed finds the other hosts.
Sources: the JobSet API (jobset.x-k8s.io/v1alpha2) and Google's page "Orchestrate Multislice workloads using JobSet
and Kueue".
"""

import argparse
import json
import sys

from rlscale_jax.planning import topologies


def manifest(args: argparse.Namespace) -> dict:
    pod = topologies.parse(args.topology)
    job = {
        "parallelism": pod.num_hosts,
        "completions": pod.num_hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,  # a lost host ends the whole set, which then starts again from the checkpoint
        "template": {"spec": _pod_spec(pod, args)},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": args.name,
            "labels": {"kueue.x-k8s.io/queue-name": args.queue},
            "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "failurePolicy": {"maxRestarts": args.max_restarts},
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "replicatedJobs": [{"name": "slice", "replicas": 1, "template": {"spec": job}}],
        },
    }


def _pod_spec(pod: topologies.Slice, args: argparse.Namespace) -> dict:
    selector = {
        "cloud.google.com/gke-tpu-accelerator": pod.chip.gke_accelerator,
        "cloud.google.com/gke-tpu-topology": pod.topology,
    }
    chips = {"google.com/tpu": str(pod.chips_per_host)}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 120,  # SIGTERM: training saves a checkpoint and ends
        "nodeSelector": selector | ({"cloud.google.com/gke-spot": "true"} if args.spot else {}),
        "containers": [
            {
                "name": "train",
                "image": args.image,
                "command": ["python", "-m", "rlscale_jax.train", *args.train_flags],
                "ports": [{"containerPort": 8471}, {"containerPort": 8476}],  # libtpu's, jax.distributed's
                "env": [{"name": "RLSCALE_DISTRIBUTED", "value": "1"}],
                "resources": {"requests": chips, "limits": chips},
            }
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("name", "topology", "image", "queue"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--max-restarts", type=int, default=3)
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("--reserved", action="store_true", help="node pools, not jobs, hold reservations: no effect")
    parser.add_argument("train_flags", nargs="*", help="after --: flags of rlscale_jax.train")
    try:
        print(json.dumps(manifest(parser.parse_args()), indent=2))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
