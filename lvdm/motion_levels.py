"""What `motion` from 0 to 1 stands for: levels from calm to lively, for some models as they were measured.

A level is more than the model's `fs`: beyond the liveliest `fs`, sampling may begin below the last time step
(arXiv 2406.15735) and the image may be blurred in the first steps (arXiv 2506.08456), see `lvdm.plugins`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from lvdm.deprecation import renamed_names

MIN_VIDEOS = 3
"""With fewer, nothing distinguishes a difference from chance."""


@dataclass(frozen=True)
class MotionLevel:
    """The settings of one level; `truncated_start` and `low_pass` as in `lvdm.plugins.settings`, neutral by default.

    at  the `motion` that the level is for, by its share of the measured motion; None: levels are spaced evenly
    """

    fs: int
    truncated_start: float = 1.0
    low_pass: float = 0.0
    at: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.truncated_start <= 1 and 0 <= self.low_pass <= 1):
            raise ValueError(
                f"truncated_start {self.truncated_start} and low_pass {self.low_pass} should lie between 0 and 1"
            )
        if self.at is not None and not 0 <= self.at <= 1:
            raise ValueError(f"at {self.at} should lie between 0 and 1")


BEYOND: Sequence[tuple[float, float]] = ((0.94, 0.0), (0.9, 0.0), (0.86, 0.0), (0.86, 0.5), (0.86, 0.75))
"""What may add motion at the liveliest `fs`: start time and low-pass."""


def candidate_levels(fs_values: Sequence[int]) -> list[MotionLevel]:
    """Levels that may be livelier each than the one before. fs_values: from calm to lively."""
    distinct = list(dict.fromkeys(fs_values))
    return [MotionLevel(fs) for fs in distinct] + [MotionLevel(distinct[-1], *more) for more in BEYOND]


def rising_levels(motions: Sequence[Sequence[float]]) -> list[int]:
    """The numbers of the levels that are livelier than the last of them before, by more than chance brings.

    motions: by level, the motion of each of the same videos. A level counts where the mean of the paired differences is
    more than twice its standard error. Raises `ValueError` for fewer than `MIN_VIDEOS` videos.
    """
    if any(len(level) < MIN_VIDEOS or len(level) != len(motions[0]) for level in motions):
        raise ValueError(f"each level needs the motion of the same videos, of {MIN_VIDEOS} or more")
    rising = [0]
    for number in range(1, len(motions)):
        gains = [after - before for before, after in zip(motions[rising[-1]], motions[number], strict=True)]
        if fmean(gains) > 2 * stdev(gains) / math.sqrt(len(gains)):
            rising.append(number)
    return rising


def placed_levels(levels: Sequence[MotionLevel], motions: Sequence[float]) -> list[MotionLevel]:
    """`levels` at the shares of the range that their measured `motions` cover, rising from 0 to 1."""
    low, high = motions[0], motions[-1]
    shares = [0.0 if high == low else (motion - low) / (high - low) for motion in motions]
    return [replace(level, at=round(share, 2)) for level, share in zip(levels, shares, strict=True)]


def level_at(levels: Sequence[MotionLevel], motion: float) -> MotionLevel:
    """The nearest of `levels`, which rise; of two as near, the livelier one."""
    even = any(level.at is None for level in levels)
    places = [i / max(len(levels) - 1, 1) if even else level.at or 0.0 for i, level in enumerate(levels)]
    nearest = min(range(len(levels)), key=lambda i: (round(abs(places[i] - motion), 9), -i))
    return levels[nearest]


__getattr__ = renamed_names(__name__, {"FEWEST_VIDEOS": "MIN_VIDEOS"})
