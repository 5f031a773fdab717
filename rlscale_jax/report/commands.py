"""Which command makes what a report lacks, for a ladder and for the published sizes."""

from rlscale_jax.report.study import StudyData

_STUDY = "python -m rlscale_jax.study"
_LADDER = {
    "scaling": "--config=configs/ladder_cpu.py --sweep=seed=0,1,2",
    "instruct": "--config=configs/ladder_cpu.py:instruct",
    "llama": "--config=configs/ladder_cpu.py:llama",
    "group size": "--config=configs/ladder_cpu.py:d40 --sweep=grpo.group_size=4,8,16,32",
    "reuse": "--config=configs/ladder_cpu.py:d40 --sweep=data.reuse_factor=1,2,5,10,25,50",
    "transfer": "--config=configs/ladder_cpu.py",
    "instruct transfer": "--config=configs/ladder_cpu.py:instruct",
}
_PUBLISHED = {
    "scaling": "--config=configs/qwen2_5.py:base",
    "instruct": "--config=configs/qwen2_5.py:instruct",
    "llama": "--config=configs/llama3.py:instruct",
    "group size": "--config=configs/qwen2_5.py:7b --sweep=grpo.group_size=4,8,16,32",
    "reuse": "--config=configs/qwen2_5.py:7b-reuse --sweep=data.reuse_factor=1,2,4,5,10,20,25,50,100",
    "transfer": "--config=configs/qwen2_5.py:base-transfer",
    "instruct transfer": "--config=configs/qwen2_5.py:instruct-transfer",
}


def command(experiment: str, data: StudyData, *, start: str = "base") -> str:
    """The command that runs `experiment` (a key above) in this study's directory, for sizes such as it has.

    `start` "instruct": a sweep of one size on its instruct model.
    """
    config = (_PUBLISHED if data.real else _LADDER)[experiment]
    if start == "instruct":
        config = config.replace(":d40", ":d40-instruct").replace(":7b", ":7b-instruct")
    return f"{_STUDY} {config} --workdir={data.directory}"
