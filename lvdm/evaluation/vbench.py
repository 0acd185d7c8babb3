"""The published aggregate of VBench-I2V (arXiv:2411.13503): nine dimensions to Quality, I2V and Total.

The constants are those of the suite's leaderboard (Vchitect/VBench, scripts/constant.py). Only scores that the suite
itself measured may be aggregated: the ranges belong to its networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lvdm.errors import UserError


@dataclass(frozen=True)
class Dimension:
    """The range that a score is stretched from to 0 to 1 (it may leave it), and its weight in the mean."""

    low: float
    high: float
    weight: float = 1.0

    def normalized(self, score: float) -> float:
        """0 at `low`, 1 at `high`."""
        return (score - self.low) / (self.high - self.low)


QUALITY = {
    "subject_consistency": Dimension(0.1462, 1.0),
    "background_consistency": Dimension(0.2615, 1.0),
    "motion_smoothness": Dimension(0.7060, 0.9975),
    "dynamic_degree": Dimension(0.0, 1.0, weight=0.5),
    "aesthetic_quality": Dimension(0.0, 1.0),
    "imaging_quality": Dimension(0.0, 1.0),
}
"""How good the video is by itself. `dynamic_degree` is the only one that a still does not win."""

I2V = {
    "i2v_subject": Dimension(0.1462, 1.0),
    "i2v_background": Dimension(0.2615, 1.0),
    "camera_motion": Dimension(0.0, 1.0, weight=0.1),
}
"""How well it keeps to the image and to the camera motion of the prompt."""


def quality_score(scores: Mapping[str, float]) -> float:
    """The weighted mean of the normalised `QUALITY` dimensions; scores as fractions of 1.

    Raises `ValueError` for dimensions that are missing (the suite's own script takes them for 0), and for scores that
    are no fractions, such as percentages.
    """
    return _weighted_mean(scores, QUALITY)


def i2v_score(scores: Mapping[str, float]) -> float:
    """The same of the `I2V` dimensions."""
    return _weighted_mean(scores, I2V)


def total_score(scores: Mapping[str, float]) -> float:
    """The mean of `quality_score` and `i2v_score`."""
    return (quality_score(scores) + i2v_score(scores)) / 2


def dimensions() -> Iterable[str]:
    """The names of all dimensions, as the suite's result files spell them."""
    return (*QUALITY, *I2V)


def _weighted_mean(scores: Mapping[str, float], group: Mapping[str, Dimension]) -> float:
    missing = [name for name in group if name not in scores]
    if missing:
        raise UserError(f"the aggregate of VBench-I2V needs {', '.join(missing)} too: it has no value without them")
    wrong = [name for name in group if not 0 <= scores[name] <= 1]
    if wrong:
        raise UserError(
            f"{wrong[0]} should be a fraction from 0 to 1, it is {scores[wrong[0]]}: divide percentages by 100"
        )
    total = sum(dimension.weight * dimension.normalized(scores[name]) for name, dimension in group.items())
    return total / sum(dimension.weight for dimension in group.values())
