"""The networks that are measured: released architectures, and a narrow one of the same layers, with random weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lvdm.conditioning import Conditioning, repeat_frame
from lvdm.config import Component, load_yaml, model_component
from lvdm.declaration.values import Attention
from lvdm.device import Precision
from lvdm.model_card import ModelCard
from lvdm.model_files import preset_config
from lvdm.model_outline import ModelOutline
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.pipeline.placement import PLAIN, WeightPlacement
from lvdm.pipeline.runtime import Runtime


@dataclass(frozen=True)
class NetworkSpec:
    """An architecture and the size of the video that it is measured at.

    preset   the released model whose architecture it is
    height, width  in pixels
    channels of the network and of the autoencoder at full resolution; None: as released
    """

    name: str
    preset: str
    height: int
    width: int
    channels: tuple[int, int] | None = None

    @cached_property
    def tree(self) -> dict[str, Any]:
        """The YAML, without encoders of images and text."""
        tree = load_yaml(preset_config(self.preset))
        params = tree["model"]["params"]
        params["drop_encoders"] = True
        if self.channels is not None:
            params["unet_config"]["params"]["model_channels"] = self.channels[0]
            params["first_stage_config"]["params"]["ddconfig"]["ch"] = self.channels[1]
        tree["sampling"] |= {"name": self.name, "height": self.height, "width": self.width}
        return tree

    @cached_property
    def component(self) -> Component:
        """The checked configuration."""
        return model_component(self.tree, self.name)

    @cached_property
    def card(self) -> ModelCard:
        """How the released model is sampled."""
        return ModelCard.from_tree(self.tree, self.name)

    @cached_property
    def outline(self) -> ModelOutline:
        """What a plan of memory reads."""
        return ModelOutline.of(self.component.params)

    @property
    def frames(self) -> int:
        """Of the video."""
        return self.card.num_frames

    def on_meta(self) -> LatentVisualDiffusion:
        """The model without memory: denoising network and autoencoder."""
        with torch.device("meta"):
            model: LatentVisualDiffusion = self.component.build().eval().requires_grad_(False)
            model.first_stage_model = self.component.params.first_stage_config.build().eval().requires_grad_(False)
        return model

    def conditions(self, count: int, generator: torch.Generator, device: torch.device) -> tuple[Conditioning, ...]:
        """`count` random conditions of one image, in float32; on the meta device they hold nothing."""

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(device)

        unet, factor = self.component.params.unet_config.params, self.outline.autoencoder.downsample_factor
        latent = draw(1, unet.in_channels - unet.out_channels, self.height // factor, self.width // factor)
        texts = draw(count, 1, unet.text_length, unet.context_dim)
        images = draw(count, 1, unet.image_tokens_per_frame * self.frames, unet.context_dim)
        fs = torch.tensor([self.card.fs_default], device=device)
        full = Conditioning(texts[0], images[0], repeat_frame(latent, self.frames), fs)
        others = (full.with_text(text).with_image(image) for text, image in zip(texts[1:], images[1:], strict=True))
        return (full, *others)

    def latents(self, generator: torch.Generator, device: torch.device) -> Tensor:
        """Noise (1, c, t, h, w) in float32."""
        channels, factor = self.component.params.channels, self.outline.autoencoder.downsample_factor
        shape = (1, channels, self.frames, self.height // factor, self.width // factor)
        return torch.randn(shape, generator=generator).to(device)


SMALL = NetworkSpec("small", "512", 64, 64, channels=(64, 64))
"""The released layers with a fifth of the channels, half of the autoencoder's: a step takes a second on a CPU."""
NETWORKS: Mapping[str, NetworkSpec] = {
    network.name: network
    for network in (
        SMALL,
        NetworkSpec("256", "256", 256, 256),
        NetworkSpec("512", "512", 320, 512),
        NetworkSpec("1024", "1024", 576, 1024),
    )
}
"""By name: the small one, and the released ones at the size of their training."""


@torch.no_grad()
def fill(module: nn.Module, generator: torch.Generator) -> None:
    """Random weights under which the variance of activations stays about as it is; drawn in float32.

    None are all zero, as the last layers of an untrained network are, so that every layer shows in the result.
    """
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, device=generator.device)
        scale = 0.1 if parameter.ndim < 2 else 1 / math.sqrt(parameter[0].numel())
        parameter.copy_(scale * noise)
    for norm in module.modules():
        if isinstance(norm, nn.GroupNorm | nn.LayerNorm):
            norm.weight.add_(1)


def build_runtime(
    network: NetworkSpec,
    device: torch.device,
    precision: Precision,
    generator: torch.Generator,
    placement: WeightPlacement = PLAIN,
) -> Runtime:
    """The network and the decoder at work on `device`, with weights drawn by `generator`, which may be of another one.

    Weights that a `placement` moves begin on the CPU, as those of a checkpoint do.
    """
    model = network.on_meta()
    where = device if placement == PLAIN else torch.device("cpu")
    for part, dtype in ((model.model, precision.weights), (model.first_stage_model, precision.vae)):
        part.to(dtype).to_empty(device=where)
        fill(part, generator)
    for name, buffer in model.named_buffers(recurse=False):
        setattr(model, name, buffer.to(device))
    placement.apply(model.unet, device, precision.weights)
    return Runtime(model, device, precision, placement=placement)


def with_options(runtime: Runtime, attention: Attention, low_memory: bool) -> Runtime:
    """The same model under other options."""
    return replace(runtime, attention=attention, low_memory=low_memory)


def in_precision(conditions: tuple[Conditioning, ...], dtype: torch.dtype) -> tuple[Conditioning, ...]:
    """Conditions as `Runtime.conditions` makes them: in the precision of the weights, of one image's latents."""
    concat = conditions[0].concat.to(dtype)
    return tuple(
        replace(each, text=each.text.to(dtype), image=each.image.to(dtype), concat=concat) for each in conditions
    )
