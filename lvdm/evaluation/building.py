"""The extractors and measures that a protocol names, from the weights that the user has."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from lvdm.checkpoint.hashing import hash_of_tensors
from lvdm.content_hash import hash_text
from lvdm.errors import UserError
from lvdm.evaluation.clip_sets import Measures, Reconstruction
from lvdm.evaluation.features.protocol import FeatureExtractor
from lvdm.evaluation.features.registry import build_extractor
from lvdm.evaluation.metrics.registry import PAIR_METRICS_VERSION, measure, measures_id, reconstruction
from lvdm.evaluation.protocols import Family, Protocol
from lvdm.quality.flow import ClassicalFlow, Flow

if TYPE_CHECKING:  # LPIPS imports torchmetrics, which takes seconds
    from lvdm.evaluation.lpips import Lpips, Trunk

FLOWS = ("raft-large", "raft-small")
LPIPS: Mapping[str, Trunk] = {"lpips-alex": "alex", "lpips-vgg": "vgg", "lpips-squeeze": "squeeze"}
DREAMSIM = "dreamsim"

USES: Mapping[str, tuple[Family, ...]] = {
    **dict.fromkeys(FLOWS, ("motion",)),
    **dict.fromkeys(LPIPS, ("similarity", "reconstruction")),
    DREAMSIM: ("similarity",),
}
"""Weights that are for no extractor of a protocol, but for groups of metrics: for one of those named."""


class ExtractorError(UserError):
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

    `weights` are files by the name of the extractor that they are for, or of what `USES` names; `model` is the
    configuration or checkpoint that the CLIP encoders are taken from. Raises `ValueError` for what cannot be built.
    """
    _check_uses(protocol, weights)
    common: list[FeatureExtractor] = [
        build_extractor(name, weights=weights.get(name), model=model, device=device) for name in protocol.extractors
    ]
    lpips = _load_lpips(weights)
    if "similarity" in protocol.metrics:
        common += _conformities(lpips, weights.get(DREAMSIM), device)
    if "motion" in protocol.metrics:
        flow = _flow(weights)
        measured = functools.partial(measure, flow=flow)
        common.append(Measures(measured, measures_id(flow), weights_sha256=flow.weights_sha256))
    pairs = _pairs(lpips) if "reconstruction" in protocol.metrics else None
    return Extractors(tuple(common), pairs)


def _check_uses(protocol: Protocol, weights: Mapping[str, Path]) -> None:
    for name in sorted(set(weights) - set(protocol.extractors)):
        if name not in USES:
            raise ExtractorError(
                f"{name}: {protocol.name} has no extractor of this name; it has "
                f"{', '.join(protocol.extractors) or 'none'}; other weights are {', '.join(USES)}"
            )
        if not set(USES[name]) & set(protocol.metrics):
            groups = " or ".join(USES[name])
            raise ExtractorError(
                f"{name}: {protocol.name} has no metrics of the group {groups}, for which these weights are; "
                f"its groups are {', '.join(protocol.metrics)} (--set metrics=[...] changes them)"
            )
    flows = [name for name in FLOWS if name in weights]
    if len(flows) > 1:
        raise ExtractorError(f"{' and '.join(flows)}: motion is measured by one flow, give one of them")


def _flow(weights: Mapping[str, Path]) -> Flow:
    """The RAFT whose weights were given, which runs where clips are read; else the classical flow."""
    name = next((name for name in FLOWS if name in weights), None)
    if name is None:
        return ClassicalFlow()
    from lvdm.evaluation.raft import RaftFlow

    flow = RaftFlow(weights[name])
    if flow.id != name:
        raise ExtractorError(f"{weights[name]} holds {flow.id}: give it as --weights {flow.id}={weights[name]}")
    return flow


def _load_lpips(weights: Mapping[str, Path]) -> list[Lpips]:
    """Networks on the CPU, in the order of `LPIPS`."""
    if not any(name in weights for name in LPIPS):
        return []
    from lvdm.evaluation.lpips import load_lpips

    return [load_lpips(trunk, weights[name]) for name, trunk in LPIPS.items() if name in weights]


def _conformities(lpips: Sequence[Lpips], dreamsim: Path | None, device: str) -> list[FeatureExtractor]:
    """Every perceptual distance to the input image; that of CLIP comes with its features."""
    extractors: list[FeatureExtractor] = []
    if lpips:
        from lvdm.evaluation.perceptual import lpips_conformity

        extractors += [lpips_conformity(network, device) for network in lpips]
    if dreamsim is not None:
        from lvdm.evaluation.dreamsim_distance import dreamsim_conformity

        extractors.append(dreamsim_conformity(dreamsim, device))
    return extractors


def _pairs(lpips: Sequence[Lpips]) -> Reconstruction:
    """PSNR, SSIM and LPIPS of the frames that were not given, on the CPU where clips are read."""
    names = "".join(f"-{network.name}" for network in lpips)
    hashes = [hash_of_tensors(sorted(network.state_dict().items())) for network in lpips]
    digest = hash_text("".join(hashes)) if hashes else None
    return Reconstruction(
        functools.partial(_frames_between, distances=tuple(lpips)),
        f"{PAIR_METRICS_VERSION}-inner-frames{names}",
        digest,
    )


def _frames_between(frames: Tensor, real: Tensor, distances: Sequence[Lpips]) -> dict[str, float]:
    """Of the frames that were not given, uint8 (t, H, W, 3)."""
    return reconstruction(frames, real, distances=distances)
