"""Known ways of spoiling a clip: what a measure of videos is tried on, because the answer is known.

Each is a pure function of frames (uint8 (t, H, W, 3)), a strength and a seed, and gives frames of the same shape.
Strength 0 leaves a clip as it is; for the two speeds 1 does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Transform = Callable[[Tensor, float, int], Tensor]


@dataclass(frozen=True)
class Distortion:
    """A distortion with the strength that makes it plain to see.

    strength  the default strength, in `unit`
    unit      what strength counts
    """

    transform: Transform
    strength: float
    unit: str
    description: str

    def __call__(self, frames: Tensor, seed: int = 0, strength: float | None = None) -> Tensor:
        """The spoilt frames, as uint8 (t, H, W, 3); `strength` goes before the default one.

        Raises `ValueError` for frames of another kind, or a strength that makes no sense.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
            raise ValueError(f"frames should be uint8 (t, H, W, 3), they are {frames.dtype} {tuple(frames.shape)}")
        chosen = self.strength if strength is None else strength
        if not chosen >= 0 or not math.isfinite(chosen):
            raise ValueError(f"strength should be a number of 0 or more, it is {chosen}")
        return self.transform(frames, chosen, seed)


def noise(frames: Tensor, strength: float, seed: int) -> Tensor:
    """Gaussian noise of `strength` grey levels, drawn for every value of every frame."""
    return _as_frames(frames + strength * torch.randn(frames.shape, generator=_generator(seed)))


def blur(frames: Tensor, strength: float, seed: int) -> Tensor:
    """Gaussian blur in space; `strength` is its standard deviation in pixels."""
    if strength == 0:
        return frames.clone()
    radius = math.ceil(3 * strength)
    taps = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * strength**2))
    taps = (taps / taps.sum()).reshape(1, 1, -1)
    blurred = frames.float()
    for dim in (1, 2):
        moved = blurred.movedim(dim, -1)  # the axis that is blurred comes last
        rows = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (radius, radius), mode="replicate")
        blurred = F.conv1d(rows, taps).reshape(moved.shape).movedim(-1, dim)
    return _as_frames(blurred)


def flicker(frames: Tensor, strength: float, seed: int) -> Tensor:
    """The brightness of whole frames goes up and down by random numbers of `strength` grey levels."""
    levels = strength * torch.randn(len(frames), generator=_generator(seed))
    return _as_frames(frames + levels[:, None, None, None])


def jitter(frames: Tensor, strength: float, seed: int) -> Tensor:
    """Every frame is moved by up to `strength` whole pixels in both directions; edges are repeated."""
    reach, (height, width) = int(strength), frames.shape[1:3]
    shifts = torch.randint(-reach, reach + 1, (len(frames), 2), generator=_generator(seed))
    rows = (torch.arange(height) + shifts[:, :1]).clamp(0, height - 1)  # (t, H)
    columns = (torch.arange(width) + shifts[:, 1:]).clamp(0, width - 1)  # (t, W)
    time = torch.arange(len(frames))[:, None, None]
    return frames[time, rows[:, :, None], columns[:, None, :]]


def shuffle(frames: Tensor, strength: float, seed: int) -> Tensor:
    """A part `strength` of the frames, from 0 to 1, changes places at random."""
    generator = _generator(seed)
    count = min(len(frames), round(strength * len(frames)))
    chosen = torch.randperm(len(frames), generator=generator)[:count]
    order = torch.arange(len(frames))
    order[chosen] = chosen[torch.randperm(count, generator=generator)]
    return frames[order]


def freeze(frames: Tensor, strength: float, seed: int) -> Tensor:
    """The last part `strength` of the clip, from 0 to 1, stands still; 1 repeats the first frame throughout."""
    last = max(0, round((1 - min(strength, 1.0)) * (len(frames) - 1)))
    return frames[torch.arange(len(frames)).clamp(max=last)]


def temporal_blur(frames: Tensor, strength: float, seed: int) -> Tensor:
    """Every frame becomes the mean of itself and the `strength` frames on either side that there are."""
    reach, values = int(strength), frames.float()
    windows = [values[max(0, i - reach) : i + reach + 1].mean(dim=0) for i in range(len(frames))]
    return _as_frames(torch.stack(windows))


def speed(frames: Tensor, strength: float, seed: int) -> Tensor:
    """Playback at `strength` times the speed. Slow: frames are blended; fast: the clip runs back when it is over."""
    last = len(frames) - 1
    if not 0 < strength <= last:
        raise ValueError(f"speed should be more than 0 and at most {last}, for {len(frames)} frames; it is {strength}")
    first = last % strength  # so that a fast clip turns at a frame that it shows
    span = last - first
    steps = torch.arange(len(frames), dtype=torch.float64) * strength
    places = last - (steps % (2 * span) - span).abs()  # there and back
    before = places.floor().long().clamp(max=last - 1)
    share = (places - before)[:, None, None, None]
    return _as_frames(frames[before] * (1 - share) + frames[before + 1] * share)


DISTORTIONS: Mapping[str, Distortion] = {
    "noise": Distortion(noise, 8.0, "grey levels", "noise in every value"),
    "blur": Distortion(blur, 1.0, "pixels", "blur in space"),
    "flicker": Distortion(flicker, 6.0, "grey levels", "brightness of whole frames goes up and down"),
    "jitter": Distortion(jitter, 2.0, "pixels", "frames are moved at random"),
    "shuffle": Distortion(shuffle, 1.0, "part of the frames", "frames change places"),
    "freeze": Distortion(freeze, 0.75, "part of the clip", "the clip stands still from some time on"),
    "temporal-blur": Distortion(temporal_blur, 1.0, "frames on either side", "every frame is a mean over time"),
    "slow": Distortion(speed, 0.5, "times the speed", "playback is too slow"),
    "fast": Distortion(speed, 2.0, "times the speed", "playback is too fast"),
}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _as_frames(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
