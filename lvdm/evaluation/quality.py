"""How good one generated video is, in a few numbers and words, and which of several is best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.evaluation.flow import ClassicalFlow, Flow, following_pairs
from lvdm.evaluation.motion import second_differences
from lvdm.evaluation.motion_quality import fastest_motion, warping_errors
from lvdm.evaluation.warping import lengths
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.psnr import MAX_PSNR
from lvdm.results import GenerationRequest, GenerationResult

STATIC_REACH = 0.015
"""Share of the frame's diagonal: where even the farthest twentieth stays this near to its place, nothing moves."""
UNLIKE_IMAGE = 20.0
"""Decibels below which frame 0 is visibly another picture."""
FLICKERING = 2e-3
"""Warping error above which a video visibly flickers or falls apart."""

JUDGED_FRAMES = 16
"""Frames of a long video, evenly spread, whose agreement with the prompt is measured."""

_MEASURED_SIDE = 128
"""Frames are averaged down to about this many pixels on the shorter side, or up to twice as many."""


@dataclass(frozen=True)
class QualityReport:
    """What can be told of one video without another one to compare it with.

    first_frame_psnr  of frame 0 against the input image, decibels, at most 100; None without an image
    motion            mean length of the optical flow, frame diagonals per second
    flicker           grey levels by which pixels go up and down again, see `lvdm.evaluation.motion.flicker`
    warping_error     what motion does not explain, see `lvdm.evaluation.motion_quality`; None without two frames
    prompt_agreement  mean cosine of frames and prompt in the model's own CLIP; None without a prompt
    static            whether nothing goes anywhere, see `reach`
    remarks           what is wrong and what to do, in words; often none
    flow              names the optical flow
    """

    first_frame_psnr: float | None
    motion: float
    flicker: float
    warping_error: float | None
    prompt_agreement: float | None
    static: bool
    remarks: tuple[str, ...] = ()
    flow: str = ClassicalFlow.id

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self) | {"remarks": list(self.remarks)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> QualityReport:
        """The report that `as_dict` made. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""

        def optional(name: str) -> float | None:
            return None if stored[name] is None else float(stored[name])

        return cls(
            first_frame_psnr=optional("first_frame_psnr"),
            motion=float(stored["motion"]),
            flicker=float(stored["flicker"]),
            warping_error=optional("warping_error"),
            prompt_agreement=optional("prompt_agreement"),
            static=bool(stored["static"]),
            remarks=tuple(map(str, stored["remarks"])),
            flow=str(stored["flow"]),
        )

    def line(self) -> str:
        """All of it on one line."""
        parts = [] if self.first_frame_psnr is None else [f"frame 0 {self.first_frame_psnr:.1f} dB"]
        parts.append(f"motion {self.motion:.3f} diagonals/s")
        if self.warping_error is not None:
            parts.append(f"warping error {self.warping_error:.1e}")
        if self.prompt_agreement is not None:
            parts.append(f"prompt {self.prompt_agreement:.3f}")
        return "; ".join([", ".join(parts), *self.remarks])


class Assessment:
    """The report on a video whose frames go by once, a few at a time: two of them are held, and four for `reach`."""

    def __init__(self, num_frames: int, fps: float, flow: Flow | None = None) -> None:
        if fps <= 0:
            raise ValueError(f"fps must be more than 0, it is {fps}")
        self._fps, self._flow = fps, flow or ClassicalFlow()
        self._wanted = (0, num_frames // 3, 2 * num_frames // 3, num_frames - 1)
        self._held: dict[int, Tensor] = {}
        self._before = torch.empty(0)
        self._seen = 0
        self._motion, self._flicker, self._error = _Mean(), _Mean(), _Mean()

    def watch(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """The parts (3, k, H, W) in [-1, 1] of the video, each looked at before it is handed on."""
        for part in parts:
            self.add(part)
            yield part

    def add(self, part: Tensor) -> None:
        """Look at the next frames (3, k, H, W) in [-1, 1]."""
        new = _reduced(part)
        for number, frame in enumerate(new.unbind(1), self._seen):
            if number in self._wanted:
                self._held[number] = frame.clone()
        small = torch.cat([self._before, new], dim=1) if self._seen else new  # at most two frames of before
        self._add_pairs(small[:, max(min(self._seen, 2) - 1, 0) :])
        self._flicker.add(second_differences(small))
        self._before = small[:, -2:].clone()
        self._seen += part.shape[1]

    def _add_pairs(self, video: Tensor) -> None:
        first, second = following_pairs(video.transpose(0, 1))
        if len(first):
            forward, backward = self._flow(first, second), self._flow(second, first)
            self._motion.add(lengths(forward))
            self._error.add(warping_errors(video, forward, backward))

    def report(self, first_frame_psnr: float | None, prompt_agreement: float | None = None) -> QualityReport:
        """What the frames came to."""
        diagonal = math.hypot(*self._before.shape[-2:])
        held = torch.stack([self._held[number] for number in self._wanted], dim=1)
        report = QualityReport(
            first_frame_psnr=None if first_frame_psnr is None else round(min(first_frame_psnr, MAX_PSNR), 2),
            motion=round(self._motion.value(0.0) * self._fps / diagonal, 5),
            flicker=round(self._flicker.value(0.0), 3),
            warping_error=_finite(self._error.value(math.nan), 7),
            prompt_agreement=_finite(prompt_agreement, 4),
            static=self._seen > 1 and reach(held, self._flow) < STATIC_REACH,
            flow=self._flow.id,
        )
        return dataclasses.replace(report, remarks=_remarks(report))


@dataclass
class _Mean:
    """The mean of all values that were added, in float64."""

    total: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        self.total += values.double().sum().item()
        self.count += values.numel()

    def value(self, otherwise: float) -> float:
        return self.total / self.count if self.count else otherwise


def assess(
    video: Tensor,
    first_frame_psnr: float | None,
    fps: float,
    prompt_agreement: float | None = None,
    flow: Flow | None = None,
) -> QualityReport:
    """The report on a video (3, t, H, W) in [-1, 1] that is played at `fps`; the classical flow if none is given."""
    assessment = Assessment(video.shape[1], fps, flow)
    assessment.add(video)
    return assessment.report(first_frame_psnr, prompt_agreement)


def reach(video: Tensor, flow: Flow) -> float:
    """How far the twentieth that goes farthest is from its place in frame 0, as a share of the frame's diagonal.

    The median of a third, two thirds and the end of the video (3, t, H, W), so that a loop and a shimmer tell nothing.
    """
    frames = video.transpose(0, 1)  # t 3 H W
    later = frames[[len(frames) // 3, 2 * len(frames) // 3, len(frames) - 1]]
    moved = fastest_motion(flow(frames[:1].expand_as(later), later))
    return moved.median().item() / math.hypot(*video.shape[-2:])


def assess_videos(pipeline: DynamiCrafterPipeline, result: GenerationResult, fps: float) -> list[QualityReport]:
    """The reports on all videos of a result, played at `fps`.

    Prompts are judged by the pipeline's own CLIP towers, or not at all where its card says that they do not agree.
    """
    reports = []
    for video, request, psnr in zip(result.video, result.requests, result.first_frame_psnr, strict=True):
        agreement = pipeline.runtime.prompt_agreement(video, request.prompt) if _judged(pipeline, request) else None
        reports.append(assess(video, psnr, fps, agreement))
    return reports


class StreamAssessment:
    """`assess_videos` for a video whose frames are not kept: of a long one, `JUDGED_FRAMES` are shown to CLIP."""

    def __init__(
        self, pipeline: DynamiCrafterPipeline, request: GenerationRequest, num_frames: int, fps: float
    ) -> None:
        self._pipeline, self._request = pipeline, request
        self._assessment = Assessment(num_frames, fps)
        count = min(num_frames, JUDGED_FRAMES)
        self._chosen = {round(i * (num_frames - 1) / max(count - 1, 1)) for i in range(count)}
        self._kept: list[Tensor] = []

    def watch(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """The parts (3, k, H, W) of the video, each looked at before it is handed on."""
        number, judged = 0, _judged(self._pipeline, self._request)
        for part in self._assessment.watch(parts):
            for frame in part.unbind(1):
                if judged and number in self._chosen:
                    self._kept.append(frame.clone())
                number += 1
            yield part

    def report(self, first_frame_psnr: float | None) -> QualityReport:
        """What the frames came to."""
        agreement = None
        if self._kept:
            frames = torch.stack(self._kept, dim=1)
            agreement = self._pipeline.runtime.prompt_agreement(frames, self._request.prompt)
        return self._assessment.report(first_frame_psnr, agreement)


def _judged(pipeline: DynamiCrafterPipeline, request: GenerationRequest) -> bool:
    return pipeline.card.towers_agree and bool(request.prompt.strip())


def _finite(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None and math.isfinite(value) else None


def _remarks(report: QualityReport) -> tuple[str, ...]:
    remarks = []
    if report.static:
        remarks.append("static: raise motion (--motion 0.8), or say in the prompt what moves and where to")
    if report.first_frame_psnr is not None and report.first_frame_psnr < UNLIKE_IMAGE:
        remarks.append("unlike the image: take more steps, or less guidance")
    if report.warping_error is not None and report.warping_error > FLICKERING:
        remarks.append("unsteady: it flickers or falls apart")
    return tuple(remarks)


def _reduced(video: Tensor) -> Tensor:
    factor = max(1, min(video.shape[-2:]) // _MEASURED_SIDE)
    return F.avg_pool2d(video.float().transpose(0, 1), factor).transpose(0, 1)


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


def rank_videos(
    pipeline: DynamiCrafterPipeline, result: GenerationResult, fps: float
) -> tuple[Ranking, list[QualityReport]]:
    """Rank the videos of one result; and their reports, in the result's order."""
    reports = assess_videos(pipeline, result, fps)
    return rank(reports), reports


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
