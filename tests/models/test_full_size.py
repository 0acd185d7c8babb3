"""Real-size networks against the original's outputs: minutes and up to 8 GB each, so run with `pytest -m slow`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_vectors import assert_close, case, fill_value, rand
from tiny_models import released_tree
from torch import Tensor, nn

from lvdm.config import parse_component

pytestmark = pytest.mark.slow


def released_network(style: str, part: str, prefix: str) -> nn.Module:
    """A network of the released YAML with the reference weights, which take their memory one parameter at a time."""
    node = released_tree(f"configs/inference_{style}_v1.0.yaml")["params"][part]
    with torch.device("meta"):
        network = parse_component(node, part).build()
    for name, parameter in list(network.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        value = fill_value(prefix + name, tuple(parameter.shape))
        setattr(network.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))
    left = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    assert not left, f"buffers without values: {left}"
    return network.eval()


@pytest.mark.parametrize("style", ["256", "512"])
@torch.no_grad()
def test_full_unet(style: str) -> None:
    reference = case(f"full_unet_{style}")
    meta: dict[str, Any] = reference.meta
    unet = released_network(style, "unet_config", "model.diffusion_model.")
    x, context = rand("full/unet/x", (1, 8, 4, 8, 16)), rand("full/unet/context", (1, 141, 1024))
    output: Tensor = unet(x, torch.tensor([meta["timestep"]]), context, torch.tensor([meta["fs"]]))
    assert_close(reference, "y", output)


@torch.no_grad()
def test_full_resampler() -> None:
    reference = case("full_resampler")
    resampler = released_network("512", "image_proj_stage_config", "image_proj_model.")
    output: Tensor = resampler(rand("full/resampler/x", (1, 257, 1280)))
    assert_close(reference, "y_rows", output[:, reference.meta["rows"]])
    assert_close(reference, "y_mean_std", torch.stack([output.mean(), output.std()]))
