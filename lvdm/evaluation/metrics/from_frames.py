"""All numbers of one clip that need no features: motion, its quality, fidelity to the given images, the loop."""

from __future__ import annotations

from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.evaluation.metrics import registry
from lvdm.evaluation.metrics.metric import MeasuredClip
from lvdm.quality.flow import Flow


def measures_id(flow: Flow) -> str:
    """What a cache tells the numbers of `measure` by, such as v2-flow-v1."""
    return f"{registry.FRAME_METRICS_VERSION}-{flow.id}"


def measure_names(flow: Flow) -> tuple[str, ...]:
    """The titles that `measure` gives, in its order."""
    return tuple(metric.title(flow.id if metric.by_flow else "") for metric in registry.FRAME_METRICS)


def measure(clip: LoadedClip, flow: Flow) -> dict[str, float]:
    """The numbers of one clip by `measure_names`; NaN for what a clip cannot have.

    Dynamic degree is 0 or 1. The first frame is compared with the clip's image, the last one with its last image.
    Raises `ValueError` as `MeasuredClip` does.
    """
    measured = MeasuredClip(clip, flow)
    values = (metric.measure(measured) for metric in registry.FRAME_METRICS)
    return dict(zip(measure_names(flow), values, strict=True))
