"""A video that begins with its image: frame 0 is held to the input image.

`soft` shows the network the image's own latents at frame 0 in every step, as in inpainting. `exact` leaves the network
alone and adds to frame 0 what it lacks of the image, and to each next frame a share of that, wherever it still shows
what frame 0 showed: what is lacking is mostly detail that the autoencoder cannot tell, and later frames lack it too.

The two are not combined: on the embedded model frame 0 under known latents moved away from frame 1, which then looked
like a jump (`benchmarks/plugins.md`), while the correction alone leaves the first step among the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

DECAY = 0.9
"""The share of the correction of a frame that the next one gets: less shows as a jump, more as a stain that stays."""
CHANGED = 0.2
"""A change of pixels (of a range of 2) at which the correction is down to 1/e: without it, a sprite that leaves would
leave its outline behind."""
NEIGHBOURHOOD = 1 / 16
"""Side of the square over which changes are averaged, as a share of the shorter side of the image."""


def hold_first_frame(kept: Tensor | None, anchor: str, shape: tuple[int, int, int, int]) -> Tensor | None:
    """The mask `kept` (b, t, H, W) of what stays as in the image, with all of frame 0 if `anchor` is soft."""
    if anchor != "soft":
        return kept
    held = torch.zeros(shape) if kept is None else kept.clone()
    held[:, 0] = 1.0
    return held


def correct_pixels(video: Tensor, images: Mapping[int, Tensor], anchor: str) -> Tensor:
    """Videos (b, 3, t, H, W) whose frames are `images` (b, 3, H, W) at their numbers, if `anchor` is exact.

    All are in [-1, 1]. What a image corrects fades in both directions of time, to nothing at the next image.
    """
    if anchor != "exact":
        return video
    if list(images) == [0]:
        return PixelCorrection(images[0])(video)
    video, count = video.clamp(-1, 1), video.shape[2]
    corrected = video.clone()
    frames = sorted(images)
    for before, frame, after in zip([None, *frames], frames, [*frames[1:], None], strict=False):
        lacking = (images[frame] - video[:, :, frame])[:, :, None]
        later = video[:, :, frame : count if after is None else after + 1]
        corrected[:, :, frame : frame + later.shape[2]] += lacking * _faded(later, after is not None)
        earlier = video[:, :, 0 if before is None else before : frame + 1].flip(2)
        corrected[:, :, frame + 1 - earlier.shape[2] : frame] += (lacking * _faded(earlier, before is not None)).flip(
            2
        )[:, :, :-1]
    for frame, image in images.items():
        corrected[:, :, frame] = image  # without rounding
    return corrected.clamp(-1, 1)


def _faded(video: Tensor, to_nothing: bool) -> Tensor:
    """The share of the correction of frame 0 that each frame gets, (b, 1, t, H, W); none for the last one if asked."""
    count = video.shape[2]
    weights = _falling(0, count, video)
    if to_nothing:
        weights = weights * torch.linspace(1, 0, count)[:, None, None]
    return weights * unchanged(video)


class PixelCorrection:
    """`correct_pixels` at the first end, for videos that come in parts (b, 3, k, H, W), in order."""

    def __init__(self, images: Tensor) -> None:
        self._images, self._begin = images, 0
        self._first = self._lacking = self._same = images

    def __call__(self, part: Tensor) -> Tensor:
        """The next part, corrected."""
        part = part.clamp(-1, 1)
        if self._begin == 0:
            self._first = part[:, :, :1].clone()
            self._lacking = self._images[:, :, None] - self._first
            self._same = torch.ones_like(part[:, :1, :1])
        same = torch.minimum(unchanged(part, self._first), self._same)
        self._same = same[:, :, -1:].clone()
        corrected = part + self._lacking * _falling(self._begin, part.shape[2], part) * same
        if self._begin == 0:
            corrected[:, :, 0] = self._images  # without rounding
        self._begin += part.shape[2]
        return corrected.clamp(-1, 1)


def _falling(begin: int, count: int, like: Tensor) -> Tensor:
    """The share of the correction that each of `count` frames from `begin` gets, (count, 1, 1)."""
    return torch.tensor([DECAY**frame for frame in range(begin, begin + count)], dtype=like.dtype)[:, None, None]


def unchanged(video: Tensor, first: Tensor | None = None) -> Tensor:
    """How far each pixel shows what frame 0 shows: (b, 3, t, H, W) -> (b, 1, t, H, W), from 1 down to 0.

    Where a frame has changed, later ones count as changed as well. `first` is frame 0, (b, 3, 1, H, W), if another.
    """
    margin = round(NEIGHBOURHOOD * min(video.shape[-2:]) / 2)
    change = (video - (video[:, :, :1] if first is None else first)).abs().mean(dim=1)  # b t H W
    change = F.avg_pool2d(F.pad(change, (margin,) * 4, mode="replicate"), 2 * margin + 1, stride=1)
    return torch.exp(-((change / CHANGED) ** 2)).cummin(dim=1).values[:, None]
