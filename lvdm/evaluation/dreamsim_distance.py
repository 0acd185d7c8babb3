"""DreamSim (Fu et al., arXiv:2306.09344): the package `dreamsim` with weights that the user has; nothing is downloaded.

The package fetches what it does not find in its folder, from three places: its own weights, DINO's code, and DINO's
weights. So all of them are looked for before it is called. A folder that it filled once, on a machine with a network,
has everything.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.content_hash import content_hash, hash_text
from lvdm.device import choose_device
from lvdm.errors import UserError
from lvdm.evaluation.perceptual import InputConformity
from lvdm.versions import installed_version

NAME = "DreamSim"
VERSIONS = "0.2."
"""Versions of the package whose files are those below."""
SIDE = 224

FILES = (
    "dino_vitb16_pretrain.pth",
    "clip_vitb16_pretrain.pth.tar",
    "open_clip_vitb16_pretrain.pth.tar",
    "ensemble_lora/adapter_config.json",
    "checkpoints/dino_vitbase16_pretrain.pth",
    "facebookresearch_dino_main/hubconf.py",
)
"""What the ensemble reads, below the package's folder, besides one of `ADAPTERS`."""
ADAPTERS = ("ensemble_lora/adapter_model.safetensors", "ensemble_lora/adapter_model.bin")

_HOW = "give the folder that dreamsim.dreamsim(cache_dir=FOLDER) filled on a machine with a network"


class DreamSimError(UserError):
    """The package or a file of its weights is missing; the message says what to do."""


class DreamSimDistance:
    """Distances of pairs of images by the ensemble, 0 for equal ones."""

    name = NAME

    def __init__(self, network: Any) -> None:
        """network: what `dreamsim.dreamsim` returns first."""
        self.network = network

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """(n, 3, H, W) pairs in [-1, 1] -> (n,); they are scaled directly to 224x224, as the package does."""
        first, second = self._embedded(a), self._embedded(b)
        return 1 - F.cosine_similarity(first, second, dim=-1)

    def _embedded(self, images: Tensor) -> Tensor:
        """One at a time: the package drops axes of length 1, and so a batch of one.

        Scaled as whole grey levels on the CPU, which is within one level of what the package's images become there.
        """
        levels = ((images + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)
        scaled = F.interpolate(levels, (SIDE, SIDE), mode="bicubic", antialias=True).to(images.device) / 255
        return torch.stack([self.network.embed(image[None]).flatten() for image in scaled])


def dreamsim_conformity(folder: Path, device: str = "auto") -> InputConformity:
    """PIC[DreamSim] with the weights in `folder`. Raises `DreamSimError` before anything would be downloaded."""
    version = installed_version("dreamsim")
    if version is None or not version.startswith(VERSIONS):
        found = "is not installed" if version is None else f"is installed as {version}"
        raise DreamSimError(f"PIC[{NAME}] needs the package dreamsim {VERSIONS}x, which {found}: pip install dreamsim")
    files = required_files(folder)
    place = choose_device(device)
    with contextlib.redirect_stdout(sys.stderr):  # the package prints where it reads from
        network, _ = importlib.import_module("dreamsim").dreamsim(
            pretrained=True, device=str(place), cache_dir=str(folder)
        )
    hashes = "".join(f"{path.relative_to(folder)} {content_hash(path)}\n" for path in files)
    digest = hash_text(f"{version}\n{hashes}")
    return InputConformity(NAME, DreamSimDistance(network), digest, place)


def required_files(folder: Path) -> list[Path]:
    """The files of the ensemble below `folder`. Raises `DreamSimError` that names those that are missing."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    adapter = next((name for name in ADAPTERS if (folder / name).is_file()), None)
    if adapter is None:
        missing.append(ADAPTERS[0])
    if missing or adapter is None:
        raise DreamSimError(f"{folder}: lacks {', '.join(missing)}, and nothing is downloaded here; {_HOW}")
    return [folder / name for name in (*FILES, adapter)]
