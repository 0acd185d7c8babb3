"""Colours that do not drift: mean and contrast of each frame's channels are held to those of the first picture."""

from __future__ import annotations

from torch import Tensor

FLAT = 1e-3
"""A channel with less contrast than this is one colour, and its contrast is left alone."""


def lock_colors(video: Tensor, images: Tensor, strength: float) -> Tensor:
    """Videos (b, 3, t, H, W) in [-1, 1] with the colour statistics of `images` (b, 3, H, W).

    strength 0 returns the video itself, 1 gives every frame the image's mean and standard deviation, per channel.
    """
    if strength == 0:
        return video
    mean, std = video.mean((-2, -1), keepdim=True), video.std((-2, -1), keepdim=True)  # b 3 t 1 1
    wanted_mean = images.mean((-2, -1), keepdim=True)[:, :, None]  # b 3 1 1 1
    wanted_std = images.std((-2, -1), keepdim=True)[:, :, None]
    gain = (wanted_std / std.clamp(min=FLAT)).where(std > FLAT, std.new_ones(()))
    locked = (video - mean) * gain + wanted_mean
    return video + strength * (locked - video)
