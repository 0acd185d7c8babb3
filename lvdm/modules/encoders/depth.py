"""The depth estimator of Make-Your-Video: DPT-Hybrid (arXiv:2103.13413) under the keys of MiDaS's own file.

A convolutional backbone makes tokens of an image, a vision transformer reads them, and what four layers give is fused
from coarse to fine. Convolutions of the backbone have standardised weights and TensorFlow's padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.modules.encoders.depth_backbone import DPTConfig, HybridTransformer


@dataclass(frozen=True)
class DepthEstimatorConfig:
    """Keys of Make-Your-Video's `depth_stage_config.params`.

    `model_path` named a file that its code loaded by itself. It is read so that its YAML loads, and has no effect:
    weights come from the checkpoint, or from the file that a request names.
    """

    model_type: Literal["dpt_hybrid"] = "dpt_hybrid"
    model_path: str | None = None
    network: DPTConfig = field(default_factory=DPTConfig)


class DepthEstimator(nn.Module):
    """Relative inverse depth of images, up to an unknown scale and offset."""

    Config = DepthEstimatorConfig

    def __init__(self, config: DepthEstimatorConfig) -> None:
        super().__init__()
        self.config = config
        self.model = DPTHybrid(config.network)

    def preprocess(self, frames: Tensor) -> Tensor:
        """Frames (n, 3, H, W) in [-1, 1] at the estimator's size, whatever their shape; values may go beyond."""
        size = self.config.network.image_size
        return F.interpolate(frames.float(), (size, size), mode="bicubic", align_corners=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (n, 3, H, W) in [-1, 1] -> depth (n, S, S), 0 or more, near is large; S is `image_size`."""
        weight = next(self.parameters())
        depth: Tensor = self.model(self.preprocess(frames).to(weight.dtype))
        return depth.float()


class Readout(nn.Module):
    """The class token joined to every other one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (n, 1 + m, dim) -> (n, m, dim)."""
        own = tokens[:, 1:]
        return self.project(torch.cat([own, tokens[:, :1].expand_as(own)], dim=-1))


class AsMap(nn.Module):
    """Tokens of a square as a map."""

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (n, m, dim) -> (n, dim, sqrt m, sqrt m)."""
        side = round(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).unflatten(2, (side, side))


class Pretrained(nn.Module):
    """The transformer, and what makes maps of its tokens."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.model = HybridTransformer(config)
        # The file numbers the layers from 0, 1 and 2 being a transposition and the folding to a map.
        self.act_postprocess3 = nn.Sequential(Readout(dim), AsMap(), nn.Identity(), nn.Conv2d(dim, dim, 1))
        self.act_postprocess4 = nn.Sequential(
            Readout(dim), AsMap(), nn.Identity(), nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 3, stride=2, padding=1)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (n, 3, S, S) -> maps at 1/4, 1/8, 1/16 and 1/32 of the side."""
        maps, tokens = self.model(x)
        return [*maps, self.act_postprocess3(tokens[0]), self.act_postprocess4(tokens[1])]


class ResidualUnit(nn.Module):
    """Two convolutions after activations, on a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FeatureFusion(nn.Module):
    """A finer map added to the coarser ones, at twice the size. The coarsest one has none to be added to."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)

    def forward(self, tap: Tensor, coarser: Tensor | None) -> Tensor:
        """tap and coarser (n, c, h, w) -> (n, c, 2 h, 2 w)."""
        x = tap if coarser is None else coarser + self.resConfUnit1(tap)
        return self.out_conv(_twice(self.resConfUnit2(x)))


class Twice(nn.Module):
    """`_twice` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> (n, c, 2 h, 2 w)."""
        return _twice(x)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class Scratch(nn.Module):
    """FeatureFusion from coarse to fine, and the head."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        features = config.features
        widths = (*config.widths[:2], config.dim, config.dim)
        for number, width in enumerate(widths, 1):
            self.add_module(f"layer{number}_rn", nn.Conv2d(width, features, 3, padding=1, bias=False))
        for number in range(1, 5):
            self.add_module(f"refinenet{number}", FeatureFusion(features))
        self.output_conv = nn.Sequential(
            nn.Conv2d(features, features // 2, 3, padding=1),
            Twice(),
            nn.Conv2d(features // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps at 1/4 ... 1/32 of the side S -> depth (n, S, S)."""
        x: Tensor | None = None
        for number in range(4, 0, -1):
            tap = self.get_submodule(f"layer{number}_rn")(maps[number - 1])
            x = self.get_submodule(f"refinenet{number}")(tap, x)
        return cast(Tensor, self.output_conv(x)).squeeze(1)


class DPTHybrid(nn.Module):
    """The whole network, under the keys of MiDaS's file."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        self.pretrained = Pretrained(config)
        self.scratch = Scratch(config)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, 3, S, S), mean 0.5 and deviation 0.5 taken out -> depth (n, S, S), 0 or more."""
        depth: Tensor = self.scratch(self.pretrained(x))
        return depth
