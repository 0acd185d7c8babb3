"""How good one generated video is, in a few numbers and words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lvdm.psnr import MAX_PSNR
from lvdm.quality.flicker import second_differences
from lvdm.quality.flow import ClassicalFlow, Flow, following_pairs
from lvdm.quality.motion import reach, reduced, warping_errors
from lvdm.quality.warping import lengths

STATIC_REACH = 0.015
"""Share of the frame's diagonal: where even the farthest twentieth stays this near to its place, nothing moves."""
UNLIKE_IMAGE = 20.0
"""Decibels below which frame 0 is visibly another image."""
FLICKERING = 2e-3
"""Warping error above which a video visibly flickers or falls apart."""


@dataclass(frozen=True)
class QualityReport:
    """What one video says by itself, without another one to compare it with.

    first_frame_psnr  of frame 0 against the input image, decibels, at most 100; None without an image
    motion            mean length of the optical flow, frame diagonals per second
    flicker           grey levels by which pixels go up and down again, see `lvdm.quality.flicker.flicker`
    warping_error     what motion does not explain, see `lvdm.quality.motion.warping_error`; None without two frames
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
        self._reach_frames = (0, num_frames // 3, 2 * num_frames // 3, num_frames - 1)
        self._held: dict[int, Tensor] = {}
        self._before = torch.empty(0)
        self._seen = 0
        self._motion, self._flicker, self._error = _Mean(), _Mean(), _Mean()

    def watch(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """The parts (3, k, H, W) in [-1, 1] of the video, each looked at before it is streamed."""
        for part in parts:
            self.add(part)
            yield part

    def add(self, part: Tensor) -> None:
        """Look at the next frames (3, k, H, W) in [-1, 1]."""
        new = reduced(part)
        for number, frame in enumerate(new.unbind(1), self._seen):
            if number in self._reach_frames:
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
        held = torch.stack([self._held[number] for number in self._reach_frames], dim=1)
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
