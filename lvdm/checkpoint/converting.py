"""From any readable checkpoint to safetensors or .ckpt in another precision, tensor by tensor."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from lvdm.checkpoint.blending import Blend, BlendedCheckpoint
from lvdm.checkpoint.casting import check_values, target_dtype
from lvdm.checkpoint.completing import complete
from lvdm.checkpoint.diffusers_writing import write_diffusers
from lvdm.checkpoint.hashing import checkpoint_hash
from lvdm.checkpoint.keys import NEW_NAME, OLD_NAME
from lvdm.checkpoint.lora import MergedCheckpoint, adapters_in, read_lora
from lvdm.checkpoint.reading import Weights, read_checkpoint
from lvdm.checkpoint.sources import CheckpointFile
from lvdm.checkpoint.writing import DTYPE_NAMES, TensorLayout, stream_safetensors
from lvdm.config import load_yaml
from lvdm.errors import CheckpointError
from lvdm.media.atomic import OutputError, atomic_path, output_error
from lvdm.model_card import ModelCard

SAFETENSORS_SUFFIX = ".safetensors"
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")

CARD_KEY, HASH_KEY, SOURCE_KEY = "dynamicrafter.card", "dynamicrafter.source_sha256", "dynamicrafter.source"
LORAS_KEY = "dynamicrafter.loras"
"""Metadata that `convert` writes into safetensors files: the model's card as JSON, what the file was made from,
and the LoRAs in it."""

SHARDED = ("fsdp", "zero")
"""Formats whose tensors are put together when they are read, and so take memory of their own."""

PICKLE_OVERHEAD = 512
"""Bytes that a .ckpt needs for each tensor besides its values: a zip record twice, alignment and a pickle entry."""


@dataclass(frozen=True)
class ConversionReport:
    """What was written: the file, its bytes, how many tensors and parameters, and the hash of what it was made from.

    `averaged` is whether the source's averaged weights were taken; None if it does not say.
    """

    path: Path
    bytes: int
    tensors: int
    parameters: int
    source_hash: str
    averaged: bool | None = None


def convert(
    source: str | Path,
    destination: str | Path,
    dtype: torch.dtype | None = None,
    *,
    card: ModelCard | None = None,
    overwrite: bool = False,
    old_names: bool = False,
    loras: Sequence[tuple[Path, float]] = (),
    weights: Weights = "auto",
    encoders: str | Path | None = None,
    blend_with: tuple[str | Path, Blend] | None = None,
) -> ConversionReport:
    """Write `source` to `destination`, as safetensors or as .ckpt by its suffix; keys are the released ones.

    `source` may be a folder of shards. Only the weights are written: no optimizer, no state of a training run.

    dtype      float32, float16, bfloat16, or None for each tensor's own; the noise schedule is always float32
    card       stored with a safetensors file, so that the file says what it is for
    overwrite  replace an existing `destination`
    old_names  write `framestride_embed`, as in the published 256 checkpoint, for the original's strict loader
    loras      files and scales that are added to the weights
    weights    of a run that averaged them: the averaged, the trained, or the averaged where there are any
    encoders   a checkpoint that supplies the autoencoder and the CLIP encoders that a training left out or rounded
    blend_with  another checkpoint, and how its weights are blended in

    The file appears whole or not at all. Raises `CheckpointError`, also for NaN among the weights, when fp16 would
    overflow or the disk is full.
    """
    checkpoint = _opened(source, loras, weights, encoders, blend_with)
    in_pieces = checkpoint.format in SHARDED
    destination = Path(destination)
    _check_destination(destination, checkpoint.path, overwrite)
    layout = _layout(checkpoint, dtype)
    as_pickle = destination.suffix in PICKLE_SUFFIXES
    casts = in_pieces or any(checkpoint.dtype(key) != target for key, target in layout.items())
    size = sum(TensorLayout(target, checkpoint.shape(key)).nbytes for key, target in layout.items())
    _check_space(destination, (size + len(layout) * PICKLE_OVERHEAD) * (2 if as_pickle and casts else 1))
    source_hash = checkpoint_hash(checkpoint.path)
    metadata = {"format": "pt", SOURCE_KEY: checkpoint.path.name, HASH_KEY: source_hash}
    if CARD_KEY in checkpoint.metadata:
        metadata[CARD_KEY] = checkpoint.metadata[CARD_KEY]
    if card is not None:
        metadata[CARD_KEY] = json.dumps(asdict(card))
    if loras:
        metadata[LORAS_KEY] = json.dumps([[path.name, scale] for path, scale in loras])
    try:
        if as_pickle:
            _write_pickle(checkpoint, destination, layout, casts, old_names)
        else:
            _write_safetensors(checkpoint, destination, layout, metadata, old_names)
    except OutputError as error:
        raise CheckpointError(str(error)) from error
    except OSError as error:  # in the folder where a pickle's tensors are cast
        raise CheckpointError(str(output_error(destination, error))) from error
    parameters = sum(torch.Size(checkpoint.shape(key)).numel() for key in layout)
    size = destination.stat().st_size
    return ConversionReport(destination, size, len(layout), parameters, source_hash, checkpoint.averaged)


def convert_to_diffusers(
    source: str | Path,
    folder: str | Path,
    config: str | Path,
    dtype: torch.dtype | None = None,
    *,
    loras: Sequence[tuple[Path, float]] = (),
    weights: Weights = "auto",
    encoders: str | Path | None = None,
) -> ConversionReport:
    """Write `source` as a new `folder` in the layout of diffusers; `config` is its YAML. The others: see `convert`.

    `convert` of the folder gives the same tensors back, to the byte. Raises `CheckpointError`, `ConfigError`.
    """
    checkpoint, folder = _opened(source, loras, weights, encoders), Path(folder)
    if folder.exists():
        raise CheckpointError(f"{folder} exists; choose another name for the folder")
    if not folder.absolute().parent.is_dir():
        raise CheckpointError(f"the folder {folder.parent} does not exist; create it first")
    layout = _layout(checkpoint, dtype)
    size = sum(TensorLayout(target, checkpoint.shape(key)).nbytes for key, target in layout.items())
    _check_space(folder, size)
    tree = load_yaml(config)
    try:
        write_diffusers(checkpoint, folder, layout, lambda key: _cast(checkpoint, key, layout[key]), tree, str(config))
    except OutputError as error:
        raise CheckpointError(str(error)) from error
    parameters = sum(torch.Size(checkpoint.shape(key)).numel() for key in layout)
    source_hash = checkpoint_hash(checkpoint.path)
    return ConversionReport(folder, size, len(layout), parameters, source_hash, checkpoint.averaged)


def _opened(
    source: str | Path,
    loras: Sequence[tuple[Path, float]],
    weights: Weights,
    encoders: str | Path | None,
    blend_with: tuple[str | Path, Blend] | None = None,
) -> CheckpointFile:
    """The checkpoint with what is put into it, see `convert`."""
    checkpoint = read_checkpoint(source, weights)
    if encoders is not None:
        checkpoint = complete(checkpoint, read_checkpoint(encoders))
    if blend_with is not None:
        checkpoint = BlendedCheckpoint(checkpoint, read_checkpoint(blend_with[0], weights), blend_with[1])
    if loras or adapters_in(checkpoint):
        checkpoint = MergedCheckpoint(checkpoint, [(read_lora(path), scale) for path, scale in loras])
    return checkpoint


def _check_destination(destination: Path, source: Path, overwrite: bool) -> None:
    if destination.suffix not in (SAFETENSORS_SUFFIX, *PICKLE_SUFFIXES):
        raise CheckpointError(
            f"{destination} should end in {SAFETENSORS_SUFFIX}, or in {', '.join(PICKLE_SUFFIXES)} for a PyTorch file"
        )
    if not destination.parent.is_dir():
        raise CheckpointError(f"the folder {destination.parent} does not exist; create it first")
    if not destination.exists():
        return
    if destination.is_dir() or destination.samefile(source):
        raise CheckpointError(
            f"{destination} is {'a folder' if destination.is_dir() else 'the source itself'}; choose another"
        )
    if not overwrite:
        raise CheckpointError(f"{destination} exists; choose another name, or allow it by --overwrite")


def _layout(checkpoint: CheckpointFile, dtype: torch.dtype | None) -> dict[str, torch.dtype]:
    """Key -> dtype to write, widest first so that every tensor is aligned to its own size; otherwise in file order."""
    if dtype not in (None, torch.float32, torch.float16, torch.bfloat16):
        raise CheckpointError(f"checkpoints are written in float32, float16 or bfloat16, not in {dtype}")
    targets = {key: target_dtype(key, checkpoint.dtype(key), dtype) for key in checkpoint}
    for key, target in targets.items():
        if target not in DTYPE_NAMES:
            raise CheckpointError(f"{key} in {checkpoint.path} is {target}, which cannot be written")
    return dict(sorted(targets.items(), key=lambda item: -item[1].itemsize))


def _check_space(destination: Path, needed: int) -> None:
    free = shutil.disk_usage(destination.parent).free
    if free < needed:
        raise CheckpointError(
            f"{destination.parent} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed; make room there"
        )


def _write_safetensors(
    checkpoint: CheckpointFile,
    path: Path,
    layout: Mapping[str, torch.dtype],
    metadata: Mapping[str, str],
    old_names: bool,
) -> None:
    keys = {_written_name(key, old_names): key for key in layout}
    planned = {name: TensorLayout(layout[key], checkpoint.shape(key)) for name, key in keys.items()}
    stream_safetensors(path, planned, lambda name: _cast(checkpoint, keys[name], layout[keys[name]]), metadata)


def _cast(checkpoint: CheckpointFile, key: str, dtype: torch.dtype) -> Tensor:
    value = checkpoint[key]
    check_values(key, value, dtype)
    return value.to(dtype).contiguous()


def _written_name(key: str, old_names: bool) -> str:
    return key.replace(f".{NEW_NAME}.", f".{OLD_NAME}.") if old_names else key


def _write_pickle(
    checkpoint: CheckpointFile, destination: Path, layout: Mapping[str, torch.dtype], casts: bool, old_names: bool
) -> None:
    """`{"state_dict": ...}` by torch.save, which keeps all tensors until the end: so they must be memory-mapped.

    Where a dtype changes, or tensors lie in pieces, they go through a temporary safetensors file and are mapped there.
    """
    order = list(checkpoint)
    if not casts:
        _save_pickle(checkpoint, order, destination, old_names)
        return
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}.", dir=destination.parent) as folder:
        cast = Path(folder) / f"cast{SAFETENSORS_SUFFIX}"
        _write_safetensors(checkpoint, cast, layout, {"format": "pt"}, old_names=False)
        _save_pickle(read_checkpoint(cast), order, destination, old_names)


def _save_pickle(checkpoint: CheckpointFile, order: Sequence[str], destination: Path, old_names: bool) -> None:
    tensors = {_written_name(key, old_names): _cast(checkpoint, key, checkpoint.dtype(key)) for key in order}
    with atomic_path(destination) as temporary:
        try:
            torch.save({"state_dict": tensors}, temporary)
        except RuntimeError as error:  # what torch makes of a failed write
            raise OSError(f"{str(error).splitlines()[0]} (is the disk full?)") from error
