"""What the measures mean: which of them a chart needs, and a sentence for the reader about each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lvdm.evaluation.metrics.fidelity import FIRST_FRAME_PSNR
from lvdm.evaluation.metrics.metric import Metric
from lvdm.evaluation.metrics.motion import MOTION
from lvdm.evaluation.metrics.registry import metric_of
from lvdm.evaluation.metrics.similarity import CLIPSIM, I2V_SIMILARITY, IMAGE_SIMILARITY, PIC
from lvdm.evaluation.results import Results

_FIDELITY = (PIC, IMAGE_SIMILARITY, I2V_SIMILARITY, FIRST_FRAME_PSNR)
"""What shows best how a video keeps to its image, the best first."""


def sentence(name: str) -> str:
    """What a measure is, by its title; "" for one that we do not know."""
    metric = metric_of(name)
    return "" if metric is None else metric.meaning


def fidelity_measure(names: Iterable[str]) -> str | None:
    """The measure that shows best how a video keeps to its image; None if none of them does."""
    return _first(names, _FIDELITY)


def motion_measure(names: Iterable[str]) -> str | None:
    """The measure of how much a video moves."""
    return _first(names, (MOTION,))


def prompt_measure(names: Iterable[str]) -> str | None:
    """The measure of how a video fits its prompt."""
    return _first(names, (CLIPSIM,))


def clip_measures(results: Results) -> list[str]:
    """The names of the measures of single clips."""
    return list(dict.fromkeys(name for video in results.videos for name in video.values))


def _first(names: Iterable[str], metrics: Sequence[Metric]) -> str | None:
    known = [(name, metric_of(name)) for name in names]
    return next(
        (name for candidate in metrics for name, metric in known if metric and metric.name == candidate.name), None
    )
