"""Precisions by their names, and whether a request runs on the CPU: what is known without importing torch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lvdm.declaration.values import Attention, Storage
from lvdm.suggestions import suggest
from lvdm.versions import installed_version

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Of one value."""
ON_CPU = "fp32"
"""What `auto` comes to on a CPU."""
AUTO_ATTENTION: Attention = "sdpa"
"""What the attention `auto` comes to, by measurement; see `lvdm.modules.attention_backends`."""
INEXACT_ATTENTION: tuple[Attention, ...] = ("sage",)
"""Attention whose results are not the exact ones up to rounding."""
ACCELERATORS = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg")
"""Device files of CUDA (Jetson and WSL included) and ROCm: without any of them torch finds neither."""


@dataclass(frozen=True)
class PrecisionNames:
    """What networks compute in, by name; see `lvdm.device.Precision`."""

    weights: str
    vae: str

    @property
    def weights_bytes(self) -> int:
        """Bytes of a weight."""
        return BYTES[self.weights]

    @property
    def vae_bytes(self) -> int:
        """Bytes of a weight of the autoencoder."""
        return BYTES[self.vae]


def precision_names(name: str, low_memory: bool, auto: str) -> PrecisionNames:
    """The precision called `name`: fp32, bf16 or fp16; `auto` is what that comes to on the device.

    The VAE runs in float32, or in bf16 under `low_memory` where the networks do too. Raises `ValueError`.
    """
    if name not in ("auto", *BYTES):
        raise ValueError(f"dtype {name!r} is not known; {suggest(name, ('auto', *BYTES))}")
    weights = auto if name == "auto" else name
    return PrecisionNames(weights, "bf16" if low_memory and weights == "bf16" else "fp32")


def numbers_name(dtype: str, attention: Attention, storage: Storage = "full") -> str:
    """What a computation's numbers depend on: the precision, weights that are rounded, attention that is not exact."""
    stored = "" if storage == "full" else f" of {storage}"
    return f"{dtype}{stored} {attention}" if attention in INEXACT_ATTENTION else f"{dtype}{stored}"


def surely_cpu(device: str) -> bool:
    """Whether the device called `device` is the CPU; False where only torch can tell."""
    if device == "cpu":
        return True
    if device != "auto" or not sys.platform.startswith("linux"):
        return False
    torch = installed_version("torch")
    if torch is None or torch.endswith("+cpu"):
        return torch is not None
    return not any(found for pattern in ACCELERATORS for found in Path("/dev").glob(pattern))
