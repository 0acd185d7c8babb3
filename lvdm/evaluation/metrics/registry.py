"""All metrics, in the order in which tables have them. A new one is a line here and a file beside this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.evaluation.metrics.distances import FD, FVD, KD, KD_DEVIATION, KVD, KVD_DEVIATION, SetMetric
from lvdm.evaluation.metrics.fidelity import FIRST_FRAME_PSNR, FIRST_FRAME_SSIM, LAST_FRAME_PSNR
from lvdm.evaluation.metrics.loops import FLOW_CONTINUITY, SEAM_RATIO
from lvdm.evaluation.metrics.metric import FeatureMetric, FrameMetric, MeasuredClip, Metric, PairMetric
from lvdm.evaluation.metrics.motion import (
    DYNAMIC_DEGREE,
    FLICKER,
    MOTION,
    SMOOTHNESS,
    TEMPORAL_FLICKERING,
    WARPING_ERROR,
)
from lvdm.evaluation.metrics.reconstruction import (
    INPUT_FRAMES,
    LPIPS,
    PSNR,
    SSIM,
    PairedDistance,
    check_pairs,
    interior,
    signed,
)
from lvdm.evaluation.metrics.similarity import (
    CLIPSIM,
    CONSISTENCY,
    FRAME_CONSISTENCY,
    I2V_SIMILARITY,
    IMAGE_SIMILARITY,
    PIC,
    PIC_BY_COSINE,
)
from lvdm.quality.flow import Flow

FRAME_METRICS_VERSION = "v2"
"""Changes whenever a number of the metrics below changes, and when one is added: older records lack it."""

FRAME_METRICS: tuple[FrameMetric, ...] = (
    MOTION,
    DYNAMIC_DEGREE,
    TEMPORAL_FLICKERING,
    FLICKER,
    SMOOTHNESS,
    WARPING_ERROR,
    FIRST_FRAME_PSNR,
    FIRST_FRAME_SSIM,
    LAST_FRAME_PSNR,
    SEAM_RATIO,
    FLOW_CONTINUITY,
)

FEATURE_METRICS: tuple[FeatureMetric, ...] = (
    PIC,
    CLIPSIM,
    FRAME_CONSISTENCY,
    CONSISTENCY,
    IMAGE_SIMILARITY,
    PIC_BY_COSINE,
    I2V_SIMILARITY,
)
PAIR_METRICS_VERSION = "v2"
"""As `FRAME_METRICS_VERSION`."""

PAIR_METRICS: tuple[PairMetric, ...] = (PSNR, SSIM)
SET_METRICS: tuple[SetMetric, ...] = (FVD, FD, KVD, KD)

OTHERS: tuple[Metric, ...] = (LPIPS, KVD_DEVIATION, KD_DEVIATION)
"""Those that are measured by what a user gives, or beside another one."""


def known_metrics() -> Mapping[str, Metric]:
    """All of them by name."""
    return {metric.name: metric for metric in (*SET_METRICS, *FEATURE_METRICS, *FRAME_METRICS, *PAIR_METRICS, *OTHERS)}


def metric_of(title: str) -> Metric | None:
    """The metric that a title in a file belongs to; None for one of another program or version."""
    return known_metrics().get(title.partition("[")[0])


def higher_is_better(title: str) -> bool | None:
    """Whether more of a metric is better; None where neither direction is, and for one that is not known."""
    metric = metric_of(title)
    return None if metric is None else metric.higher_is_better


def measures_id(flow: Flow) -> str:
    """What a cache names the numbers of `measure` by, such as v2-flow-v1."""
    return f"{FRAME_METRICS_VERSION}-{flow.id}"


def measure_names(flow: Flow) -> tuple[str, ...]:
    """The titles that `measure` gives, in its order."""
    return tuple(metric.title(flow.id if metric.by_flow else "") for metric in FRAME_METRICS)


def measure(clip: LoadedClip, flow: Flow) -> dict[str, float]:
    """The numbers of one clip by `measure_names`; NaN for what a clip cannot have.

    Dynamic degree is 0 or 1. The first frame is compared with the clip's image, the last one with its last image.
    Raises `ValueError` as `MeasuredClip` does.
    """
    measured = MeasuredClip(clip, flow)
    values = (metric.measure(measured) for metric in FRAME_METRICS)
    return dict(zip(measure_names(flow), values, strict=True))


def reconstruction(
    frames: Tensor, real: Tensor, input_frames: Sequence[int] = INPUT_FRAMES, distances: Sequence[PairedDistance] = ()
) -> dict[str, float]:
    """Means over the frames that were not given, of `PAIR_METRICS`, and of the distances under their own names.

    frames, real: uint8 (t, H, W, 3). A frame that is equal counts as 100 decibels.
    Raises `ValueError` for other frames, different shapes, and where all frames were given.
    """
    inner, inner_real = interior(frames, input_frames), interior(real, input_frames)
    check_pairs(inner, inner_real)
    values = {metric.title(): metric.measure(inner, inner_real) for metric in PAIR_METRICS}
    for distance in distances:
        values[distance.name] = distance(signed(inner), signed(inner_real)).double()
    return {name: float(value.mean()) for name, value in values.items()}
