"""Feature extractors by name: ours, and those of other packages.

A package adds one by an entry point of the group `dynamicrafter.features`, whose object is a function of the keywords
`weights`, `model` and `device` that returns a `FeatureExtractor`. It is imported when it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal

from lvdm.errors import UserError
from lvdm.evaluation.features.protocol import FeatureExtractor
from lvdm.evaluation.features.stpyr import SpaceTimePyramid
from lvdm.suggestions import suggest

logger = logging.getLogger(__name__)

GROUP = "dynamicrafter.features"

ENCODERS_FILE = "clip.safetensors"
"""Beside the embedded model: its CLIP encoders as trained together, before the text encoder followed the videos."""

I3D_LOGITS: Mapping[str, Literal["direct", "center-crop"]] = {
    "i3d-logits": "direct",
    "i3d-logits[center-crop]": "center-crop",
}
"""The extractors whose distances are FVD and KVD, and how each brings frames to the size of I3D."""

EXTRACTORS: Mapping[str, str] = {
    "stpyr-v1": "energies of gradients and changes over three scales; needs no weights",
    "i3d-logits": "the logits of I3D, by which FVD is defined; needs its weights",
    "i3d-logits[center-crop]": "the same of a square cut from the middle, as VideoGPT does",
    "clip": "CLIP features of frames and prompts from the encoders in a DynamiCrafter model; needs the model",
    "tiny-clip": "the same from the encoders of the embedded model, as trained together where these are there",
}
"""Ours, with what they are."""


class UnknownExtractorError(UserError):
    """A name that no extractor has, or options that one cannot take; the message says what there is."""


def extractor_names() -> list[str]:
    """All names that `build_extractor` knows, those of other packages last."""
    return [*EXTRACTORS, *sorted(_added())]


def build_extractor(
    name: str, weights: str | Path | None = None, model: str | Path | None = None, device: str = "auto"
) -> FeatureExtractor:
    """The extractor called `name`.

    weights  its weight file: the converted I3D; for clip, the checkpoint to take instead of the one beside `model`
    model    for clip: a preset, a folder, a YAML or a checkpoint
    device   as `lvdm.device.choose_device` takes it; those without a network do not need it
    Raises `ValueError` with a hint for an unknown name, and for weights that are missing or do not fit.
    """
    if name in ("stpyr-v1", "tiny-clip") and weights is not None:
        raise UnknownExtractorError(f"{name} takes no weights, it was given {weights}")
    if name == "stpyr-v1":
        return SpaceTimePyramid()
    if name in I3D_LOGITS:
        from lvdm.evaluation.features.i3d_extractor import I3DLogits

        return I3DLogits(weights, device, I3D_LOGITS[name])
    if name in ("clip", "tiny-clip"):
        return _clip(name, weights, model, device)
    added = _added()
    if name in added:
        made: FeatureExtractor = added[name].load()(weights=weights, model=model, device=device)
        return made
    raise UnknownExtractorError(f"there is no feature extractor {name!r}; {suggest(name, extractor_names())}")


def _clip(name: str, weights: str | Path | None, model: str | Path | None, device: str) -> FeatureExtractor:
    from lvdm.evaluation.features.clip_encoders import OpenClipFeatures  # imports open_clip, which takes seconds
    from lvdm.model_files import EMBEDDED, find_preset

    if name == "tiny-clip":
        encoders = find_preset(EMBEDDED).config.parent / ENCODERS_FILE
        if not encoders.is_file():
            logger.warning(
                "tiny-clip: %s is not there, so that the model's encoders are taken; the text encoder was trained on "
                "with the videos and agrees no more with the image encoder: CLIPSIM says nothing",
                encoders,
            )
            return OpenClipFeatures(EMBEDDED, device=device)
        return OpenClipFeatures(EMBEDDED, encoders, device)
    source = model if model is not None else weights
    if source is None:
        raise UnknownExtractorError(
            "clip takes its encoders from a DynamiCrafter model: name one (a preset such as 512, a folder, a YAML or a "
            "checkpoint), or use tiny-clip, which is that of the embedded model"
        )
    return OpenClipFeatures(source, weights if model is not None else None, device)


def _added() -> dict[str, EntryPoint]:
    """The extractors of other packages, not imported; they cannot replace ours."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in EXTRACTORS}
