"""Other weights for the late time steps: one model decides on the motion, another draws it (EDG, arXiv 2503.00948).

In the noisy steps the motion of a video is decided, in the later ones its details. EDG takes a model that moves more
for the first (`dynamicrafter merge`) and one that keeps to its image for the second, both of one architecture, and
goes from the one to the other at t = 500 of 1000. What both are given (image tokens, text, latents) comes from the
first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lvdm.conditioning import Conditioning
from lvdm.deprecation import renamed_names
from lvdm.diffusion.guidance import Branches
from lvdm.modules.attention import Context
from lvdm.modules.hooks import LayerHooks, active_hooks
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples


@dataclass(frozen=True, eq=False)
class SecondStage:
    """The method as a plug-in.

    weights  all of the network's, by name and in its shapes and dtypes, on any device
    below    they are at work at this time step and at lower ones; the network's own are at higher ones
    alone    nobody else uses the network meanwhile: of both sets, the one that is not at work waits on the CPU.
             Otherwise both lie on the device from the first late step on
    """

    weights: Mapping[str, Tensor]
    below: float
    alone: bool = False

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Change the weights with the time step; see `Plugin`."""
        late_network = SecondStageNetwork(unet, self.weights, self.alone)

        def make(conditions: Sequence[Conditioning]) -> Branches:
            inner: dict[bool, Branches] = {}  # made when their weights are in: they project the conditions once

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                late = bool((t <= self.below).all())
                late_network.make_room(late=late)
                with late_network.in_place(active_hooks()).active() if late else nullcontext():
                    if late not in inner:
                        inner[late] = hooks.branches(conditions)
                    return inner[late](x_t, t)

            return branches

        return replace(hooks, branches=make)


class SecondStageNetwork:
    """A second network made of other weights, which is evaluated in the place of `unet` while its hooks are active.

    It has layers of its own: those of `unet`, and their weights, are never exchanged. What stands in for a layer of
    `unet` stands in for the same layer of the second one.
    """

    def __init__(self, unet: UNetModel, weights: Mapping[str, Tensor], alone: bool = False) -> None:
        own = unet.state_dict(keep_vars=True)
        wrong = [name for name, tensor in own.items() if name not in weights or weights[name].shape != tensor.shape]
        if wrong or len(weights) != len(own):
            raise ValueError(f"second_stage_unet is of another network: {', '.join(wrong[:3]) or 'there are more'}")
        self._unet, self._weights, self._alone, self._late = unet, weights, alone, False

    def in_place(self, hooks: LayerHooks) -> LayerHooks:
        """`hooks` with this network in the place of the other one."""
        with_forward = hooks.with_functions("forward", {self._unet: self._forward})
        return with_forward.with_functions("project_context", {self._unet: self._project})

    def make_room(self, *, late: bool) -> None:
        """Where there is room for one set of weights alone: have the one that is asked for on the device."""
        if not self._alone or late == self._late:
            return
        device = next((self._network if self._late else self._unet).parameters()).device
        with torch.inference_mode(False):  # else the network would be left with tensors that cannot be trained
            for network, works in ((self._unet, not late), (self._network, late)):
                if not works:
                    network.to("cpu")
            (self._network if late else self._unet).to(device)
        self._late = late

    @cached_property
    def _network(self) -> UNetModel:
        """The second network, on the device of the first unless it has to wait for room."""
        own = self._unet.state_dict(keep_vars=True)
        with torch.inference_mode(False):
            weights: dict[int, Any] = {}
            for name, tensor in own.items():
                other = self._weights[name].to("cpu" if self._alone else tensor.device, tensor.dtype)
                weights[id(tensor)] = (
                    nn.Parameter(other, requires_grad=False) if isinstance(tensor, nn.Parameter) else other
                )
            return copy.deepcopy(self._unet, weights)  # all but the tensors that are given is small

    @cached_property
    def _places(self) -> dict[nn.Module, nn.Module]:
        """The layers of the second network by those of the first."""
        return dict(zip(self._unet.modules(), self._network.modules(), strict=True))

    def _own_hooks(self) -> LayerHooks:
        """The active hooks for the second network, without those by which it is reached and what lies around these."""
        hooks = active_hooks()
        functions = dict(hooks.functions)
        for name, reached in (("forward", self._forward), ("project_context", self._project)):
            chain = functions[self._unet, name]
            functions[self._unet, name] = chain[: chain.index(reached)]
        return replace(hooks, functions=functions).moved(self._places)

    def _forward(
        self,
        unet: UNetModel,
        inner: Callable[..., Tensor],
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | Context | None = None,
        fs: Tensor | None = None,
    ) -> Tensor:
        """`UNetModel.forward` of the second network."""
        if isinstance(context, Context) and context.elsewhere:
            places = self._places
            context = replace(context, elsewhere={places[layer]: own for layer, own in context.elsewhere.items()})
        with self._own_hooks().active():
            return self._network(x, timesteps, context, fs)

    def _project(self, unet: UNetModel, inner: Callable[..., Context], context: Tensor, num_frames: int) -> Context:
        """`UNetModel.project_context` of the second network, whose layers it names."""
        with self._own_hooks().active():
            return self._network.project_context(context, num_frames)


__getattr__ = renamed_names(__name__, {"LateNetwork": "SecondStageNetwork", "LateWeights": "SecondStage"})
