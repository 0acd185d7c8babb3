"""Several prompts over time, with FreeNoise's motion injection (arXiv 2310.15169, section 3.3).

Each frame reads a blend of the prompts around it. Motion and layout are decided by encoder and middle of the network:
early and late in the sampling those read only the prompt that a frame is on its way to, so that the image stays the
same while the motion changes; in between, where motion is decided, every layer reads the blend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor, nn

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.attention import Context, SpatialTransformer
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples
from lvdm.plugins.methods.prompt_travel import check_starts

BLEND_SHARE = 0.25
"""Part of a video in which one prompt turns into the next."""
INJECTED_BEFORE, INJECTED_AFTER = 0.1, 0.3
"""Shares of the diffusion time, from pure noise on, between which nothing is injected: steps 5 to 15 of 50."""


@dataclass(frozen=True, eq=False)
class PromptTravel:
    """The method as a plug-in.

    schedule  that of the model
    mixed     (b, t, n, d) the tokens that each frame reads
    target    (b, t, n, d) those of the prompt that each frame is on its way to
    """

    schedule: NoiseSchedule
    mixed: Tensor
    target: Tensor

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Give the full condition its prompts; the other branches stay. They run one after the other."""

        def branches(conditions: Sequence[Conditioning]) -> Branches:
            full = conditions[0]
            plain, injected = (
                hooks.branches([replace(full, tokens=tokens)])
                for tokens in (
                    lambda condition: self.contexts(unet, condition)[0],
                    lambda condition: self.contexts(unet, condition)[1],
                )
            )
            others = [hooks.branches([condition]) for condition in conditions[1:]]

            def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                first = injected if is_injected(int(t.flatten()[0]), self.schedule) else plain
                return *first(x_t, t), *(output for other in others for output in other(x_t, t))

            return denoise

        return replace(hooks, branches=branches)

    def contexts(self, unet: UNetModel, conditioning: Conditioning) -> tuple[Context, Context]:
        """The tokens without and with motion injection."""
        image = unet.split_context(conditioning.context, self.mixed.shape[1]).image
        mixed, target = (
            Context(rearrange(text, "b t n d -> (b t) n d").to(conditioning.text), image)
            for text in (self.mixed, self.target)
        )
        layers = [*_text_layers(unet.input_blocks), *_text_layers(unet.middle_block)]
        return mixed, replace(mixed, elsewhere=dict.fromkeys(layers, target))


def _text_layers(part: nn.Module) -> Iterator[nn.Module]:
    for module in part.modules():
        if isinstance(module, SpatialTransformer):
            for block in module.transformer_blocks:
                yield block.get_submodule("attn2")


def is_injected(t: int, schedule: NoiseSchedule) -> bool:
    """Whether encoder and middle read the target at the training step `t`."""
    total = schedule.num_train_timesteps
    passed = total - 1 - t
    return passed < INJECTED_BEFORE * total or passed > INJECTED_AFTER * total


def prompt_weights(num_frames: int, starts: Sequence[int], blend: int | None = None) -> Tensor:
    """Share of each prompt (k) in each frame, (t, k) float32: at starts[i] the i-th has fully taken over.

    starts  ascending, the first is 0
    blend   frames over which a prompt fades in, at most back to where the one before took over; None: a quarter
    """
    check_starts(starts, num_frames)
    blend = max(1, round(BLEND_SHARE * num_frames)) if blend is None else blend
    weights = torch.zeros(num_frames, len(starts))
    weights[:, 0] = 1.0
    frames = torch.arange(num_frames)
    for number in range(1, len(starts)):
        length = min(blend, starts[number] - starts[number - 1])
        share = ((frames - (starts[number] - length)) / length).clamp(0, 1)
        weights *= 1 - share[:, None]
        weights[:, number] = share
    return weights


def prompt_targets(num_frames: int, starts: Sequence[int]) -> list[int]:
    """For each frame the number of the prompt that it is on its way to: the next one, at the end the last."""
    check_starts(starts, num_frames)
    last = len(starts) - 1
    return [min(sum(start <= frame for start in starts), last) for frame in range(num_frames)]


def travel_tokens(embedded: Tensor, starts: Sequence[int], num_frames: int) -> tuple[Tensor, Tensor]:
    """Tokens (k, n, d) of prompts to `mixed` and `target` of one video, (t, n, d) each."""
    weights = prompt_weights(num_frames, starts).to(embedded)
    return torch.einsum("t k, k n d -> t n d", weights, embedded), embedded[prompt_targets(num_frames, starts)]
