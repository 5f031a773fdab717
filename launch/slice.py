"""Prints a topology's accelerator type, runtime version and number of hosts for the launch scripts."""

import sys

from rlscale_jax.planning import topologies

try:
    pod = topologies.parse(sys.argv[1])
except ValueError as error:
    sys.exit(f"error: {error}")
print(pod.accelerator_type, pod.chip.runtime_version, pod.num_hosts)
