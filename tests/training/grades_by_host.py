"""A verifier with mixed verdicts even for an untrained model; it can write down whose process it runs in."""

import os


def grade(response: str, ground_truth: str) -> bool:
    if place := os.environ.get("GRADED_BY"):
        with open(place, "a") as file:
            file.write(os.environ.get("RLSCALE_PROCESS_ID", "0") + "\n")
    return (len(response) + len(ground_truth)) % 2 == 0
