"""Checkpoint files of every format as one lazy mapping from released key to tensor.

Formats are known by content, never by the name of the file. Tensors are memory-mapped: they take no memory of their own
until they are copied or cast.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lvdm.checkpoint.diffusers_folder import read_diffusers
from lvdm.checkpoint.keys import DIFFUSERS_INDEX, NEW_NAME, OLD_NAME, examples, released_keys
from lvdm.checkpoint.pickles import damaged, load_pickle
from lvdm.checkpoint.sharded import is_sharded, read_sharded
from lvdm.checkpoint.sources import (
    DTYPES,
    CheckpointFile,
    Format,
    SafetensorsSource,
    TensorSource,
)
from lvdm.checkpoint.zero import STAND_INS, find_model_file, partition_files, read_zero
from lvdm.errors import CheckpointError
from lvdm.regular_files import absence_reason, open_regular

__all__ = ["DTYPES", "NEW_NAME", "OLD_NAME", "CheckpointFile", "Format", "Weights", "read_checkpoint"]

Weights = Literal["auto", "averaged", "trained"]
"""Which weights of a training checkpoint: the moving average, those that the optimizer holds, or the average if any."""

AVERAGED_KEYS = ("current_model_state", "averaging_state")
"""Lightning's WeightAveraging puts the average into `state_dict`, the trained weights and its counter into these."""


def read_checkpoint(path: str | Path, weights: Weights = "auto") -> CheckpointFile:
    """Open a checkpoint: Lightning, DeepSpeed, a bare dictionary of tensors, safetensors, or a folder of shards.

    Folders are those of torch.distributed.checkpoint (FSDP), of DeepSpeed, whose float32 weights are put together
    from the optimizer states where those are present, and of diffusers. `weights` chooses in a file of a run that
    averaged its weights.

    Raises `CheckpointError`, in one line, for a file that is missing, empty, truncated, something else, or a pickle
    that holds more than tensors and plain containers, and for averaged weights where there are none.
    """
    path = Path(path)
    reason = None if path.is_dir() else absence_reason(path)
    if reason is not None:
        raise CheckpointError(f"checkpoint {path} {reason}")
    checkpoint = _read_folder(path) if path.is_dir() else _read_file(path, weights)
    dtypes = {checkpoint.dtype(key) for key in checkpoint}
    if not any(dtype.is_floating_point for dtype in dtypes):
        held = f"{len(checkpoint)} tensors of {', '.join(sorted(map(str, dtypes)))}" if dtypes else "no tensors"
        raise CheckpointError(f"{path} holds no weights: it holds {held}")
    if weights == "averaged" and not checkpoint.averaged:
        raise CheckpointError(
            f"{path} holds no averaged weights: its run does not name lvdm.fit.callbacks.AveragedWeights, or the "
            "average had not begun"
        )
    return checkpoint


def _read_folder(path: Path) -> CheckpointFile:
    if (path / DIFFUSERS_INDEX).is_file():
        components, stored = read_diffusers(path)
        return CheckpointFile(path, "diffusers", components, stored, {})
    if is_sharded(path):
        source, stored = read_sharded(path)
        return CheckpointFile(path, "fsdp", source, released_keys(path, stored), {})
    model_file = find_model_file(path)
    if model_file is None:
        raise CheckpointError(
            f"{path} is a folder that neither FSDP nor DeepSpeed nor diffusers wrote; name the checkpoint file itself"
        )
    content = load_pickle(model_file, STAND_INS)
    partitions = partition_files(model_file)
    if not partitions:
        return _from_pickle(model_file, content, "trained")
    tensors = content.get("module")
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"{model_file} holds no weights; it holds {examples([str(key) for key in content])}")
    check_values(model_file, tensors)
    zero = read_zero(model_file, content, partitions)
    stored = {key: key for key in tensors}
    return CheckpointFile(
        path, "zero", zero, released_keys(path, stored, deepspeed=True), _plain_values(content), False
    )


def _read_file(path: Path, weights: Weights) -> CheckpointFile:
    start = _first_bytes(path)
    if start.startswith(b"PK\x03\x04") or start[:1] == b"\x80":
        return _from_pickle(path, load_pickle(path), weights)
    if start[8:9] == b"{":
        return _read_safetensors(path, int.from_bytes(start[:8], "little"))
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path} is a web page, not a checkpoint; the download was refused, fetch the file again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a git-lfs pointer, not the checkpoint; run `git lfs pull` where it came from")
    raise CheckpointError(f"{path} is not a checkpoint; expected a .safetensors file or a PyTorch .ckpt, .pt or .bin")


def _first_bytes(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
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
        raise CheckpointError(damaged(path, error)) from error
    if unknown:
        raise CheckpointError(f"{path} holds tensors of type {', '.join(sorted(unknown))}; use one in 32 or 16 bits")
    stored = released_keys(path, {key: key for key in keys})
    return CheckpointFile(path, "safetensors", SafetensorsSource(file), stored, metadata)


def _from_pickle(path: Path, content: Mapping[Any, Any], weights: Weights) -> CheckpointFile:
    file_format, tensors, averaged = _state_dict_of(content, weights)
    if file_format == "state_dict":  # a bare dictionary may hold counters beside its tensors; a state dict may not
        tensors = {key: value for key, value in tensors.items() if isinstance(value, Tensor) and isinstance(key, str)}
    check_values(path, tensors)
    if not tensors:
        raise CheckpointError(
            f"{path} holds no tensors; it holds {examples([str(key) for key in content]) or 'nothing'}"
        )
    stored = released_keys(path, {key: key for key in tensors}, deepspeed=file_format == "deepspeed")
    return CheckpointFile(path, file_format, TensorSource(tensors), stored, _plain_values(content), averaged)


def check_values(path: Path, tensors: Mapping[Any, Any]) -> None:
    """Raise `CheckpointError` for anything in the state dict of `path` but tensors of plain numbers."""
    odd = [str(key) for key, value in tensors.items() if not (isinstance(value, Tensor) and isinstance(key, str))]
    if odd:
        raise CheckpointError(f"{path} is damaged: {examples(odd)} in its state dict is not a tensor")
    kinds = {str(key): _kind(value) for key, value in tensors.items()}
    unusual = [key for key, kind in kinds.items() if kind]
    if unusual:
        raise CheckpointError(
            f"{path}: {examples(unusual)} in its state dict is a {kinds[unusual[0]]}; save a dense tensor of floats"
        )


def _kind(value: Tensor) -> str:
    """What a tensor is if it is not one of plain numbers: its values cannot be read as they are."""
    if value.is_meta:
        return "meta tensor, without values"
    if value.is_quantized:
        return "quantized tensor"
    return "" if value.layout == torch.strided and not value.is_nested else "sparse or nested tensor"


def _state_dict_of(content: Mapping[Any, Any], weights: Weights) -> tuple[Format, Mapping[Any, Any], bool]:
    """Format, tensors, and whether they are averaged. Before the average has begun it is the initial weights."""
    if isinstance(content.get("state_dict"), Mapping):
        trained, counters = (content.get(key) for key in AVERAGED_KEYS)
        if not isinstance(trained, Mapping) or not isinstance(counters, Mapping):
            return "lightning", content["state_dict"], False
        begun = int(counters.get("n_averaged", 0)) > 0
        if weights == "trained" or not begun:
            return "lightning", trained, False
        return "lightning", content["state_dict"], True
    if isinstance(content.get("module"), Mapping):
        return "deepspeed", content["module"], False
    return "state_dict", content, False


def _plain_values(content: Mapping[Any, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in content.items() if isinstance(value, str | int | float)}
