"""A user's verifier that writes down which host's grading process it runs in."""

import os


def grade(response: str, ground_truth: str) -> bool:
    with open(os.environ["GRADED_BY"], "a") as file:
        file.write(os.environ.get("RLSCALE_PROCESS_ID", "0") + "\n")
    return response.strip() == ground_truth
