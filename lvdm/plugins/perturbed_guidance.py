"""Guidance by a perturbed model: away from what the same network says with some of its layers switched off.

    e = e_guided + s (e_cond - e_perturbed),    then, with `rescale`, its deviation pulled towards that of e_cond

e_guided is what the other guidance makes (at guidance scale 1 e_cond itself), e_perturbed the perturbed network's
output under the full condition, all in the network's own parameterization. Two ways to perturb it:

stg  spatiotemporal skip guidance (arXiv 2411.18664): transformers over frames are skipped, what enters them goes on
pag  perturbed attention (arXiv 2403.17377): the attention map between the pixels of a frame is the identity, every
     pixel reads its own value alone

One more evaluation for each step. Steps outside the range have none and are the plain ones to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from lvdm.conditioning import Conditioning
from lvdm.declaration.options import Spec
from lvdm.deprecation import renamed_names
from lvdm.diffusion.guidance import Branches, Denoiser, perturbed_guidance
from lvdm.modules.attention import SpatialTransformer, TemporalTransformer
from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor
from lvdm.modules.hooks import LayerHooks, active_hooks
from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel
from lvdm.plugins.hooks import Hooks, Samples, attention_layers
from lvdm.plugins.methods.perturbed_guidance import PerturbationOptions, parse_perturbed_guidance


@dataclass(frozen=True)
class Perturbation:
    """A way to switch layers off.

    layers  the kind of layers
    what    they are called in messages
    perturb  (block, hooks) -> hooks with these layers of the block switched off
    """

    layers: type[nn.Module]
    what: str
    perturb: Callable[[nn.Module, LayerHooks], LayerHooks]


def skip_frames(block: nn.Module, hooks: LayerHooks) -> LayerHooks:
    """Transformers over frames of `block` add nothing to their input, in networks in pieces as well."""
    layers = [layer for layer in block.modules() if isinstance(layer, TemporalTransformer)]
    return hooks.with_functions("transform", dict.fromkeys(layers, nothing))


def perturb_attention(block: nn.Module, hooks: LayerHooks) -> LayerHooks:
    """Every pixel of `block` attends to itself."""
    return hooks.with_attention(attention_layers(block), "self", attend_to_itself)


PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {
        "stg": Perturbation(TemporalTransformer, "attention over frames", skip_frames),
        "pag": Perturbation(SpatialTransformer, "attention between pixels", perturb_attention),
    }
)


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


def chosen_blocks(perturbation: Spec[PerturbationOptions], unet: UNetModel) -> list[nn.Module]:
    """The blocks that are perturbed, each once. Raises `ValueError`, with those that could be, for any other."""
    way = PERTURBATIONS[perturbation.name]
    there = blocks_with(unet, way.layers)
    chosen: dict[str, nn.Module] = {}
    for name in perturbation.options.names:
        found = {own: block for own, block in there.items() if name in (own, own.partition(".")[0])}
        if not found:
            raise ValueError(
                f"perturbed_guidance: the network has no block {name!r} with {way.what}; "
                + (f"use some of {', '.join(there)}" if there else "it has none at all: leave out perturbed_guidance")
            )
        chosen |= found
    return list(chosen.values())


def check_blocks(perturbation: Spec[PerturbationOptions] | str | None, network: UNetModel | UNetConfig) -> None:
    """Raise `ValueError` unless `network` has the blocks that the setting names; its configuration is enough."""
    if perturbation is None:
        return
    if isinstance(network, UNetConfig):
        with torch.device("meta"):
            network = UNetModel(network)
    chosen_blocks(parse_perturbed_guidance(perturbation) if isinstance(perturbation, str) else perturbation, network)


@dataclass(frozen=True, eq=False)
class PerturbedGuidance:
    """The method as a plug-in.

    perturbation  how the network is perturbed, and how much that counts; scale 0 changes nothing
    full          the full condition: branches for others alone, as noise-damped guidance asks for, stay as they are
    """

    perturbation: Spec[PerturbationOptions]
    full: Conditioning

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Add a branch of the perturbed network in the steps of the range, and guide away from it; see `Plugin`.

        It comes after the others, so that what shifts all branches shifts it as well and leaves the difference.
        """
        options, perturb = self.perturbation.options, PERTURBATIONS[self.perturbation.name].perturb
        if options.scale == 0:
            return hooks
        blocks = chosen_blocks(self.perturbation, unet)

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
                layers = active_hooks()
                for block in blocks:
                    layers = perturb(block, layers)
                with layers.active():
                    return *outputs, full(x_t, t)[0]

            return branches

        def guidance(branches: Branches) -> Denoiser:
            plain = hooks.guidance(branches)
            guided = perturbed_guidance(hooks.guidance, branches, options.scale, options.rescale)
            return lambda x_t, t: (guided if active() else plain)(x_t, t)

        return replace(hooks, branches=make, guidance=guidance)


__getattr__ = renamed_names(__name__, {"WeakGuidance": "PerturbedGuidance", "Weakening": "Perturbation"})
