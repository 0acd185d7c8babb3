"""From the known files of I3D's weights to one safetensors file with our keys, and from that into the network.

Known are `i3d_pretrained_400.pt` of VideoGPT and TATS and others with the keys of piergiaj/pytorch-i3d, and
`i3d_torchscript.pt` of StyleGAN-V, a TorchScript archive with the keys of hassony2/kinetics_i3d_pytorch. Archives are
read as data: `torch.jit.load` would compile the program in them, and nothing here needs it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lvdm.checkpoint import CheckpointError, checkpoint_hash, read_checkpoint
from lvdm.checkpoint.filling import fill
from lvdm.checkpoint.hashing import hash_of_tensors
from lvdm.checkpoint.torchscript import is_torchscript, read_torchscript
from lvdm.checkpoint.writing import write_safetensors
from lvdm.evaluation.features.i3d import I3D

EPS_KEY, TENSORS_KEY = "i3d.eps", "i3d.tensors_sha256"
SOURCE_KEY, SOURCE_HASH_KEY = "i3d.source", "i3d.source_sha256"
"""Metadata of the converted file."""

COUNTER = "num_batches_tracked"
"""Of batch normalisations; without effect outside of training, and left out of some files."""

_RENAMED = (
    (re.compile(r"^module\."), ""),
    (re.compile(r"^conv3d_0c_1x1\."), "logits."),
    (re.compile(r"^(conv3d|mixed)_(?=\d)"), lambda match: f"{match[1].capitalize()}_"),
    (re.compile(r"\.batch3d\."), ".bn."),
    (re.compile(r"\.branch_0\."), ".b0."),
    (re.compile(r"\.branch_([123])\.([01])\."), lambda match: f".b{match[1]}{'ab'[int(match[2])]}."),
)
"""From the keys of hassony2/kinetics_i3d_pytorch, and from those of data-parallel training, to ours."""

_EPS = (
    re.compile(r"\beps : Final\[float\] = ([\d.]+(?:e-?\d+)?)"),
    re.compile(r"torch\.batch_norm\([^()]*, ([\d.]+(?:e-?\d+)?), (?:True|False)\)"),
)
"""Where the program of an archive has the number: as a constant of the module (scripted) or in the call (traced)."""


@dataclass(frozen=True)
class I3DConversion:
    """What was written: the file, its eps, the hash of its tensors and eps, and that of the file they came from."""

    path: Path
    eps: float
    tensors_sha256: str
    source_sha256: str


def convert_i3d(
    source: str | Path, destination: str | Path, eps: float | None = None, overwrite: bool = False
) -> I3DConversion:
    """Write the weights in `source` to `destination`, a .safetensors file that `load_i3d` reads.

    eps: of the batch normalisations. A TorchScript archive holds it; for a state dict it has to be given, because the
    same tensors with another eps are another network.
    Raises `CheckpointError` for files that are not I3D with 400 classes, and `OutputError` when nothing can be written.
    """
    source, destination = Path(source), Path(destination)
    if destination.suffix != ".safetensors":
        raise CheckpointError(f"{destination} should end in .safetensors")
    if destination.exists() and not overwrite:
        raise CheckpointError(f"{destination} exists; choose another name, or allow it by --overwrite")
    stored: Mapping[str, Tensor]
    if is_torchscript(source):
        archive = read_torchscript(source)
        stored, eps = archive.tensors, _eps_of(source, archive.code, eps)
    else:
        stored = read_checkpoint(source)
    if eps is None:
        raise CheckpointError(
            f"{source} does not hold the eps of its batch normalisations; give it: VideoGPT and TATS use "
            "i3d_pretrained_400.pt with 1e-5, the I3D of Kinetics (Sonnet) has 1e-3"
        )
    if not 0 < eps < 1:
        raise CheckpointError(f"eps should be a small number such as 1e-5 or 1e-3, it is {eps}")
    tensors = _native(source, stored)
    conversion = I3DConversion(destination, eps, identity(tensors, eps), checkpoint_hash(source))
    metadata = {
        "format": "pt",
        EPS_KEY: repr(eps),
        TENSORS_KEY: conversion.tensors_sha256,
        SOURCE_KEY: source.name,
        SOURCE_HASH_KEY: conversion.source_sha256,
    }
    write_safetensors(destination, tensors, metadata)
    return conversion


def load_i3d(path: str | Path) -> tuple[I3D, str]:
    """The network with the weights of a file of `convert_i3d`, on the CPU, and the hash of its tensors and eps.

    Raises `CheckpointError` for another or a damaged file.
    """
    path = Path(path)
    if is_torchscript(path):
        raise _unconverted(path)
    checkpoint = read_checkpoint(path)
    if checkpoint.format != "safetensors" or EPS_KEY not in checkpoint.metadata:
        raise _unconverted(path)
    try:
        eps = float(checkpoint.metadata[EPS_KEY])
    except ValueError:
        eps = math.nan
    if not 0 < eps < 1:
        raise CheckpointError(f"{path}: {EPS_KEY} is {checkpoint.metadata[EPS_KEY]!r}, not an eps; convert it again")
    tensors = _native(path, checkpoint)
    digest = identity(tensors, eps)
    if digest != checkpoint.metadata.get(TENSORS_KEY):
        raise CheckpointError(f"{path} is damaged: its tensors are not those that were converted; convert it again")
    network = I3D(eps)
    fill(network, tensors)
    return network, digest


def identity(tensors: Mapping[str, Tensor], eps: float) -> str:
    """The hash that names these weights, whatever file they came from; counters are left out."""
    kept = (key for key in sorted(tensors) if not key.endswith(COUNTER))
    return hash_of_tensors(((key, tensors[key]) for key in kept), f"eps={eps!r}")


def _native(path: Path, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of the network, by its keys and in float32, from those of a file in whatever keys are known."""
    names = {_renamed(key): key for key in stored}
    with torch.device("meta"):
        wanted = I3D(eps=1e-3).state_dict()
    missing = [key for key in wanted if key not in names and not key.endswith(COUNTER)]
    unknown = [names[key] for key in names if key not in wanted]
    if missing or unknown:
        problem = f"lacks {_examples(missing)}" if missing else f"holds {_examples(unknown)} besides"
        raise CheckpointError(
            f"{path} is not I3D with 400 classes: it {problem}; use i3d_pretrained_400.pt (VideoGPT, TATS) or "
            "i3d_torchscript.pt (StyleGAN-V)"
        )
    tensors = {}
    for key, target in wanted.items():
        value = stored[names[key]] if key in names else torch.zeros((), dtype=torch.int64)
        if value.shape != target.shape:
            raise CheckpointError(
                f"{path} is not I3D with 400 classes: {names[key]} is {tuple(value.shape)}, not {tuple(target.shape)}"
            )
        tensors[key] = value.to(target.dtype, copy=True).contiguous()
    return tensors


def _renamed(key: str) -> str:
    for pattern, replacement in _RENAMED:
        key = pattern.sub(replacement, key)
    return key


def _eps_of(path: Path, code: Mapping[str, str], expected: float | None) -> float | None:
    """The eps in the program of an archive; `expected` where it has none. Raises for several, and for others."""
    found = {float(number) for text in code.values() for pattern in _EPS for number in pattern.findall(text)}
    if len(found) > 1:
        raise CheckpointError(f"{path} normalises with several eps, {sorted(found)}; that is not I3D")
    stored = found.pop() if found else None
    if stored is not None and expected is not None and stored != expected:
        raise CheckpointError(f"{path} normalises with eps {stored}, not with {expected}; leave the eps out")
    return expected if stored is None else stored


def _examples(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _unconverted(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a converted file; convert it with `dynamicrafter evaluate convert-i3d {path} i3d.safetensors`"
    )
