"""`stpyr-v1`: a space-time pyramid of energies, features of a clip that need no network and no download.

They see what an image network overlooks: noise, blur, flicker, jitter, shuffled, frozen or blended frames, a wrong
speed. A Frechet distance of them is called FD[stpyr-v1], and is comparable with nothing else.

The definition is this file. A clip is reduced to `SIDE` x `SIDE` pixels by area and rounded to sixteenths of a grey
level. From there on the arithmetic is of whole numbers, and exact, up to the logarithms at the end: one clip's features
are the same bits in any batch, with any number of threads.

Energies of different operators and scales go together from clip to clip, so that one of each kind is kept as it is and
the others are given as ratios: a ratio hardly varies among good clips and moves far when a clip is spoilt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lvdm.evaluation.features.protocol import LoadedClip, Record

Array = NDArray[Any]

SIDE = 96
SCALES = 3
STEPS = 16
"""Steps of one grey level."""

FLOOR = 0.05
"""Squared grey levels that are added to every energy: what is less is not seen, and nothing at all is finite."""

RATIO_WEIGHT, CORRELATION_WEIGHT, COLOUR_WEIGHT = 3.0, 3.0, 3.0
"""Factors of ratios that hardly vary among good clips, of correlations in space and time, of mean colours in [0, 1]."""

_PER_SCALE = (
    *("direction", "sharpness", "acceleration", "distant_change", "sparsity"),
    *("x_with_change", "y_with_change", "x_with_y", "edges_with_change", "change_with_next"),
)
NAMES = (
    *("gradient", "change"),
    *(f"{name}_{scale}" for scale in range(SCALES) for name in _PER_SCALE),
    *(f"{name}_{scale}" for scale in range(1, SCALES) for name in ("gradient", "change")),
    *("brightness_change", "brightness_acceleration"),
    *("first_half", "second_half", "least_change", "most_change"),
    *("mean_red", "mean_green", "mean_blue", "spread_red", "spread_green", "spread_blue"),
    *("red_with_green", "green_with_blue", "chroma_change"),
)
"""What the features are, in order."""


class SpaceTimePyramid:
    """The extractor. All work is done in `preprocess`, clip by clip, in the process that reads."""

    id = "stpyr-v1"
    dim = len(NAMES)
    min_frames = 3
    dtype = "fp64"
    weights_sha256: str | None = None

    def preprocess(self, clip: LoadedClip) -> Record:
        """`features` (dim,) float32 of one clip. Raises `ValueError` for fewer than 3 frames."""
        return {"features": torch.from_numpy(space_time_features(clip.frames.cpu().numpy()))}

    def __call__(self, batch: Record) -> Record:
        """The features as they are, (b, dim)."""
        return {"features": batch["features"]}


def space_time_features(frames: Array) -> Array:
    """frames uint8 (t, H, W, 3) -> (len(NAMES),) float32, see `NAMES`.

    Raises `ValueError` for fewer than 3 frames, or frames of another kind.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"frames should be uint8 (t, H, W, 3), they are {frames.dtype} {frames.shape}")
    if len(frames) < SpaceTimePyramid.min_frames:
        raise ValueError(f"stpyr-v1 needs {SpaceTimePyramid.min_frames} frames or more, the clip has {len(frames)}")
    colours = _reduced(frames)  # 3 t S S
    grey = _grey(colours)  # t S S
    pyramid = [grey]
    for _ in range(1, SCALES):
        pyramid.append(_halved(pyramid[-1]))
    levels = [_Level.of(f) for f in pyramid]
    values = [math.log(levels[0].gradient), math.log(levels[0].change)]
    for level in levels:
        values += level.features
    for fine, coarse in pairwise(levels):
        values += [_ratio(coarse.gradient, fine.gradient), _ratio(coarse.change, fine.change)]
    values += _brightness(grey) + _course(pyramid[1], levels[1].change) + _colour_moments(colours)
    return np.array(values, dtype=np.float32)


@dataclass(frozen=True)
class _Level:
    """One scale: energies of the gradient and of the change from frame to frame, and the features of `_PER_SCALE`."""

    gradient: float
    change: float
    features: list[float]

    @classmethod
    def of(cls, f: Array) -> _Level:
        """The scale whose frames are f, int16 (t, h, w) in steps."""
        x, y, change = f[:, :, 1:] - f[:, :, :-1], f[:, 1:] - f[:, :-1], f[1:] - f[:-1]
        horizontal, vertical, moving = _energy(x), _energy(y), _energy(change)
        distance = (len(f) - 1) // 2 + 1
        size = np.abs(change)
        mean_size = float(size.sum(dtype=np.int64)) / size.size / STEPS
        ratios = [
            math.log(horizontal / vertical),
            _ratio(_energy(_laplacian(f)), horizontal + vertical),
            _ratio(_energy(change[1:] - change[:-1]), moving),
            math.log(_energy(f[distance:] - f[:-distance]) / moving),
            math.log((mean_size**2 + FLOOR) / moving),
        ]
        x, y, here = x[:-1, :-1], y[:-1, :, :-1], change[:, :-1, :-1]  # all from the same pixels of the same frames
        pairs = ((x, here), (y, here), (x, y), (np.abs(x) + np.abs(y), size[:, :-1, :-1]), (change[:-1], change[1:]))
        return cls(horizontal + vertical, moving, ratios + [_correlation(a, b) for a, b in pairs])


def _laplacian(f: Array) -> Array:
    """Four times a pixel less its neighbours, of the pixels inside: within int16 for 4080 steps."""
    result = 4 * f[:, 1:-1, 1:-1]
    for neighbour in (f[:, :-2, 1:-1], f[:, 2:, 1:-1], f[:, 1:-1, :-2], f[:, 1:-1, 2:]):
        result -= neighbour
    return result


def _brightness(grey: Array) -> list[float]:
    """Logarithms of the energies of how the mean of the frame changes, and of how that changes; grey (t, h, w)."""
    means = grey.mean(axis=(1, 2), dtype=np.float64) / STEPS
    return [math.log(float(np.square(np.diff(means, n=n)).mean()) + FLOOR) for n in (1, 2)]


def _course(f: Array, mean: float) -> list[float]:
    """Energy of the change in the first and the second half, the least and the most of a frame, against the `mean`."""
    energies = [_energy(f[i : i + 1] - f[i - 1 : i]) for i in range(1, len(f))]
    half = (len(energies) + 1) // 2
    parts = (sum(energies[:half]) / half, sum(energies[-half:]) / half, min(energies), max(energies))
    return [_ratio(part, mean) for part in parts]


def _colour_moments(colours: Array) -> list[float]:
    """Means, spreads and correlations of the channels, and the energy of colours' change; colours (3, t, h, w)."""
    n = colours[0].size
    sums = [float(channel.sum(dtype=np.int64)) for channel in colours]

    def covariance(i: int, j: int) -> float:
        return (_dot(colours[i], colours[j]) - sums[i] * sums[j] / n) / n / STEPS**2

    spreads = [covariance(i, i) + FLOOR for i in range(3)]
    together = [covariance(i, i + 1) / math.sqrt(spreads[i] * spreads[i + 1]) for i in range(2)]
    chroma = (colours[0] - colours[1], colours[2] - colours[1])
    change = sum(_energy(c[1:] - c[:-1]) for c in chroma)
    means = [COLOUR_WEIGHT * total / n / STEPS / 255 for total in sums]
    return [*means, *(math.log(spread) for spread in spreads), *together, math.log(change)]


def _energy(x: Array) -> float:
    """Mean square in squared grey levels, and `FLOOR`; x in steps."""
    return _dot(x, x) / x.size / STEPS**2 + FLOOR


def _ratio(a: float, b: float) -> float:
    return RATIO_WEIGHT * math.log(a / b)


def _correlation(a: Array, b: Array) -> float:
    """Cosine of a and b, weighted; towards 0 where one of them is less than `FLOOR`. 0 for nothing."""
    if a.size == 0:
        return 0.0
    return CORRELATION_WEIGHT * _dot(a, b) / a.size / STEPS**2 / math.sqrt(_energy(a) * _energy(b))


def _dot(a: Array, b: Array) -> float:
    """Sum in 64 bits of the products of int16 (t, h, w), which 32 bits hold: exact, whatever the order."""
    return float(np.multiply(a, b, dtype=np.int32).sum(dtype=np.int64))


def _grey(colours: Array) -> Array:
    """int16 (3, t, h, w) -> (t, h, w): luma by the weights 77, 150 and 29 of 256, rounded."""
    red, green, blue = colours.astype(np.int32)
    return ((77 * red + 150 * green + 29 * blue + 128) >> 8).astype(np.int16)


def _halved(f: Array) -> Array:
    """Means of 2 x 2 pixels, rounded to whole steps."""
    return (f[:, ::2, ::2] + f[:, 1::2, ::2] + f[:, ::2, 1::2] + f[:, 1::2, 1::2] + 2) >> 2


def _reduced(frames: Array) -> Array:
    """uint8 (t, H, W, 3) -> int16 (3, t, SIDE, SIDE) steps, from 0 to 4080: means over areas, not keeping the aspect.

    The weights of `_areas` are whole, so the sums are too, and a product of matrices is exact in any order: float32
    holds whole numbers up to 2^24, float64 up to 2^53.
    """
    t, height, width, _ = frames.shape
    area = height * width
    rows = _areas(height).astype(np.float32) @ frames.reshape(t, height, width * 3).astype(np.float32)  # t S (W 3)
    exact = np.float32 if 255 * area < 2**24 else np.float64
    planes = np.ascontiguousarray(rows.reshape(t, SIDE, width, 3).transpose(3, 0, 1, 2)).astype(exact)  # 3 t S W
    sums = planes.reshape(-1, width) @ _areas(width).T.astype(exact)  # (3 t S) S
    return np.floor(sums.astype(np.float64) * STEPS / area + 0.5).astype(np.int16).reshape(3, t, SIDE, SIDE)


def _areas(length: int) -> Array:
    """(SIDE, length): how much of each pixel, in 1/SIDE of it, lies in each cell; a row sums to `length`."""
    cells, pixels = np.arange(SIDE)[:, None] * length, np.arange(length) * SIDE
    overlap = np.minimum(cells + length, pixels + SIDE) - np.maximum(cells, pixels)
    return np.maximum(overlap, 0)
