"""Numbers of single clips out of their records: similarities of features of frames, and measures by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lvdm.evaluation.clip_sets import Measures, Reconstruction
from lvdm.evaluation.features.protocol import FeatureExtractor
from lvdm.evaluation.metrics import registry
from lvdm.evaluation.metrics.metric import Values
from lvdm.evaluation.metrics.similarity import image_similarities
from lvdm.evaluation.records import SetRecords


@dataclass(frozen=True)
class ClipNumbers:
    """One metric over the clips of a set: `values` by id, without the clips where it is not defined.

    `unique` counts the different clips among them, or among more of the set.
    """

    name: str
    values: Mapping[str, float]
    unique: int


@dataclass
class _Table:
    """Numbers by metric, in the order in which they come."""

    columns: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, clip: str, value: float) -> None:
        self.columns.setdefault(name, {})[clip] = value


def clip_numbers(records: Iterable[SetRecords]) -> list[ClipNumbers]:
    """Every metric of single clips that the records of one set allow, in the order of the extractors."""
    numbers = []
    for group in records:
        table = _Table()
        for clip, values in group.values.items():
            for name, value in _numbers(group.extractor, values).items():
                table.add(name, clip, value)
        numbers += [ClipNumbers(name, column, group.unique) for name, column in table.columns.items()]
    return numbers


def similarities_to_image(group: SetRecords) -> dict[str, np.ndarray]:
    """For each clip that has an image, (t,) cosines of its frames with it; empty for extractors of whole clips."""
    return {
        clip: image_similarities(values["frames"], values["image"])
        for clip, values in group.values.items()
        if "frames" in values and "image" in values
    }


def _numbers(extractor: FeatureExtractor, values: Values) -> dict[str, float]:
    if isinstance(extractor, Measures | Reconstruction):  # their records are numbers by title, not features
        return {name: float(value) for name, value in values.items()}
    able = [metric for metric in registry.FEATURE_METRICS if metric.can_take(values)]
    return {metric.title_of(extractor.id): metric.measure(values) for metric in able}
