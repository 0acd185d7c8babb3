"""Between data and training: a source of captioned clips, and the dataset that reads it by numbered draws.

A source makes every random choice about a clip (start, stride, crop) from the generator that it is handed. The dataset
seeds that generator with the number of the draw, so that a clip depends on (seed, number) only: not on the number of
workers, on the order in which they finish, or on whether the training was interrupted.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import Dataset

from lvdm.data.clip_size import ClipSize as ClipSize

Clip = dict[str, Any]
"""One captioned clip.

video         (3, t, H, W) float32 in [-1, 1]
caption       the caption
fps           frames per second of the clip, after striding
frame_stride  source frames per clip frame
path          where it came from, for messages
flow, mask    optional: where frame 0 shows what a pixel shows, and what moves on its own, see
              `lvdm.models.carrier_training`
depth         optional: (1, t, H, W), near is large, in any unit; see `lvdm.models.depth_diffusion`
failures      newline-joined "path: reason" of files that were tried and given up before this one; "" normally
"""


@dataclass(frozen=True)
class Draw:
    """One sample of the training: which clip, how many samples came before it, and the size of its batch.

    Everything random about the sample is a function of (seed, `number`). `size` is None for the source's own size.
    """

    index: int
    number: int
    size: ClipSize | None = None


class ClipSource(Protocol):
    """Captioned videos or stills that clips are cut from."""

    def __len__(self) -> int:
        """How many videos there are."""

    def clip(self, index: int, rng: random.Random, size: ClipSize | None = None) -> Clip:
        """A clip of video `index`; all random choices come from `rng`. `size` overrides the configured one."""

    def native_size(self, index: int) -> ClipSize | None:
        """Size of the file itself, known without decoding pixels; None when it is not known."""


@runtime_checkable
class BatchedClipSource(Protocol):
    """A source that makes several clips together faster than one by one."""

    def clips(self, indices: Sequence[int], rngs: Sequence[random.Random], size: ClipSize | None) -> list[Clip]:
        """What `clip` gives for each pair of index and generator."""


class ClipDataset(Dataset[Clip]):
    """What a `DataLoader` reads: clips of a source by `Draw`s, with the draw's number under `number`."""

    def __init__(self, source: ClipSource, seed: int | str) -> None:
        self.source = source
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: Draw) -> Clip:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[Draw]) -> list[Clip]:
        """The clips of one batch, all of one size; a `DataLoader` calls this."""
        rngs = [random.Random(f"{self.seed}/{draw.number}/clip") for draw in draws]
        if isinstance(self.source, BatchedClipSource):
            clips = self.source.clips([draw.index for draw in draws], rngs, draws[0].size)
        else:
            clips = [self.source.clip(draw.index, rng, draw.size) for draw, rng in zip(draws, rngs, strict=True)]
        return [{**clip, "number": draw.number} for clip, draw in zip(clips, draws, strict=True)]
