"""What a guided step is measured on: a model, two conditions of one image, and latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lvdm.conditioning import Conditioning, repeat_frame
from lvdm.config import load_yaml, parse_component
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.pipeline import DynamiCrafterPipeline

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SIZES = ("tiny", "mid")
"""The embedded model at 64x64; a network of the released architecture with two fifths of its width at 192x128."""
FRAMES = 16


@dataclass(frozen=True, eq=False)
class GuidedStep:
    """conditions: that of a prompt and that without one, under the same concatenated latents."""

    model: LatentVisualDiffusion
    conditions: Sequence[Conditioning]
    x_t: Tensor
    t: Tensor


def guided_step(size: str) -> GuidedStep:
    """A step of the model `size`, one of `SIZES`, in float32 on the CPU; all but the embedded weights is random."""
    draw = torch.Generator().manual_seed(0)
    model = embedded_model() if size == "tiny" else mid_size_model(draw)
    config, (height, width) = model.unet.config, (16, 16) if size == "tiny" else (16, 24)
    assert config.context_dim is not None
    concat = repeat_frame(torch.randn(1, config.in_channels - 4, height, width, generator=draw), FRAMES)
    texts = torch.randn(2, 1, config.text_length, config.context_dim, generator=draw)
    images = torch.randn(2, 1, config.image_tokens_per_frame * FRAMES, config.context_dim, generator=draw)
    full = Conditioning(texts[0], images[0], concat, torch.tensor([config.default_fs]))
    x_t = torch.randn(1, 4, FRAMES, height, width, generator=draw)
    return GuidedStep(model, [full, full.with_text(texts[1]).with_image(images[1])], x_t, torch.tensor([500]))


def embedded_model() -> LatentVisualDiffusion:
    """The model that is part of this repository."""
    model = DynamiCrafterPipeline.from_pretrained("tiny", device="cpu").runtime.model
    assert isinstance(model, LatentVisualDiffusion)
    return model


def mid_size_model(draw: torch.Generator) -> LatentVisualDiffusion:
    """Random weights, none of them all zero, so that every layer shows in the output."""
    tree = load_yaml(CONFIGS / "inference_512_v1.0.yaml")["model"]
    tree["params"]["drop_encoders"] = True
    tree["params"]["unet_config"]["params"]["model_channels"] = 128
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: LatentVisualDiffusion = parse_component(tree, "mid").build().eval()
    with torch.no_grad():
        for weight in model.unet.parameters():
            if weight.ndim > 1 and not weight.any():
                weight.normal_(std=0.02, generator=draw)
    return model
