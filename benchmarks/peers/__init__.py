"""Other projects on the same work, each in a process and an environment of its own (see `benchmarks.measure`)."""
