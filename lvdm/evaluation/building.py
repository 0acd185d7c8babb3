"""The extractors and measures that a protocol names, from the weights that the user has."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lvdm.evaluation.clip_sets import Measures, Reconstruction
from lvdm.evaluation.features.protocol import FeatureExtractor
from lvdm.evaluation.features.registry import build_extractor
from lvdm.evaluation.flow import ClassicalFlow
from lvdm.evaluation.measures import measure, measures_id
from lvdm.evaluation.protocols import Protocol
from lvdm.evaluation.reconstruction import reconstruction


class ExtractorError(ValueError):
    """Weights for what the protocol does not use; the message says what it uses."""


@dataclass(frozen=True)
class Extractors:
    """What is extracted of every clip, and of every generated clip together with its real one."""

    common: tuple[FeatureExtractor, ...]
    pairs: Reconstruction | None


def build_extractors(
    protocol: Protocol, weights: Mapping[str, Path], model: Path | None = None, device: str = "auto"
) -> Extractors:
    """Everything that the protocol's metrics need.

    `weights` are files by the name of the extractor that they are for; `model` is the configuration or checkpoint that
    CLIP towers are taken from. Raises `ValueError` for what cannot be built.
    """
    unused = sorted(set(weights) - set(protocol.extractors))
    if unused:
        known = ", ".join(protocol.extractors)
        raise ExtractorError(f"{', '.join(unused)}: {protocol.name} has no extractor of this name; it has {known}")
    common: list[FeatureExtractor] = [
        build_extractor(name, weights=weights.get(name), model=model, device=device) for name in protocol.extractors
    ]
    if "motion" in protocol.metrics:
        flow = ClassicalFlow()
        own = functools.partial(measure, flow=flow)
        common.append(Measures(own, measures_id(flow), weights_sha256=flow.weights_sha256))
    pairs = Reconstruction(_frames_between, "inner-frames") if "reconstruction" in protocol.metrics else None
    return Extractors(tuple(common), pairs)


def _frames_between(made: Tensor, real: Tensor) -> dict[str, float]:
    """Of the frames that were not given, uint8 (t, H, W, 3)."""
    return reconstruction(made, real)
