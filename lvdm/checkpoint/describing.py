"""What a checkpoint is and what it can do, from its keys, its schedule, its metadata and, last, its name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lvdm.checkpoint.converting import CARD_KEY
from lvdm.checkpoint.difference import ALPHA, base_scale
from lvdm.checkpoint.families import (
    FIRST_LAYER,
    RELEASED_CHANNELS,
    Family,
    family_of,
    has_camera_adapter,
    videocrafter_model,
)
from lvdm.checkpoint.hashing import checkpoint_hash
from lvdm.checkpoint.parts import (
    DEPTH_ESTIMATOR,
    FRAME_CARRIER,
    IMAGE_ENCODER,
    OTHER,
    PARTS,
    QUERY_TRANSFORMER,
    SCHEDULE,
    part_of,
)
from lvdm.checkpoint.reading import read_checkpoint
from lvdm.checkpoint.sources import CheckpointFile, Format
from lvdm.config import ConfigError, load_model_config, load_yaml, parse_dataclass
from lvdm.documents import DocumentError, parse_json
from lvdm.errors import CheckpointError
from lvdm.model_card import CARDS, RELEASED, ModelCard, present_keys

RESCALED = {0.7: ("512", "512_interp"), 0.3: ("1024",)}
"""The released models by the base of their dynamic rescale."""
V_MODELS = tuple(name for name in RELEASED if name != "256")
"""The published models that predict v; the others predict the noise."""


@dataclass(frozen=True)
class PartInfo:
    """A component in a file: its tensors, its parameters, and how many of them are stored in which dtype."""

    name: str
    tensors: int
    parameters: int
    dtypes: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class CheckpointInfo:
    """What `describe` found out. None and empty tuples mean that the file does not say.

    candidates            released models that the file can be, one where it is certain
    card                  size, `fs`, capabilities: from the file, the configuration, or the only candidate
    card_source           where the card is from, in words
    parameterization      what the network predicts, and zero_terminal_snr, base_scale: from the stored schedule
    missing               components of a whole checkpoint that are not in the file
    notes                 what the user should know
    """

    path: Path
    format: Format
    bytes: int
    sha256: str | None
    family: Family
    candidates: tuple[str, ...]
    card: ModelCard | None
    card_source: str
    parameterization: str | None
    zero_terminal_snr: bool | None
    base_scale: float | None
    parts: tuple[PartInfo, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Parameters of all components."""
        return sum(part.parameters for part in self.parts)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What the model can do; empty where the file does not say."""
        return self.card.capabilities if self.card else ()


def describe(path: str | Path, config: str | Path | None = None, *, with_hash: bool = True) -> CheckpointInfo:
    """Look into a checkpoint without loading it. `config` is the YAML that goes with it; hashing reads the whole file.

    The 512 and the 512 interpolation checkpoint have the same keys, shapes and schedule: only metadata, configuration
    or name distinguish them, and where none does, both stay in `candidates`. Raises `CheckpointError`, and
    `ConfigError` for a configuration that no model can be made of.
    """
    configured = None if config is None else load_model_config(config).params
    checkpoint = read_checkpoint(path)
    family = family_of(checkpoint)
    candidates = _candidates(checkpoint, family)
    notes = [f"{old} is an old name of {new}" for old, new in checkpoint.renamed.items()][:1]
    card, card_source = _card(checkpoint, config, candidates, notes)
    if card is not None and card.name in candidates:
        candidates = (card.name,)
    parts = _parts(checkpoint)
    present = {part.name for part in parts}
    without_images = (IMAGE_ENCODER, QUERY_TRANSFORMER) if family in ("videocrafter t2v", "makeyourvideo") else ()
    without_depth = () if family == "makeyourvideo" else (DEPTH_ESTIMATOR,)
    unneeded = (OTHER, FRAME_CARRIER, *without_images, *without_depth)
    missing = tuple(part.name for part in PARTS if part not in unneeded and part.name not in present)
    if SCHEDULE.name in missing:
        notes.append("the noise schedule is not in the file; it is computed from the configuration")
    parameterization = _parameterization(checkpoint, config, configured, candidates, notes)
    if has_camera_adapter(checkpoint):
        notes.append(
            "it holds a camera adapter (CamI2V, CameraCtrl or MotionCtrl), which is not implemented: use the "
            "checkpoint that the adapter was trained on"
        )
    if DEPTH_ESTIMATOR.name in missing:
        notes.append("it does not estimate depth: give depth, or the estimator's own weights with --depth-model")
    return CheckpointInfo(
        path=checkpoint.path,
        format=checkpoint.format,
        bytes=_bytes(checkpoint.path),
        sha256=checkpoint_hash(checkpoint.path) if with_hash else None,
        family=family,
        candidates=candidates,
        card=card,
        card_source=card_source,
        parameterization=parameterization,
        zero_terminal_snr=_zero_terminal_snr(checkpoint),
        base_scale=base_scale(checkpoint),
        parts=parts,
        missing=missing,
        notes=tuple(notes),
    )


def _candidates(checkpoint: CheckpointFile, family: Family) -> tuple[str, ...]:
    if family.startswith("videocrafter"):
        name = videocrafter_model(checkpoint)
        return () if name is None else (name,)
    if family == "makeyourvideo" and checkpoint.shape(FIRST_LAYER)[0] == RELEASED_CHANNELS:
        return ("myv",)
    if family == "tooncrafter" and checkpoint.shape(FIRST_LAYER)[0] == RELEASED_CHANNELS:
        return ("toon",)
    if family != "dynamicrafter":
        return ()
    if any(key.endswith(ALPHA) for key in checkpoint):
        return ("256",)
    scale = base_scale(checkpoint)
    return V_MODELS if scale is None else RESCALED.get(scale, ())


def _card(
    checkpoint: CheckpointFile, config: str | Path | None, candidates: tuple[str, ...], notes: list[str]
) -> tuple[ModelCard | None, str]:
    """The card, and where it is from: a configuration that holds one, as generation reads it; the file's metadata, the
    configuration, the only candidate, then the name.
    """
    if CARD_KEY in checkpoint.metadata and (config is None or "sampling" not in load_yaml(config)):
        return _stored_card(checkpoint), "stored in the file"
    if config is not None:
        card = ModelCard.from_yaml(config)
        if candidates and card.name in CARDS and card.name not in candidates:
            notes.append(
                f"{config} is for {card.name}, the file is {' or '.join(candidates)}; use its own configuration"
            )
        return card, f"from {config}"
    if len(candidates) == 1:
        return CARDS[candidates[0]], "its keys and schedule are those of one released model"
    name = _by_name(checkpoint.path, candidates)
    if name is not None:
        return RELEASED[name], "by the name of the file or its folder, since its contents fit several models"
    if candidates:
        notes.append(
            f"it can be {' or '.join(candidates)}, whose contents are alike; name its configuration, "
            "or call its folder dynamicrafter_<model>_v1"
        )
    else:
        notes.append("size, fs and capabilities are not in it, and it is no released model: name its configuration")
    return None, ""


def _stored_card(checkpoint: CheckpointFile) -> ModelCard:
    try:
        values = parse_json(checkpoint.metadata[CARD_KEY], CARD_KEY)
        card: ModelCard = parse_dataclass(ModelCard, present_keys(values), f"{checkpoint.path}: {CARD_KEY}")
    except (DocumentError, AttributeError, ConfigError) as error:
        raise CheckpointError(
            f"{checkpoint.path} holds a model card that cannot be read; convert it again ({error})"
        ) from error
    return card


def _by_name(path: Path, candidates: tuple[str, ...]) -> str | None:
    """The candidate that the file or its folder is named after."""
    text = f"{path.resolve().parent.name} {path.name}"
    if "interp" in text:
        return "512_interp" if "512_interp" in candidates else None
    return next((name for name in candidates if f"_{name}" in text or text.startswith(name)), None)


def _parts(checkpoint: CheckpointFile) -> tuple[PartInfo, ...]:
    infos = []
    for part in PARTS:
        keys = [key for key in checkpoint if part_of(key) == part]
        if keys:
            counts: Counter[str] = Counter()
            for key in keys:
                counts[str(checkpoint.dtype(key)).removeprefix("torch.")] += torch.Size(checkpoint.shape(key)).numel()
            parameters = 0 if part == SCHEDULE else sum(counts.values())
            infos.append(PartInfo(part.name, len(keys), parameters, tuple(counts.most_common())))
    return tuple(infos)


def _parameterization(
    checkpoint: CheckpointFile,
    config: str | Path | None,
    configured: Any,
    candidates: tuple[str, ...],
    notes: list[str],
) -> str | None:
    """From the configuration; else from the stored schedule, where v models have zeros; else from the candidates."""
    found = {"v" if name in (*V_MODELS, "toon") else "eps" for name in candidates}
    held = found.pop() if len(found) == 1 else None
    if "sqrt_recip_alphas_cumprod" in checkpoint:
        held = "eps" if bool(checkpoint["sqrt_recip_alphas_cumprod"].any()) else "v"
    named: str | None = getattr(configured, "parameterization", None)
    if named is not None and held is not None and (named == "v") != (held == "v"):
        notes.append(f"{config} says that it predicts {named}, and the noise schedule in the file is one for {held}")
    return named or held


def _zero_terminal_snr(checkpoint: CheckpointFile) -> bool | None:
    if "alphas_cumprod" not in checkpoint:
        return None
    return float(checkpoint["alphas_cumprod"][-1]) < 1e-6


def _bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files)
