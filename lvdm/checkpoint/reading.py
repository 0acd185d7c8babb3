"""Checkpoint files of every format as one lazy mapping from released key to tensor.

Formats are told by content, never by the name of the file. Tensors are memory-mapped: they take no memory of their own
until they are copied or cast.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lvdm.checkpoint.errors import CheckpointError

Format = Literal["lightning", "deepspeed", "state_dict", "safetensors"]

DEEPSPEED_PREFIX = "_forward_module."
OLD_NAME, NEW_NAME = "framestride_embed", "fps_embedding"
"""The name of a layer in the published 256 checkpoint, and in the released code."""

DEEPSPEED_FILES = ("checkpoint/mp_rank_00_model_states.pt", "mp_rank_00_model_states.pt")
"""Where the weights lie in the folder that Lightning's DeepSpeed strategy writes."""

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The names of dtypes in safetensors files."""


class CheckpointFile(Mapping[str, Tensor]):
    """The tensors of one file by released key; reading `checkpoint[key]` maps that tensor alone.

    path      the file
    format    lightning, deepspeed, state_dict (a bare dictionary) or safetensors
    metadata  the text fields of a safetensors file, or the plain values of a Lightning one (epoch, global_step ...)
    stored    released key -> key in the file; they differ where a prefix or an old name was replaced
    """

    def __init__(
        self, path: Path, file_format: Format, source: _Source, stored: Mapping[str, str], metadata: Mapping[str, str]
    ) -> None:
        self.path = path
        self.format = file_format
        self.metadata = metadata
        self.stored = stored
        self._source = source

    def __getitem__(self, key: str) -> Tensor:
        return self._source.tensor(self.stored[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def __contains__(self, key: object) -> bool:
        return key in self.stored  # Mapping's own would read the tensor

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return self._source.shape(self.stored[key])

    def dtype(self, key: str) -> torch.dtype:
        """The dtype of a tensor, without reading it."""
        return self._source.dtype(self.stored[key])

    @property
    def renamed(self) -> dict[str, str]:
        """Key in the file -> released key, where an old name was replaced."""
        return {old: new for new, old in self.stored.items() if OLD_NAME in old and OLD_NAME not in new}


class _Source:
    """Tensors of a dictionary that has been read (memory-mapped)."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def tensor(self, key: str) -> Tensor:
        return self._tensors[key]

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._tensors[key].shape)

    def dtype(self, key: str) -> torch.dtype:
        return self._tensors[key].dtype


class _SafetensorsSource(_Source):
    """Tensors of an open safetensors file, each read when asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def tensor(self, key: str) -> Tensor:
        return self._file.get_tensor(key)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(key).get_shape())

    def dtype(self, key: str) -> torch.dtype:
        return DTYPES[self._file.get_slice(key).get_dtype()]


def read_checkpoint(path: str | Path) -> CheckpointFile:
    """Open a checkpoint: Lightning, DeepSpeed, a bare dictionary of tensors, or safetensors.

    Raises `CheckpointError`, in one line, for a file that is missing, empty, truncated, something else, or a pickle
    that holds more than tensors and plain containers.
    """
    path = _find_file(Path(path))
    start = _first_bytes(path)
    if start.startswith(b"PK\x03\x04") or start[:1] == b"\x80":
        return _read_pickle(path, is_zip=start.startswith(b"PK"))
    if start[8:9] == b"{":
        return _read_safetensors(path, int.from_bytes(start[:8], "little"))
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path} is a web page, not a checkpoint; the download was refused, fetch the file again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a git-lfs pointer, not the checkpoint; run `git lfs pull` where it came from")
    raise CheckpointError(f"{path} is not a checkpoint; expected a .safetensors file or a PyTorch .ckpt, .pt or .bin")


def _find_file(path: Path) -> Path:
    if path.is_dir():
        inside = [path / name for name in DEEPSPEED_FILES if (path / name).is_file()]
        if not inside:
            raise CheckpointError(f"{path} is a folder without {DEEPSPEED_FILES[0]}; name the checkpoint file itself")
        return inside[0]
    if not path.exists():
        raise CheckpointError(f"checkpoint {path} does not exist")
    return path


def _first_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    if not start:
        raise CheckpointError(f"checkpoint {path} is empty; fetch or copy it again")
    return start


def _read_safetensors(path: Path, header_length: int) -> CheckpointFile:
    size = path.stat().st_size
    if 8 + header_length > size:
        raise CheckpointError(f"{path} is truncated: its header ends at byte {8 + header_length}, the file at {size}")
    try:
        file = safe_open(path, framework="pt", device="cpu")
        keys = list(file.keys())
        metadata = dict(file.metadata() or {})
        unknown = {name for key in keys if (name := file.get_slice(key).get_dtype()) not in DTYPES}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is truncated or damaged, fetch or copy it again ({_first_line(error)})"
        ) from error
    if unknown:
        raise CheckpointError(f"{path} holds tensors of type {', '.join(sorted(unknown))}; use one in 32 or 16 bits")
    return CheckpointFile(path, "safetensors", _SafetensorsSource(file), _released_keys(path, keys), metadata)


def _read_pickle(path: Path, is_zip: bool) -> CheckpointFile:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        # What torch raises for damaged archives depends on where the damage is.
        raise CheckpointError(
            f"{path} is truncated or damaged, fetch or copy it again ({_first_line(error)})"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    file_format, tensors = _state_dict_of(content)
    # A bare dictionary may hold counters beside its tensors; a state dict may not.
    odd = [str(key) for key, value in tensors.items() if not (isinstance(value, Tensor) and isinstance(key, str))]
    if file_format == "state_dict":
        tensors = {key: value for key, value in tensors.items() if str(key) not in odd}
    elif odd:
        raise CheckpointError(f"{path} is damaged: {_examples(odd)} in its state dict is not a tensor")
    if not tensors:
        raise CheckpointError(
            f"{path} holds no tensors; it holds {_examples([str(key) for key in content]) or 'nothing'}"
        )
    stored = _released_keys(path, list(tensors), file_format == "deepspeed")
    metadata = {str(key): str(value) for key, value in content.items() if isinstance(value, str | int | float)}
    return CheckpointFile(path, file_format, _Source(tensors), stored, metadata)


def _state_dict_of(content: Mapping[Any, Any]) -> tuple[Format, Mapping[Any, Any]]:
    if isinstance(content.get("state_dict"), Mapping):
        return "lightning", content["state_dict"]
    if isinstance(content.get("module"), Mapping):
        return "deepspeed", content["module"]
    return "state_dict", content


def _refusal(path: Path, message: str) -> str:
    """One line for what torch said in many."""
    found = re.search(r"GLOBAL ([\w.]+)", message)
    if found:
        return (
            f"{path} was refused: besides tensors it holds {found[1]}, and reading that could run code; ask its author "
            "for a .safetensors file, or re-save its state_dict where you trust it, in a sandbox without network"
        )
    return f"{path} is not a checkpoint, or it is damaged; fetch or copy it again"


def _released_keys(path: Path, keys: list[str], deepspeed: bool = False) -> dict[str, str]:
    """Released key -> key in the file."""
    prefix = ""
    if deepspeed and any(key.startswith(DEEPSPEED_PREFIX) for key in keys):
        without = [key for key in keys if not key.startswith(DEEPSPEED_PREFIX)]
        if without:
            raise CheckpointError(
                f"{path}: {len(without)} of {len(keys)} keys lack the prefix {DEEPSPEED_PREFIX!r}, such as "
                f"{without[0]}; a DeepSpeed file has it on all or none"
            )
        prefix = DEEPSPEED_PREFIX
    stored: dict[str, str] = {}
    for key in keys:
        name = key.removeprefix(prefix).replace(f".{OLD_NAME}.", f".{NEW_NAME}.")
        if name in stored:
            raise CheckpointError(f"{path} holds both {stored[name]} and {key}, which are the same layer")
        stored[name] = key
    return stored


def _examples(names: list[str], count: int = 4) -> str:
    return ", ".join(names[:count]) + (" ..." if len(names) > count else "")


def _first_line(error: BaseException) -> str:
    """The first sentence, or the first line if that is shorter."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0][:200]
