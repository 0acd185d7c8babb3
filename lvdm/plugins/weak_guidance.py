"""Guidance by a weakened model: away from what the same network says with some of its layers switched off.

    e = e_guided + s (e_cond - e_weak),    then, with `rescale`, its deviation pulled towards that of e_cond

e_guided is what the other guidance makes (at guidance scale 1 e_cond itself), e_weak the weakened network's output
under the full condition, all in the network's own parameterization. Two ways to weaken it:

stg  spatiotemporal skip guidance (arXiv 2411.18664): transformers over frames are skipped, what enters them goes on
pag  perturbed attention (arXiv 2403.17377): the attention map between the pixels of a frame is the identity, every
     pixel reads its own value alone

One more evaluation for each step. Steps outside the range have none and are the plain ones to the bit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches, Denoiser, weak_model_guidance
from lvdm.modules.attention import SpatialTransformer, TemporalTransformer
from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor
from lvdm.modules.hooks import LayerHooks, active_hooks
from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel
from lvdm.plugins.hooks import Hooks, Samples, attention_layers
from lvdm.plugins.specs import parse_spec

MAX_SCALE = 20.0
"""The papers use 1 to 3."""
BLOCK = re.compile(r"init|middle|(input|output)(\.\d+)?")


@dataclass(frozen=True)
class WeakOptions:
    """What the two ways have in common.

    scale    s, 0 (off) to `MAX_SCALE`
    blocks   the blocks that are weakened, joined by +: init (the attention over frames before all others), input.3,
             middle, output.4 and so on, as numbered in the checkpoint; input and output are all of one side
    after    share of the steps before it sets in, 0 to 1
    until    share of the steps after which it ends, 0 to 1
    rescale  0 to 1: how much of the conditional output's deviation the result gets back (arXiv 2305.08891, eq. 15-16)
    """

    scale: float = 1.0
    blocks: str = "middle"
    after: float = 0.0
    until: float = 1.0
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and 0 <= self.scale <= MAX_SCALE):
            raise ValueError(f"scale {self.scale:g} is not possible; use a number from 0 to {MAX_SCALE:g}")
        for name in ("after", "until", "rescale"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name):g} is not possible; use a number from 0 to 1")
        if self.after >= self.until:
            raise ValueError(f"no step is after {self.after:g} and before {self.until:g}; use after below until")
        if not self.names:
            raise ValueError("no block is chosen; use blocks=middle, or several as in middle+output.3")
        for name in self.names:
            if not BLOCK.fullmatch(name):
                raise ValueError(f"block {name!r} is not known; use init, middle, input.N, output.N, input or output")

    @property
    def names(self) -> tuple[str, ...]:
        """The chosen blocks, as they were written."""
        return tuple(filter(None, (name.strip() for name in self.blocks.split("+"))))

    @property
    def every_step(self) -> bool:
        """Whether it is at work from the first step to the last."""
        return self.after == 0 and self.until == 1


@dataclass(frozen=True)
class SkipFrames(WeakOptions):
    """stg."""

    layers = TemporalTransformer

    def weakened(self, block: nn.Module, hooks: LayerHooks) -> LayerHooks:
        """With these transformers over frames of `block` add nothing to their input, in networks in pieces as well."""
        layers = [layer for layer in block.modules() if isinstance(layer, TemporalTransformer)]
        return hooks.with_functions("transform", dict.fromkeys(layers, nothing))


@dataclass(frozen=True)
class PerturbAttention(WeakOptions):
    """pag."""

    layers = SpatialTransformer

    def weakened(self, block: nn.Module, hooks: LayerHooks) -> LayerHooks:
        """With these every pixel of `block` attends to itself."""
        return hooks.with_attention(attention_layers(block), "self", attend_to_itself)


WEAK: Mapping[str, type[WeakOptions]] = {"stg": SkipFrames, "pag": PerturbAttention}
Weak = SkipFrames | PerturbAttention


def parse_weak(text: str) -> Weak:
    """The setting `weak`: stg or pag, alone or with `WeakOptions` as in pag:scale=2,blocks=middle+output.3.

    Raises `ValueError`.
    """
    options: Weak = parse_spec(text, WEAK, "weak")
    return options


def nothing(layer: nn.Module, inner: object, h: Tensor) -> Tensor:
    """Zeros like h, laid out in memory as a layer's own result: what reads it then rounds as it does with that."""
    return h.new_zeros(h.shape)


def attend_to_itself(inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
    """The identity in the place of the attention map: the values (b, nh, n, d)."""
    return v


def blocks_with(unet: UNetModel, kind: type[nn.Module]) -> dict[str, nn.Module]:
    """The blocks of `unet` that have a layer of `kind`, by name, from the input to the output."""
    named: dict[str, nn.Module] = {}
    if unet.config.addition_attention:
        named["init"] = unet.init_attn
    named |= {f"input.{number}": block for number, block in enumerate(unet.input_blocks)}
    named["middle"] = unet.middle_block
    named |= {f"output.{number}": block for number, block in enumerate(unet.output_blocks)}
    return {name: block for name, block in named.items() if any(isinstance(m, kind) for m in block.modules())}


def chosen_blocks(options: Weak, unet: UNetModel) -> list[nn.Module]:
    """The blocks that are weakened, each once. Raises `ValueError`, with those that could be, for any other."""
    there = blocks_with(unet, options.layers)
    chosen: dict[str, nn.Module] = {}
    for name in options.names:
        found = {own: block for own, block in there.items() if name in (own, own.partition(".")[0])}
        if not found:
            what = "attention over frames" if options.layers is TemporalTransformer else "attention between pixels"
            raise ValueError(
                f"weak: the network has no block {name!r} with {what}; "
                + (f"use some of {', '.join(there)}" if there else "it has none at all: leave out weak")
            )
        chosen |= found
    return list(chosen.values())


def check_blocks(text: str | None, network: UNetModel | UNetConfig) -> None:
    """Raise `ValueError` unless `network` has the blocks that the setting names; its configuration is enough."""
    if text is None:
        return
    if isinstance(network, UNetConfig):
        with torch.device("meta"):
            network = UNetModel(network)
    chosen_blocks(parse_weak(text), network)


@dataclass(frozen=True, eq=False)
class WeakGuidance:
    """The method as a plug-in.

    options  how the network is weakened, and how much that counts; scale 0 changes nothing
    full     the full condition: branches made for others alone, as noise-damped guidance asks for, stay as they are
    """

    options: Weak
    full: Conditioning

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Add a branch of the weakened network in the steps of the range, and guide away from it; see `Plugin`.

        It comes after the others, so that what shifts all branches shifts it as well and leaves the difference.
        """
        options = self.options
        if options.scale == 0:
            return hooks
        blocks = chosen_blocks(options, unet)

        def active() -> bool:
            return hooks.clock.before(options.until) and not hooks.clock.before(options.after)

        def make(conditions: Sequence[Conditioning]) -> Branches:
            plain = hooks.branches(conditions)
            if conditions[0] is not self.full:
                return plain
            full = hooks.branches(conditions[:1])

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                outputs = plain(x_t, t)
                if not active():
                    return outputs
                weak = active_hooks()
                for block in blocks:
                    weak = options.weakened(block, weak)
                with weak.active():
                    return *outputs, full(x_t, t)[0]

            return branches

        def guidance(branches: Branches) -> Denoiser:
            plain = hooks.guidance(branches)
            guided = weak_model_guidance(hooks.guidance, branches, options.scale, options.rescale)
            return lambda x_t, t: (guided if active() else plain)(x_t, t)

        return replace(hooks, branches=make, guidance=guidance)
