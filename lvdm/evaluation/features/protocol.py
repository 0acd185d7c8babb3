"""What every feature extractor has in common, and the clip that it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Record = dict[str, Tensor]
"""Named tensors: what the extractor made of one clip, or, with a batch axis in front, of several."""


@dataclass(frozen=True)
class LoadedClip:
    """Frames of one clip as the protocol chose them, and what it was made from.

    frames      uint8 (t, H, W, 3), at the protocol's size where it names one
    fps         frames per second at which these frames are played; more than 0; None where it is unknown
    prompt      the prompt, "" without one
    image       uint8 (H, W, 3), the image that was animated, at the size of the frames; None without one
    last_image  the same for the image that an interpolation ends at
    """

    frames: Tensor
    fps: float | None
    prompt: str = ""
    image: Tensor | None = None
    last_image: Tensor | None = None


class FeatureExtractor(Protocol):
    """Turns clips into features. One clip's features depend on that clip alone, not on its batch or its order.

    id              names the features in every metric made of them, such as stpyr-v1; changes when the numbers change
    dim             length of the feature vector (of a clip, or of each of its frames)
    min_frames      clips with fewer frames are refused
    dtype           precision of the computation, such as fp32
    weights_sha256  hash of the weight file; None for extractors without one
    """

    id: str
    dim: int
    min_frames: int
    dtype: str
    weights_sha256: str | None

    def preprocess(self, clip: LoadedClip) -> Record:
        """What `__call__` needs of one clip, each tensor without a batch axis; runs in the reading process.

        Raises `ValueError` for a clip that it cannot take.
        """

    def __call__(self, batch: Record) -> Record:
        """Features of a batch (every tensor of `preprocess`, stacked along a new first axis), with the same axis.

        `features` is (b, dim) float32 for a clip-level extractor. A frame-level one has `frames` (b, t, dim), and where
        the clip has them `image` (b, dim), `last_image` (b, dim) and `text` (b, dim), each of unit length.
        """
