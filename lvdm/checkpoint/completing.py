"""Encoders that a training from cached latents leaves out of its checkpoints, put back from the file it began with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lvdm.checkpoint.errors import CheckpointError
from lvdm.checkpoint.parts import AUTOENCODER, IMAGE_TOWER, PARTS, TEXT_TOWER, part_of
from lvdm.checkpoint.sources import CheckpointFile, TensorSource

ENCODERS = (AUTOENCODER, TEXT_TOWER, IMAGE_TOWER)


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
    """`checkpoint` with each encoder that it lacks altogether from `supplier`, in the order of the released files.

    Raises `CheckpointError` if it lacks none, or one that `supplier` does not hold either.
    """
    held = {part_of(key) for key in checkpoint}
    lacking = [part for part in ENCODERS if part not in held]
    if not lacking:
        raise CheckpointError(f"{checkpoint.path} holds autoencoder and towers already; leave out --encoders")
    supplied = {key: supplier for key in supplier if part_of(key) in lacking}
    for part in lacking:
        if not any(part_of(key) == part for key in supplied):
            raise CheckpointError(
                f"{supplier.path} does not hold the {part.name} that {checkpoint.path} lacks; name the checkpoint that "
                "the training began with"
            )
    files = {**dict.fromkeys(checkpoint, checkpoint), **supplied}
    ordered = sorted(files, key=lambda key: PARTS.index(part_of(key)))
    stored = {key: key for key in ordered}
    source = _SeveralFiles(files)
    return CheckpointFile(checkpoint.path, checkpoint.format, source, stored, checkpoint.metadata, checkpoint.averaged)
