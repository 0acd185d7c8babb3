"""Weights of I3D from nothing, and the files that others would have made of them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lvdm.evaluation.features.i3d import I3D


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    """A state dict of I3D whose values keep activations of about the same size in all layers."""
    generator = torch.Generator().manual_seed(seed)
    tensors = I3D(eps=1e-3).state_dict()
    for key, value in tensors.items():
        if key.endswith("conv3d.weight"):
            fan_in = value[0].numel()
            tensors[key] = torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5
        elif key.endswith("running_var"):
            tensors[key] = 0.5 + torch.rand(value.shape, generator=generator)
        elif key.endswith("bn.weight"):
            tensors[key] = 0.8 + 0.4 * torch.rand(value.shape, generator=generator)
        elif not key.endswith("num_batches_tracked"):
            tensors[key] = 0.1 * torch.randn(value.shape, generator=generator)
    return tensors


def foreign_key(key: str) -> str:
    """The key of hassony2/kinetics_i3d_pytorch for one of ours."""
    key = re.sub(r"^(Conv3d|Mixed)_", lambda found: found[0].lower(), key.replace(".bn.", ".batch3d."))
    key = re.sub(r"\.b([123])([ab])\.", lambda found: f".branch_{found[1]}.{'ab'.index(found[2])}.", key)
    return key.replace(".b0.", ".branch_0.").replace("logits.", "conv3d_0c_1x1.")


class _Shell(nn.Module):
    """A module that holds other modules and does nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class _Unit(nn.Module):
    """A convolution and its normalisation, which is called, so that a script keeps it."""

    def __init__(self, weight: Tensor, bias: bool, eps: float) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=bias)
        if not bias:
            self.batch3d = nn.BatchNorm3d(weight.shape[0], eps=eps)


class _NormalisedUnit(_Unit):
    def forward(self, x: Tensor) -> Tensor:
        return self.batch3d(self.conv3d(x))


class _PlainUnit(_Unit):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


def write_torchscript(path: Path, tensors: dict[str, Tensor], eps: float) -> Path:
    """An archive with the keys of StyleGAN-V's, whose program does not matter."""
    root = _Shell()
    for key in (key for key in tensors if key.endswith("conv3d.weight")):
        *owners, name = foreign_key(key).removesuffix(".conv3d.weight").split(".")
        owner: nn.Module = root
        for part in owners:
            if not hasattr(owner, part):
                owner.add_module(part, _Shell())
            owner = getattr(owner, part)
        bias = key.replace("weight", "bias") in tensors
        owner.add_module(name, (_PlainUnit if bias else _NormalisedUnit)(tensors[key], bias, eps))
    root.load_state_dict({foreign_key(key): value for key, value in tensors.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and the archives that exist were made by it
        torch.jit.script(root.eval()).save(str(path))
    return path
