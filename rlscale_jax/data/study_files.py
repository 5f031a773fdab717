"""The study's data files: what each is called, how many rows it has, and its checksum.

The benchmarks and the reuse subsets stand in the study's code repository, the full curriculum and the held-out
problems (which cannot be drawn again from guru-RL-92k alone) in its data repository.
"""

import hashlib
from dataclasses import dataclass

from etils import epath

TRAIN, EVALUATION = "train", "evaluation"
DATA_REPOSITORY = "Artemis0430/GURU-MATH-CL"  # Hugging Face
CODE_REPOSITORY = "tanzelin430/Mathematical-Reasoning-RL-Scaling-Law"  # GitHub

_SUBSETS = "71d6d14b16f86918f143191ca019706ff5f06910/data/math_curriculum_sampled"
_HELDOUT = "4080c7b67d61e6ff781830778d5534a4944722a4/data/math_curriculum"
_BENCHMARKS = "5ef99919938687519eb716da329e7a33a69d6ba9/data/guru_verl/online_eval"


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """One file of arXiv 2509.25300 (its Table 1 and public code)."""

    name: str  # of the data set made from it
    filename: str
    role: str  # TRAIN or EVALUATION
    num_rows: int
    sha256: str  # "": not known to us, only the rows are counted
    code_path: str  # commit and folder in the study's code repository; "": only in its data repository


def _train(num_rows: int, sha256: str, *, part: int) -> StudyFile:
    filename = f"math__sampled_1_{part}_{num_rows}.parquet"
    return StudyFile(
        name=f"train_{num_rows}",
        filename=filename,
        role=TRAIN,
        num_rows=num_rows,
        sha256=sha256,
        code_path=_SUBSETS,
    )


def _evaluation(name: str, filename: str, num_rows: int, sha256: str) -> StudyFile:
    return StudyFile(
        name=name,
        filename=filename,
        role=EVALUATION,
        num_rows=num_rows,
        sha256=sha256,
        code_path=_HELDOUT if name == "heldout" else _BENCHMARKS,
    )


FILES = (
    StudyFile(
        name="train",
        filename="math__full_difficulty_ordered_train_53904.parquet",
        role=TRAIN,
        num_rows=53_904,
        sha256="",
        code_path="",
    ),
    _train(12_800, "d9532daf107d3f4d13e286d30876922080f79a1d3d30b50be7c55f43871abc2d", part=4),
    _train(10_240, "831d99958f724f595b988282b3bdccc41eeb18e264902d950de06b624e6cdd13", part=5),
    _train(5_120, "a7b235d5f6b47f32c0c869fa9f2cac09e3a6e5925298cb21b61d536530e1c2b2", part=10),
    _train(2_560, "33e2d113017465adcf2ed06b4af7b90216e1521495267d5d3e1469feb008a17f", part=20),
    _train(2_048, "068ed688ee404a9ef25af8dbe0170d22e8a757ed64b12f54aa25f08d35a5fec4", part=25),
    _train(1_024, "22b7670c6735e4301ba913dd3f13c722b82476183e694cc8b2496a7a2846ece4", part=50),
    _train(512, "4731d1a4d75459439e320d35f16030d096f9e7299d55191fe357bcc1dc0a0e7b", part=100),
    _evaluation(
        "heldout",
        "math__full_difficulty_ordered_test_500.parquet",
        500,
        "125eb2c367242f110eb242544eefcd52f0387eb6d1adbc210dc7b020ff59019e",
    ),
    _evaluation(
        "math500", "math__math_500.parquet", 500, "2da26f56c22979b6f86ff8952699e6c91a52f033dbb39c494fd91df396a20090"
    ),
    _evaluation("aime2024", "aime2024.parquet", 30, "0ed27e13bb31c36c9eb2eec14c4563a2b43789edf84afc1116ee3d8326b2e537"),
    _evaluation("amc2023", "amc2023.parquet", 40, "aad9273318df22e5470cd162bc979bdd659e6f7020ab56105229ffaeb0f1d76c"),
    _evaluation("gsm8k", "gsm8k.parquet", 1_319, "0a7f3b4abf9d787510c7b86dfe02680ac7286094ca170a5157d0b104f5ebc753"),
    _evaluation(
        "humaneval",
        "codegen__humaneval_164.parquet",
        164,
        "e33b3308b83327a83569c3a0792759bf28bfabfe63702958c39b6c1597a8714f",
    ),
    _evaluation(
        "zebra",
        "logic__zebra_puzzle_dataset_200.parquet",
        200,
        "cb2f505cc6cc38ad15e42d5a97939ca4dd3caf383f7525ea835be67c8ff40132",
    ),
    _evaluation(
        "supergpqa",
        "stem__supergpqa_200.parquet",
        200,
        "749fa8884342fbbf0b18c94c5a26340129335029ef5dcad2f67383d4cf5ec699",
    ),
)


def verify(path: epath.Path, file: StudyFile, *, num_rows: int) -> str:
    """The checksum of a file that was read with `num_rows` rows.

    Raises:
      ValueError: rows or checksum are not the study's.
    """
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    if num_rows != file.num_rows:
        raise ValueError(f"{path} has {num_rows} rows; the study's {file.filename} has {file.num_rows}")
    if file.sha256 and checksum != file.sha256:
        raise ValueError(
            f"{path} is not the study's {file.filename}: its SHA-256 is {checksum}, expected {file.sha256}; "
            "fetch it again, or read it directly as a data set of your own (data.train, data.heldout)"
        )
    return checksum
