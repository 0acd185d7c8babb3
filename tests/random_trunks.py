"""Classifiers of torchvision without training, as trunks of LPIPS."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

NETWORKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


def convolutions(network: str, pretrained: bool = False) -> nn.Module:
    """The part of a classifier that is used, without values: the rest takes seconds to fill with random ones."""
    with torch.device("meta"):
        return getattr(torchvision.models, network)(weights=None).features


def trunk_weights(trunk: str) -> dict[str, Tensor]:
    """Random weights of the convolutions of a classifier, under the names of its published file."""
    features = convolutions(NETWORKS[trunk])
    generator = torch.Generator().manual_seed(0)
    return {
        f"features.{key}": torch.randn(tensor.shape, generator=generator) * tensor[0].numel() ** -0.5
        for key, tensor in features.state_dict().items()
    }
