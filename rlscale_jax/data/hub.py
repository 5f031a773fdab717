"""Fetches the study's files from where they are published.

The curriculum and the held-out problems come from the Hugging Face hub. The benchmarks come from the study's code
repository at a fixed commit, not from their makers' repositories, because the prompts that the study stored differ
from the makers' questions and are what its models were asked.
"""

import pathlib
import shutil
import urllib.error
import urllib.request

from rlscale_jax.data import study_files


def fetch(directory: pathlib.Path) -> None:
    """Downloads every file of `study_files.FILES` that `directory` does not hold yet.

    Raises:
      ValueError: no network, or the repositories no longer hold the files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    missing = [file for file in study_files.FILES if not (directory / file.filename).exists()]
    if not missing:
        return
    published = _data_repository()
    for file in missing:
        if file.filename in published:
            shutil.copyfile(published[file.filename], directory / file.filename)
        elif file.code_path:
            _download(f"{study_files.CODE_REPOSITORY}/{file.code_path}/{file.filename}", directory / file.filename)
        else:
            raise ValueError(
                f"{study_files.DATA_REPOSITORY} holds no {file.filename}, but {sorted(published)}; "
                "download it by hand and give its directory as --source"
            )


def _data_repository() -> dict[str, pathlib.Path]:
    """The parquet files of the data repository by name, in huggingface_hub's cache."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ValueError("--source=hub needs huggingface_hub: pip install huggingface_hub") from error
    try:
        snapshot = huggingface_hub.snapshot_download(
            study_files.DATA_REPOSITORY, repo_type="dataset", allow_patterns=["*.parquet"]
        )
    except Exception as error:  # its HTTP library's errors share no base class with its own
        raise ValueError(_unreachable(f"huggingface.co/datasets/{study_files.DATA_REPOSITORY}", error)) from error
    return {path.name: path for path in pathlib.Path(snapshot).rglob("*.parquet")}


def _download(path: str, target: pathlib.Path) -> None:
    url = f"https://raw.githubusercontent.com/{path}"
    partial = target.with_suffix(".partial")  # an interrupted download is not taken for the file
    try:
        with urllib.request.urlopen(url, timeout=60) as response, partial.open("wb") as file:
            shutil.copyfileobj(response, file)
    except (urllib.error.URLError, OSError) as error:
        raise ValueError(_unreachable(url, error)) from error
    partial.replace(target)


def _unreachable(where: str, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    return (
        f"cannot fetch {where}: {reason}; without a network, copy the study's parquet files here and give their "
        "directory as --source"
    )
