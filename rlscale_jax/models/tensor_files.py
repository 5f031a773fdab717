"""Safetensors files, local or gs://, read and written one tensor at a time.

A file is 8 bytes of header length, a JSON header (name -> dtype, shape, byte range), then the bytes. We read ranges
ourselves, not through a memory map: mapped pages count as resident memory, and gs:// has no maps.
Source: the format's description, github.com/huggingface/safetensors.
"""

import dataclasses
import json
import math
from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
CODES = {dtype: code for code, dtype in DTYPES.items()}
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_CHUNK_BYTES = 1 << 26  # an object store's client hands over copies, so never a whole tensor at once


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `code` is the format's dtype name, `start` a byte offset in the file."""

    path: epath.Path
    code: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int

    @property
    def dtype(self) -> np.dtype:
        if self.code not in DTYPES:
            raise ValueError(f"{self.path}: dtype {self.code} is not supported; use one of {sorted(DTYPES)}")
        return DTYPES[self.code]

    def read(self, scratch: np.ndarray | None = None) -> np.ndarray:
        """The tensor, read from its file alone, into `scratch` (bytes, large enough) where that is given."""
        data = np.empty(self.num_bytes, np.uint8) if scratch is None else scratch[: self.num_bytes]
        with self.path.open("rb") as file:
            file.seek(self.start)
            _read_into(file, data, self.path)
        return data.view(self.dtype).reshape(self.shape)

    def rows(self, start: int, stop: int) -> "StoredTensor":
        """Rows start to stop (exclusive, at most to the end) as a tensor of their own."""
        row = self.num_bytes // self.shape[0]
        stop = min(stop, self.shape[0])
        return dataclasses.replace(
            self, shape=(stop - start, *self.shape[1:]), start=self.start + start * row, num_bytes=(stop - start) * row
        )


def find(directory: epath.PathLike) -> dict[str, StoredTensor]:
    """Every tensor of a checkpoint directory: a single model.safetensors, or the shards of its index.

    Raises:
      FileNotFoundError: no such directory, no weights in it, or a shard that the index names is missing.
      ValueError: a file that is cut short or is not safetensors, or an index that does not fit its shards.
    """
    directory = epath.Path(directory)
    index = directory / INDEX
    if (directory / SINGLE).exists():
        return _header(directory / SINGLE)
    if index.exists():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ValueError(f"{index}: has no weight_map")
        return _indexed(directory, weight_map)
    raise FileNotFoundError(_why_nothing(directory))


def read_json(path: epath.Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      ValueError: the file holds something else.
    """
    try:
        value = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds a JSON {type(value).__name__}, not an object")
    return value


def write(path: epath.PathLike, layout: dict[str, tuple[np.dtype, tuple[int, ...]]], tensors: Iterable[np.ndarray]):
    """Writes a file whose tensors, of the dtypes and shapes in `layout`, come one by one in its order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers asks for the format
    start = 0
    for name, (dtype, shape) in layout.items():
        end = start + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with epath.Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for (dtype, shape), tensor in zip(layout.values(), tensors, strict=True):
            assert tensor.dtype == dtype and tensor.shape == shape, (tensor.dtype, tensor.shape, dtype, shape)
            file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)


def _header(path: epath.Path) -> dict[str, StoredTensor]:
    with path.open("rb") as file:
        file.seek(0, 2)  # not stat: that of epath asks for the owner's name, which a container may not know
        size = file.tell()
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError(f"{path}: not a safetensors file, or cut short ({size} bytes, header of {length})")
        try:
            entries = {
                name: _entry(path, entry, 8 + length)
                for name, entry in json.loads(file.read(length)).items()
                if name != "__metadata__"
            }
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{path}: broken safetensors header ({type(error).__name__}: {error})") from None
    _check_ranges(path, entries, 8 + length, size)
    return entries


def _entry(path: epath.Path, entry: dict[str, Any], data_start: int) -> StoredTensor:
    shape, (start, end) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, start, end - start)):
        raise ValueError(f"shape {list(shape)} at bytes {start} to {end}")
    return StoredTensor(path, entry["dtype"], shape, data_start + start, end - start)


def _check_ranges(path: epath.Path, entries: dict[str, StoredTensor], start: int, size: int) -> None:
    """The format's rule: tensors follow one another without gap or overlap, from the header to the file's end."""
    end = max((tensor.start + tensor.num_bytes for tensor in entries.values()), default=start)
    if end > size:
        raise ValueError(f"{path}: cut short: its tensors end at byte {end}, the file at {size}; download it again")
    for name, tensor in entries.items():
        if tensor.code in DTYPES and tensor.num_bytes != math.prod(tensor.shape) * tensor.dtype.itemsize:
            raise ValueError(f"{path}: {name} has {tensor.num_bytes} bytes for {tensor.code} {list(tensor.shape)}")
    for name, tensor in sorted(entries.items(), key=lambda item: (item[1].start, item[1].num_bytes)):
        if tensor.start != start:
            raise ValueError(f"{path}: broken safetensors file: {name} begins at byte {tensor.start}, not at {start}")
        start += tensor.num_bytes
    if end < size:
        raise ValueError(f"{path}: broken safetensors file: {size - end} bytes follow its last tensor")


def _indexed(directory: epath.Path, weight_map: dict[str, str]) -> dict[str, StoredTensor]:
    shards = sorted(set(weight_map.values()))
    absent = [name for name in shards if not (directory / name).exists()]
    if absent:
        raise FileNotFoundError(f"{directory}: {INDEX} names files that are not there: {', '.join(absent)}")
    found = {shard: _header(directory / shard) for shard in shards}
    lost = [f"{name} (in {shard})" for name, shard in weight_map.items() if name not in found[shard]]
    if lost:
        raise ValueError(f"{directory}: {INDEX} names tensors that their files do not hold: {', '.join(lost)}")
    unlisted = {name: tensor for tensors in found.values() for name, tensor in tensors.items()}
    return unlisted | {name: found[shard][name] for name, shard in weight_map.items()}


def _why_nothing(directory: epath.Path) -> str:
    if not directory.exists():
        return f"{directory}: no such directory; give the path of a downloaded Hugging Face model directory"
    if not directory.is_dir():
        return f"{directory}: is a file; give the directory that holds config.json and *.safetensors"
    names = sorted(path.name for path in directory.iterdir())
    if any(name.endswith((".bin", ".pt", ".pth", ".gguf")) for name in names):
        return f"{directory}: holds no {SINGLE} or {INDEX}; convert its weights to safetensors first (has: {names})"
    return f"{directory}: holds neither {SINGLE} nor {INDEX} (has: {names[:8] or 'nothing'})"


def _read_into(file, data: np.ndarray, path: epath.Path) -> None:
    done = 0
    while done < data.nbytes:
        wanted = data[done : done + _CHUNK_BYTES]
        if hasattr(file, "readinto"):
            count = file.readinto(wanted.data)
        else:  # TensorFlow's files, which epath prefers for gs:// where TensorFlow is installed
            got = file.read(wanted.nbytes)
            count = len(got)
            wanted[:count] = np.frombuffer(got, np.uint8)
        if not count:
            raise ValueError(f"{path}: cut short while reading")
        done += count
