"""Checks of the metrics against values known from outside this program, for `dynamicrafter evaluate selftest`.

They take about a second and need no weights. With an I3D given, the distances of black from white clips that are
published for it are measured too: they show whether the weights, their preprocessing and their precision are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvdm.evaluation import vbench
from lvdm.evaluation.frechet import extrapolate, frechet_distance, sample_floor
from lvdm.evaluation.kernel_distance import biased_kernel_distance, kernel_distance
from lvdm.evaluation.metrics.reconstruction import ssim
from lvdm.evaluation.metrics.similarity import i2v_similarity
from lvdm.psnr import psnr
from lvdm.quality.flicker import flicker, temporal_flickering

Logits = Callable[[Tensor], Tensor]
"""uint8 frames (b, t, H, W, 3) of any size -> logits (b, 400) of I3D, with all of its preprocessing."""

BLACK_AGAINST_WHITE = {15: 133.70, 16: 152.92, 30: 151.256}
"""FVD of 8 black from 8 white clips of T frames of 64x64, of common_metrics_on_video_quality's I3D in PyTorch."""

ANCHOR_TOLERANCE = 0.02
"""The TensorFlow original gives 151.392 where the port gives 151.256; other resizing moves these by more than 2 %."""


@dataclass(frozen=True)
class Check:
    """One value that is known: it is `ok` if `got` is within `tolerance` of `expected`."""

    name: str
    expected: float
    got: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """False for NaN too."""
        return abs(self.got - self.expected) <= self.tolerance


def run_selftest(logits: Logits | None = None) -> list[Check]:
    """All checks, with those of an I3D if one is given."""
    checks = [*_frechet(), *_kernel(), *_frames(), *_published()]
    return checks + (anchors(logits) if logits is not None else [])


def anchors(logits: Logits) -> list[Check]:
    """Black against white clips through an I3D: covariances are 0, so that one clip of each colour is enough."""
    checks = []
    for length, expected in BLACK_AGAINST_WHITE.items():
        black, white = (logits(_clips(level, length)).detach().cpu().double().numpy() for level in (0, 255))
        name = f"FVD[i3d-logits] of black from white clips of {length} frames"
        checks.append(Check(name, expected, frechet_distance(black, white), ANCHOR_TOLERANCE * expected))
    return checks


def shifted_gaussians(dim: int, shift: float) -> float:
    """The squared discrepancy of N(0, 1) and N(mu, 1) under the kernel (x.y / dim + 1)^3, where shift = |mu|^2."""
    d, a = float(dim), shift
    within_x = 1 + 3 / d
    across = 1 + 3 * (d + a) / d**2
    cubes = (a**3 + 3 * a * (2 * a + d) + 6 * a) / d**3
    within_y = 1 + 3 * a / d + 3 * (a**2 + 2 * a + d) / d**2 + cubes
    return within_x + within_y - 2 * across


def _frechet() -> Iterator[Check]:
    dim, rows = 40, 120
    directions = _orthonormal(rows, dim)
    first = math.sqrt(rows - 1) * directions  # covariance 1, mean 0
    spread = 1 + np.arange(dim) / dim
    second = first * spread + 0.5
    expected = float(0.25 * dim + np.square(spread - 1).sum())
    yield Check("Fréchet distance of Gaussians that commute", expected, frechet_distance(first, second), 1e-9)
    yield Check("Fréchet distance, scaled by 3", 9 * expected, frechet_distance(3 * first, 3 * second), 1e-8)
    yield Check("Fréchet distance of a set from itself, turned round", 0, frechet_distance(first, first[::-1]), 0)
    few = np.zeros((2, 5)) + np.array([[0.0], [2.0]])
    yield Check("Fréchet distance with fewer rows than dimensions", 5, frechet_distance(few, few + 1), 1e-12)
    floor = (2 * dim + dim * (dim - 1) / 2 + dim) / 2048
    yield Check("floor of 2048 white samples", floor, sample_floor(first, 2048), 1e-9)
    limit = extrapolate({n: 7 + 500 / n for n in (512, 1024, 2048)}).value
    yield Check("extrapolation of a line in 1/n", 7, limit, 1e-9)


def _kernel() -> Iterator[Check]:
    x = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    y = [[7, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]]
    got = biased_kernel_distance(x, y, degree=2, gamma=1.0, coef0=0.0)
    yield Check("biased kernel distance, degree 2, as published", 2436.5, got, 0.05)
    got = biased_kernel_distance(x, y, degree=2, coef0=0.0)
    yield Check("the same with 1/d, as published", 270.7, got, 0.05)
    means = float(np.square(np.mean(x, axis=0) - np.mean(y, axis=0)).sum() / 3)
    yield Check("biased kernel distance of degree 1", means, biased_kernel_distance(x, y, degree=1), 1e-12)
    yield Check("closed form of shifted Gaussians, d 400, shift 100", 0.955947, shifted_gaussians(400, 100), 5e-7)
    rng = np.random.Generator(np.random.Philox(0))
    distances = [
        kernel_distance(rng.standard_normal((300, 20)), rng.standard_normal((200, 20)) + 0.5) for _ in range(20)
    ]
    error = 4 * float(np.std(distances)) / math.sqrt(len(distances))
    name = "kernel distance of shifted Gaussians, 20 times (4 standard errors)"
    yield Check(name, shifted_gaussians(20, 5), float(np.mean(distances)), error)


def _frames() -> Iterator[Check]:
    black, white = _clips(0, 1)[0], _clips(255, 1)[0]
    yield Check("PSNR[dB] of black from white", 0, psnr(black, white), 1e-12)
    yield Check("SSIM of black from white", 9.999e-05, ssim(black, white).item(), 1e-9)
    still = torch.zeros(3, 4, 16, 16)
    yield Check("temporal flickering of a still", 1, temporal_flickering(still), 0)
    alternating = still.clone()
    alternating[:, 1::2] = 10 / 127.5
    yield Check("flicker of frames that alternate by 10 levels", 10, flicker(alternating), 1e-3)
    turned = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    expected = 0.4 * 1 + 0.3 * 0.7 + 0.3 * 0.6
    yield Check("VBench-I2V similarity of known angles", expected, i2v_similarity(turned, turned[0]), 1e-12)


def _published() -> Iterator[Check]:
    row = dict(zip(vbench.QUALITY, (0.9569, 0.9738, 0.9738, 0.4740, 0.6646, 0.6934), strict=True))
    name = "VBench-I2V quality of DynamiCrafter-1024, as published [%]"
    yield Check(name, 80.50, 100 * vbench.quality_score(row), 0.005)
    row |= dict(zip(vbench.I2V, (0.9817, 0.9860, 0.358), strict=True))
    yield Check("VBench-I2V total of DynamiCrafter-1024 [%]", 87.76, 100 * vbench.total_score(row), 0.005)


def _clips(level: int, length: int) -> Tensor:
    return torch.full((8, length, 64, 64, 3), level, dtype=torch.uint8)


def _orthonormal(rows: int, dim: int) -> NDArray[np.float64]:
    """Cosines: columns (rows, dim) that are orthogonal to each other and of mean 0."""
    places = (np.arange(rows) + 0.5)[:, None] * np.arange(1, dim + 1) * np.pi / rows
    return np.asarray(np.cos(places) * math.sqrt(2 / rows))
