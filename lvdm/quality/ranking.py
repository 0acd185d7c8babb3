"""Which of several videos of one image and prompt is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lvdm.quality.report import QualityReport


@dataclass(frozen=True)
class Ranking:
    """Places of several videos. `order`: their numbers, the best first; `reasons`: why, for each in that order."""

    order: tuple[int, ...]
    reasons: tuple[str, ...]

    @property
    def best(self) -> int:
        """The number of the best one."""
        return self.order[0]


def rank(reports: Sequence[QualityReport]) -> Ranking:
    """Order videos of one image and prompt: by the mean of their places in each respect, static ones last.

    The respects are: frame 0 near the image, much motion, little warping error, agreement with the prompt; each counts
    alike, equal values share their mean place, and a respect that one video lacks is left out. Of equal means the
    lower number wins. Motion is a respect because the others are won by videos that hardly move.
    Raises `ValueError` without reports.
    """
    if not reports:
        raise ValueError("there are no videos to rank")
    places = {name: _places(values) for name, values in _respects(reports).items()}
    means = [sum(column[i] for column in places.values()) / len(places) for i in range(len(reports))]
    order = sorted(range(len(reports)), key=lambda i: (reports[i].static, means[i], i))
    reasons = []
    for i in order:
        each = ", ".join(f"{name} {column[i]:g}" for name, column in places.items())
        reasons.append(f"{'static; ' if reports[i].static else ''}mean place {means[i]:.2f} ({each})")
    return Ranking(tuple(order), tuple(reasons))


def _respects(reports: Sequence[QualityReport]) -> dict[str, list[float]]:
    """For each respect that all videos have, a value for each; less is better."""
    found: dict[str, list[float | None]] = {
        "frame 0": [None if report.first_frame_psnr is None else -report.first_frame_psnr for report in reports],
        "motion": [-report.motion for report in reports],
        "steadiness": [report.warping_error for report in reports],
        "prompt": [None if report.prompt_agreement is None else -report.prompt_agreement for report in reports],
    }
    whole = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {name: values for name, values in whole.items() if len(values) == len(reports)}


def _places(values: Sequence[float]) -> list[float]:
    """The place of each value from 1 for the least; equal ones share the mean of theirs."""
    return [
        1 + sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]
