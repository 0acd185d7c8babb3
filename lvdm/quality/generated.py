"""The reports on what a pipeline made, with the agreement of prompt and frames by its own CLIP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.results import GenerationResult
from lvdm.quality.report import Assessment, QualityReport, assess

JUDGED_FRAMES = 16
"""Frames of a long video, evenly spread, whose agreement with the prompt is measured."""


def assess_videos(pipeline: DynamiCrafterPipeline, result: GenerationResult, fps: float) -> list[QualityReport]:
    """The reports on all videos of a result, played at `fps`.

    Prompts are judged by the pipeline's own CLIP encoders, or not at all where its card says that they do not agree.
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
        """The parts (3, k, H, W) of the video, each looked at before it is streamed."""
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
    return pipeline.card.encoders_agree and bool(request.prompt.strip())
