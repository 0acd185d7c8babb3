"""One checkpoint between or beyond two of the same architecture.

    weights = base + weight * (other - base)

With a weight in 0..1 they lie between the two, with a negative one on the far side of `base`: away from what a
finetuning changed (EDG, arXiv 2503.00948). A sparse difference (DARE, arXiv 2311.03099) keeps a random part of its
values, and leaves the others at `base`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lvdm.checkpoint.parts import SCHEDULE, part_of
from lvdm.checkpoint.sources import CheckpointFile
from lvdm.errors import CheckpointError


@dataclass(frozen=True)
class Blend:
    """How two checkpoints become one.

    weight   how far to go from `base` (0) to the other (1); any finite number
    keep     share of the values of the difference that count, above 0 and at most 1
    rescale  divide what is kept by `keep`, so that the difference is the same on average
    seed     of the choice of values; each tensor has its own stream
    """

    weight: float
    keep: float = 1.0
    rescale: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise CheckpointError(f"weight {self.weight} is not possible; use a number such as 0.5 or -0.25")
        if not 0 < self.keep <= 1:
            raise CheckpointError(f"keep {self.keep} is not possible; use a share above 0, up to 1")

    def __call__(self, key: str, base: Tensor, other: Tensor) -> Tensor:
        """The blend of the tensors `key`, summed in float32; `base` itself where nothing is added."""
        if self.weight == 0:
            return base
        if self.weight == 1 and self.keep == 1:
            return other.to(base.dtype)
        difference = other.float() - base.float()
        if self.keep < 1:
            kept = torch.rand(difference.shape, generator=self._generator(key)) < self.keep
            difference = difference * kept / (self.keep if self.rescale else 1.0)
        return (base.float() + self.weight * difference).to(base.dtype)

    def _generator(self, key: str) -> torch.Generator:
        digest = hashlib.blake2b(f"{self.seed}/{key}".encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


class BlendedCheckpoint(CheckpointFile):
    """A checkpoint whose weights are blended with those of another as they are read; the schedule stays its own."""

    def __init__(self, base: CheckpointFile, other: CheckpointFile, blend: Blend) -> None:
        _check_same_layers(base, other)
        super().__init__(base.path, base.format, base._source, base.stored, base.metadata, base.averaged)
        self._other, self._blend = other, blend

    def __getitem__(self, key: str) -> Tensor:
        own = super().__getitem__(key)
        if part_of(key) == SCHEDULE or not own.is_floating_point():
            return own
        return self._blend(key, own, self._other[key])


def _check_same_layers(base: CheckpointFile, other: CheckpointFile) -> None:
    for key in base:
        if part_of(key) == SCHEDULE:
            continue
        if key not in other:
            raise CheckpointError(f"{other.path} lacks {key} of {base.path}; merge checkpoints of one architecture")
        if base.shape(key) != other.shape(key):
            raise CheckpointError(
                f"{key} is {base.shape(key)} in {base.path} and {other.shape(key)} in {other.path}; merge checkpoints "
                "of one architecture"
            )
