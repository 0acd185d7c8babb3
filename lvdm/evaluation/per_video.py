"""Numbers of single clips out of their records: similarities of features of frames, and measures by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lvdm.evaluation.clip_sets import MEASURES_PREFIX
from lvdm.evaluation.records import SetRecords, Values
from lvdm.evaluation.similarity import (
    consistency,
    cosine_distances,
    frame_consistency,
    i2v_similarity,
    image_similarities,
    perceptual_input_conformity,
    text_similarity,
)

_HIGHER = {
    *("CLIPSIM", "frame consistency", "consistency", "image similarity", "PIC", "i2v similarity", "PSNR", "SSIM"),
    *("first frame PSNR", "first frame SSIM", "last frame PSNR", "temporal flickering", "motion smoothness"),
}
_LOWER = {"FD", "FVD", "KD", "KVD", "flicker", "warping error", "LPIPS", "DreamSim"}


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


def higher_is_better(name: str) -> bool | None:
    """Whether more of a metric is better; None where that is not so simple, as with motion."""
    stem = name.partition("[")[0]
    return True if stem in _HIGHER else False if stem in _LOWER else None


def clip_numbers(records: Iterable[SetRecords]) -> list[ClipNumbers]:
    """Every metric of single clips that the records of one set allow, in the order of the extractors."""
    numbers = []
    for group in records:
        table = _Table()
        for clip, values in group.values.items():
            for name, value in _numbers(group.extractor.id, values).items():
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


def _numbers(extractor: str, values: Values) -> dict[str, float]:
    if extractor.startswith(MEASURES_PREFIX):
        return {name: float(value) for name, value in values.items()}
    if "distances" in values:
        return {f"PIC[{extractor}]": perceptual_input_conformity(values["distances"])}
    if "frames" not in values:
        return {}
    frames, numbers = values["frames"], {}
    if "text" in values:
        numbers[f"CLIPSIM[{extractor}]"] = text_similarity(frames, values["text"])
    if len(frames) > 1:
        numbers[f"frame consistency[{extractor}]"] = frame_consistency(frames)
        numbers[f"consistency[{extractor}]"] = consistency(frames)
    if "image" in values:
        image = values["image"]
        numbers[f"image similarity[{extractor}]"] = float(image_similarities(frames, image).mean())
        numbers[f"PIC[{extractor} cosine]"] = perceptual_input_conformity(cosine_distances(frames, image))
        if len(frames) > 1:
            numbers[f"i2v similarity[{extractor}]"] = i2v_similarity(frames, image)
    return numbers
