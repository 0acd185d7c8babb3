"""LPIPS (Zhang et al., arXiv:1801.03924), version 0.1, with a trunk whose weights the user has.

The trunk is a classifier of torchvision. Its weights come with neither that package nor this one, and nothing is
downloaded. The linear heads (a few kilobytes) are those that torchmetrics ships.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torchmetrics
import torchvision
from torch import Tensor, nn

from lvdm.checkpoint.filling import fill
from lvdm.checkpoint.reading import read_checkpoint
from lvdm.errors import UserError
from lvdm.evaluation.metrics.reconstruction import LPIPS
from lvdm.suggestions import suggest

Trunk = Literal["alex", "vgg", "squeeze"]

SHORTEST = 32
"""Pixels that images should have on each side: the trunks shrink smaller ones to nothing."""

_CHUNK = 8
"""Images that go through the trunk at a time: its first layers have many channels at full size."""


@dataclass(frozen=True)
class _Layout:
    """A network of torchvision, the name of its published file, and the layers after which features are taken."""

    network: str
    published_as: str
    taps: tuple[int, ...]


_LAYOUTS: dict[str, _Layout] = {
    "alex": _Layout("alexnet", "alexnet-owt-7be5be79.pth", (1, 4, 7, 9, 11)),
    "vgg": _Layout("vgg16", "vgg16-397923af.pth", (3, 8, 15, 22, 29)),
    "squeeze": _Layout("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth", (1, 4, 7, 9, 10, 11, 12)),
}


class Lpips(nn.Module):
    """The distance of pairs of images, 0 for equal ones; black against white is 0.81401 with the trunk `alex`."""

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: Trunk, features: nn.Sequential, taps: tuple[int, ...], heads: list[Tensor]) -> None:
        super().__init__()
        self.trunk = trunk
        self.name = LPIPS.title(trunk)
        self.features = features
        self.taps = taps
        for place, head in enumerate(heads):
            self.register_buffer(f"head{place}", head)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    @torch.inference_mode()
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(n, 3, H, W) pairs in [-1, 1] -> (n,) on their device; raises `ValueError` for pairs of different shapes."""
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3:
            raise ValueError(f"images should be pairs (n, 3, H, W), they are {tuple(a.shape)} and {tuple(b.shape)}")
        pairs = zip(a.split(_CHUNK), b.split(_CHUNK), strict=True)
        return torch.cat([self._of_chunk(*pair) for pair in pairs])

    def _of_chunk(self, a: Tensor, b: Tensor) -> Tensor:
        total = a.new_zeros(len(a))
        for place, (of_a, of_b) in enumerate(zip(self._taps_of(a), self._taps_of(b), strict=True)):
            head = self.get_buffer(f"head{place}")
            total += ((of_a - of_b).square() * head).sum(dim=1).mean(dim=(1, 2))
        return total

    def _taps_of(self, images: Tensor) -> list[Tensor]:
        """(n, 3, H, W) -> features (n, c, h, w) of every tap, each place of unit length."""
        x = (images - self.shift) / self.scale
        taken = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                taken.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return taken


def load_lpips(trunk: Trunk = "alex", weights: str | Path | None = None, heads: str | Path | None = None) -> Lpips:
    """LPIPS, called `LPIPS[trunk]`, from the file of torchvision's weights that the user has.

    Raises `ValueError` for an unknown trunk, without weights (naming the file to give), and for those of another
    network.
    """
    layout = _layout(trunk)
    if weights is None:
        raise UserError(
            f"LPIPS[{trunk}] needs the weights of torchvision's {layout.network}: give the file {layout.published_as} "
            "(nothing is downloaded)"
        )
    with torch.device("meta"):
        features = getattr(torchvision.models, layout.network)(weights=None).features
    features = features[: layout.taps[-1] + 1]
    fill(features, _trunk_weights(Path(weights), features, layout))
    found = read_checkpoint(heads if heads is not None else _shipped_heads(trunk))
    tensors = [found[f"lin{place}.model.1.weight"].float() for place in range(len(layout.taps))]
    return Lpips(trunk, features, layout.taps, tensors).eval().requires_grad_(False)


def _layout(trunk: str) -> _Layout:
    if trunk not in _LAYOUTS:
        raise UserError(f"unknown trunk {trunk!r} of LPIPS; {suggest(trunk, _LAYOUTS)}")
    return _LAYOUTS[trunk]


def _trunk_weights(path: Path, features: nn.Module, layout: _Layout) -> Mapping[str, Tensor]:
    """The tensors of `features` in a file of the whole classifier."""
    stored = read_checkpoint(path)
    wanted = {key: tuple(tensor.shape) for key, tensor in features.state_dict().items()}
    wrong = [key for key in wanted if f"features.{key}" not in stored or stored.shape(f"features.{key}") != wanted[key]]
    if wrong:
        raise UserError(
            f"{path} holds no {layout.network} of torchvision (features.{wrong[0]} is missing or has another shape): "
            f"give the file {layout.published_as}"
        )
    return {key: stored[f"features.{key}"].float() for key in wanted}


def _shipped_heads(trunk: str) -> Path:
    path = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / f"{trunk}.pth"
    if not path.is_file():
        raise UserError(f"this torchmetrics ships no heads of LPIPS ({path}): give the file of the heads of {trunk}")
    return path
