"""Branches of guidance over the same latents: what is equal in all of them is computed once, at the same numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_model import FRAMES, small_yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lvdm.conditioning import Conditioning
from lvdm.config import parse_component
from lvdm.diffusion.guidance import Branches
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.chunked import Chunked
from lvdm.plugins.hooks import Samples, plain_hooks

BATCH = 2
X, T = torch.randn(BATCH, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(5)), torch.tensor([700, 300])


def random_weights(network: UNetModel) -> None:
    """No layer is left at the zeros that it begins with."""
    draw = torch.Generator().manual_seed(6)
    for weight in network.parameters():
        if weight.ndim > 1:
            weight.data.normal_(std=0.1, generator=draw)


@pytest.fixture(scope="module", params=[[2], [1, 2]], ids=["attends_below", "attends_at_once"])
def model(request) -> LatentVisualDiffusion:
    tree = small_yaml()["model"]
    tree["params"]["drop_encoders"] = True
    tree["params"]["unet_config"]["params"] |= {"attention_resolutions": request.param, "transformer_depth": 2}
    model = parse_component(tree, "small").build().eval()
    random_weights(model.unet)
    return model


@pytest.fixture(scope="module")
def conditions() -> list[Conditioning]:
    draw = torch.Generator().manual_seed(7)
    texts = torch.randn(3, BATCH, 16, 32, generator=draw)
    images = torch.randn(3, BATCH, 2 * FRAMES, 32, generator=draw)
    concat = torch.randn(BATCH, 4, FRAMES, 8, 8, generator=draw)
    full = Conditioning(texts[0], images[0], concat, torch.tensor([10, 20]))
    return [full, *(full.with_text(text).with_image(image) for text, image in zip(texts[1:], images[1:], strict=True))]


@torch.inference_mode()
def evaluated(branches: Branches, t: Tensor = T) -> Tensor:
    """The outputs of all branches, (n, b, c, t, h, w)."""
    return torch.stack(branches(X, t))


def check(found: Tensor, expected: Tensor, what: str) -> None:
    error = (found - expected).abs().max().item()
    assert error < 1e-5 * expected.abs().max().item(), f"{what}: off by {error:.2g}"


@pytest.mark.parametrize("count", [2, 3])
def test_shared_branches_are_the_separate_ones(model, conditions, count: int) -> None:
    chosen = conditions[:count]
    expected = evaluated(model.branches(chosen, batched=False))
    assert not torch.allclose(expected[0], expected[1], rtol=1e-2), "the tokens have no effect here"
    check(evaluated(model.branches(chosen)), expected, f"{count} branches that share layers")
    times = T[:, None] - torch.arange(FRAMES)
    by_frame = evaluated(model.branches(chosen, batched=False), times)
    check(evaluated(model.branches(chosen), times), by_frame, "a time of its own for each frame")


def test_branches_under_other_latents_share_nothing(model, conditions) -> None:
    chosen = [conditions[0], replace(conditions[1], concat=-conditions[1].concat)]
    check(evaluated(model.branches(chosen)), evaluated(model.branches(chosen, batched=False)), "other latents")


def test_a_network_in_pieces_takes_shared_branches(model, conditions) -> None:
    hooks = plain_hooks(Samples((1, 2), (0, 0)), model.branches, guidance=lambda own: lambda *at: torch.stack(own(*at)))
    pieces = Chunked(2).attach(model.unet, hooks, Samples((1, 2), (0, 0)))
    with torch.inference_mode():
        found, expected = (own.denoiser(conditions[:2])(X, T) for own in (pieces, hooks))
    check(found, expected, "in pieces")


def test_the_layers_before_the_first_tokens_are_computed_once(model, conditions) -> None:
    """In operations: each further branch adds the rest of the network, and nothing of what is before."""
    operations = []
    for count in (1, 2, 3):
        with FlopCounterMode(display=False) as counter:
            evaluated(model.branches(conditions[:count]))
        operations.append(counter.get_total_flops())
        if count == 1:
            own = {name: sum(kinds.values()) for name, kinds in counter.get_flop_counts().items()}
    before = own["UNetModel.input_blocks.0"] + own["UNetModel.init_attn"] + own["UNetModel.input_blocks.1.0"]
    one, two, three = operations
    assert three - two == two - one, f"three branches take {three} operations, two {two} and one {one}"
    assert two <= 2 * one - before, (
        f"two branches take {two} operations, one {one}, of which {before} are equal in both"
    )
