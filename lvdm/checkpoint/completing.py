"""Encoders that a training left out of its checkpoints or rounded, put back from the file it began with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lvdm.checkpoint.parts import AUTOENCODER, IMAGE_ENCODER, PARTS, TEXT_ENCODER, Part, part_of
from lvdm.checkpoint.sources import CheckpointFile, TensorSource
from lvdm.errors import CheckpointError

ENCODERS = (AUTOENCODER, TEXT_ENCODER, IMAGE_ENCODER)


class _SeveralFiles(TensorSource):
    """Tensors that lie in different checkpoints, by released key."""

    def __init__(self, files: Mapping[str, CheckpointFile]) -> None:
        self._files = files

    def tensor(self, key: str) -> Tensor:
        """The tensor."""
        return self._files[key][key]

    def shape(self, key: str) -> tuple[int, ...]:
        """Its shape, without reading it."""
        return self._files[key].shape(key)

    def dtype(self, key: str) -> torch.dtype:
        """Its dtype, without reading it."""
        return self._files[key].dtype(key)


def complete(checkpoint: CheckpointFile, supplier: CheckpointFile) -> CheckpointFile:
    """`checkpoint` with better encoders from `supplier`: those it lacks, and those it holds in fewer digits.

    A training from cached latents leaves encoders out; `tuning.frozen_precision` rounds them. The order is that of the
    released files. Raises `CheckpointError` if there is nothing to supply, if an encoder is in neither file, or if one
    that is held is not the same but for rounding.
    """
    for part in ENCODERS:
        if not any(part_of(key) == part for key in (*checkpoint, *supplier)):
            raise CheckpointError(
                f"{supplier.path} does not hold the {part.name} that {checkpoint.path} lacks; name the checkpoint that "
                "the training began with"
            )
    wanted = [part for part in ENCODERS if _rounding(supplier, part) < _rounding(checkpoint, part)]
    if not wanted:
        raise CheckpointError(
            f"{checkpoint.path} holds autoencoder and CLIP encoders already, in no fewer digits than {supplier.path}; "
            "leave out --encoders"
        )
    supplied = {key: supplier for key in supplier if part_of(key) in wanted}
    for key in checkpoint:
        if part_of(key) in wanted:
            _check_rounded(checkpoint, supplier, key)
    files = {**dict.fromkeys(checkpoint, checkpoint), **supplied}
    ordered = sorted(files, key=lambda key: PARTS.index(part_of(key)))
    stored = {key: key for key in ordered}
    source = _SeveralFiles(files)
    return CheckpointFile(checkpoint.path, checkpoint.format, source, stored, checkpoint.metadata, checkpoint.averaged)


def _rounding(checkpoint: CheckpointFile, part: Part) -> float:
    """The largest relative rounding error of the part's weights; infinite where it is missing."""
    dtypes = {checkpoint.dtype(key) for key in checkpoint if part_of(key) == part}
    return max((torch.finfo(dtype).eps for dtype in dtypes if dtype.is_floating_point), default=math.inf)


def _check_rounded(checkpoint: CheckpointFile, supplier: CheckpointFile, key: str) -> None:
    """Raise `CheckpointError` unless the tensor in `checkpoint` is that of `supplier` in its own dtype."""
    held = checkpoint[key]
    if key not in supplier or not torch.equal(supplier[key].to(held.dtype), held):
        raise CheckpointError(
            f"the {part_of(key).name} of {checkpoint.path} is not a rounded one of {supplier.path} ({key} differs); "
            "name the checkpoint that the training began with, or leave out --encoders"
        )
