"""Colours that do not drift: mean and contrast of each frame's channels are held to those of an image or a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lvdm.declaration.parameter import WITH_IMAGE, Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Method, Need, Place

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.plugins.context import Finishing

MAX_CONTRAST_CHANGE = 2.0
"""A frame without contrast is not blown up to noise."""


@declared
class ColorLockParameters:
    """How far colours are held."""

    color_lock: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("0 to 1: hold all frames to the colours of the image.", GROUP, modes=WITH_IMAGE),
    ] = 0.0


@dataclass(frozen=True, eq=False)
class ColorStatistics:
    """Mean and standard deviation of each channel within a frame, (..., 3, 1, 1, 1) each."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, video: Tensor) -> ColorStatistics:
        """Those of a video (..., 3, t, H, W), as means over its frames."""
        mean, deviation = video.mean((-2, -1)).mean(-1), video.std((-2, -1)).mean(-1)
        return cls(mean[..., None, None, None], deviation[..., None, None, None])


def lock_colors(video: Tensor, statistics: ColorStatistics, strength: float) -> Tensor:
    """Videos (..., 3, t, H, W) in [-1, 1], mean and contrast of each channel of each frame moved to `statistics`.

    strength  0 returns the video itself, 1 moves all the way
    """
    if strength == 0:
        return video
    mean, deviation = video.mean((-2, -1), keepdim=True), video.std((-2, -1), keepdim=True)
    limit = MAX_CONTRAST_CHANGE
    factor = (statistics.deviation / deviation.clamp(min=1e-6)).clamp(1 / limit, limit)
    locked = (video - mean) * factor + statistics.mean
    return video.lerp(locked, strength).clamp(-1, 1)


def _finish(context: Finishing, parts: Iterator[Tensor]) -> Iterator[Tensor]:
    statistics = ColorStatistics.of(context.images_by_frame[0][:, :, None])
    return (lock_colors(part, statistics, context.settings.color_lock) for part in parts)


METHOD = Method(
    name="color_lock",
    label="color_lock",
    place=Place.COLORS,
    parameters=ColorLockParameters,
    active=lambda settings: settings.color_lock > 0,
    needs=(Need.IMAGE,),
    holds=(Hold.FRAMES,),
    finish=_finish,
)
