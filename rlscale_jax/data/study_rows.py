"""Rows of the study's parquet files as problems, with those files' peculiarities put right.

HumanEval keeps a whole list of messages, printed as a Python literal, in its one message's content; the zebra
puzzles' ground truth is a nested structure, stored here as JSON; the pass rate that orders the curriculum stands
in `extra_info`, for the training and held-out problems only.
"""

import ast
import json
import math
from collections.abc import Mapping

from rlscale_jax.data.record import Problem, to_messages

PASS_RATE = "qwen2.5_7b_pass_rate"  # of Qwen2.5-7B-Instruct, says the paper


def study_problem(row: Mapping, name: str, number: int) -> Problem:
    """The problem in one row; `name` and `number` say where the row stands.

    Raises:
      ValueError: a column is missing or holds something else than in the study's files.
    """
    missing = {"data_source", "prompt", "reward_model"} - set(row)
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))}; the columns here are {sorted(row)}")
    if (row["reward_model"] or {}).get("ground_truth") is None:
        raise ValueError(f"reward_model is {row['reward_model']!r}; expected ground_truth in it")
    extra = row.get("extra_info") or {}
    pass_rate = extra.get(PASS_RATE)
    return Problem(
        problem_id=f"{name}/{extra.get('index', number):05d}",  # sorts as the study's index
        domain=row.get("ability") or "",
        data_source=row["data_source"],
        messages=_messages(row["prompt"]),
        ground_truth=_ground_truth(row["reward_model"]["ground_truth"]),
        difficulty=math.nan if pass_rate is None else 1.0 - pass_rate,
        provenance=f"{name}:{number}",
    )


def _messages(prompt) -> tuple[Mapping[str, str], ...]:
    messages = to_messages(prompt)
    if len(messages) == 1 and str(messages[0]["content"]).startswith("[{"):
        return _literal(messages[0]["content"]) or messages
    return messages


def _literal(content: str) -> tuple[Mapping[str, str], ...]:
    """A printed list of messages; nothing for a text that merely begins like one."""
    try:
        value = ast.literal_eval(content)
    except (ValueError, SyntaxError):
        return ()
    is_messages = all(isinstance(entry, dict) and {"role", "content"} <= set(entry) for entry in value)
    return to_messages(value) if is_messages else ()


def _ground_truth(value) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
