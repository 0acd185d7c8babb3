"""Change from frame to frame that needs no flow."""

from __future__ import annotations

from lvdm.evaluation.metrics.metric import NOT_DEFINED, FrameMetric
from lvdm.quality.flicker import flicker, temporal_flickering

TEMPORAL_FLICKERING = FrameMetric(
    name="temporal flickering",
    unit="0..1",
    better="higher",
    meaning="VBench's temporal flickering: 1 for a still image; motion lowers it as flicker does.",
    measure=lambda clip: temporal_flickering(clip.video),
)
FLICKER = FrameMetric(
    name="flicker",
    unit="grey levels",
    better="lower",
    meaning="Second difference in time, in grey levels: brightness that jumps from frame to frame.",
    measure=lambda clip: flicker(clip.video) if len(clip.frames) > 2 else NOT_DEFINED,
)
