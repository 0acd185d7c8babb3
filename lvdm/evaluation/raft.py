"""RAFT (Teed and Deng 2020) as torchvision builds it, with weights that the user has: nothing is downloaded."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from lvdm.checkpoint import checkpoint_hash, read_checkpoint
from lvdm.checkpoint.filling import fill
from lvdm.errors import UserError

UPDATES = 20
"""Refinements of the flow, as many as VBench runs."""
MULTIPLE, SHORTEST = 8, 128
"""Sides of the frames that the network takes: a multiple of the one, at least the other."""

_PUBLISHED = {
    "raft_large": "raft_large_C_T_SKHT_V2-ff5fadd5.pth",
    "raft_small": "raft_small_C_T_V2-01064c6d.pth",
}


class RaftFlow:
    """The flow that a RAFT finds; see `lvdm.quality.flow.Flow`. One pair at a time, in float32.

    Frames are filled up at their right and lower edges by repeating the border; those of fewer than 128 pixels on a
    side are enlarged by a whole number first.
    """

    def __init__(self, weights: str | Path) -> None:
        """Read a file of torchvision's weights, as published or as safetensors; large or small follows from the file.

        Raises `ValueError` for a file that holds neither.
        """
        stored = read_checkpoint(weights)
        name, self.network = _fitting_network({key: stored.shape(key) for key in stored}, Path(weights))
        fill(self.network, ((key, _in_float32(stored[key])) for key in self.network.state_dict()))
        self.network.eval().requires_grad_(False)
        self.id = name.replace("_", "-")
        self.weights_sha256: str | None = checkpoint_hash(weights)

    @torch.inference_mode()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """(n, 3, H, W) and (n, 3, H, W) in [-1, 1] -> (n, 2, H, W) as (x, y) in pixels."""
        device = next(self.network.parameters()).device
        flows = [self._pair(a.to(device), b.to(device)).to(first.device) for a, b in _pairs(first, second)]
        return torch.cat(flows) if flows else first.new_zeros(0, 2, *first.shape[-2:])

    def _pair(self, first: Tensor, second: Tensor) -> Tensor:
        height, width = first.shape[-2:]
        factor = math.ceil(SHORTEST / min(height, width))
        down, right = (-side * factor % MULTIPLE for side in (height, width))
        fitted = []
        for frame in (first.float(), second.float()):
            large = F.interpolate(frame, scale_factor=factor, mode="bilinear") if factor > 1 else frame
            fitted.append(F.pad(large, (0, right, 0, down), mode="replicate"))
        flow = self.network(*fitted, num_flow_updates=UPDATES)[-1][..., : height * factor, : width * factor]
        return F.avg_pool2d(flow, factor) / factor if factor > 1 else flow


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _pairs(first: Tensor, second: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(first.split(1), second.split(1), strict=True)) if len(first) else []


def _fitting_network(shapes: dict[str, tuple[int, ...]], path: Path) -> tuple[str, torch.nn.Module]:
    """The name and the network, without values, whose tensors are those of the file."""
    for name in _PUBLISHED:
        with torch.device("meta"):
            network = getattr(torchvision.models.optical_flow, name)(weights=None)
        if all(shapes.get(key) == tuple(tensor.shape) for key, tensor in network.state_dict().items()):
            return name, network
    raise UserError(
        f"{path} holds no RAFT of torchvision: give one of its files, {' or '.join(_PUBLISHED.values())}, "
        "or leave it out for the classical flow"
    )
