"""Where the modules of a model are while generations use them, and who has to wait for whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lvdm.device import Precision, empty_cache
from lvdm.models.sharing import SharedWeights
from lvdm.pipeline.model import VideoModel
from lvdm.pipeline.placement import WeightPlacement


@dataclass
class Residence:
    """A model, and where and in what precision it runs. `low_memory` keeps only the part at work on the device.

    `placement` says how the weights of its network are kept, whose hooks are in place.

    Threads may use one residence at the same time, or several of one model. With `low_memory` on an accelerator they
    take turns, one whole generation after the other (`in_use`): modules come and go.
    """

    model: VideoModel
    device: torch.device
    precision: Precision
    low_memory: bool = False
    placement: WeightPlacement = field(default=WeightPlacement(), kw_only=True)

    @property
    def moves(self) -> bool:
        """Whether modules leave the device when they are not at work."""
        return (self.low_memory or self.placement.offload != "none") and self.device.type != "cpu"

    @property
    def shared(self) -> SharedWeights:
        """Who else uses the model."""
        return SharedWeights.of(self.model)

    def without_gradients(self) -> AbstractContextManager[Any]:
        """Nothing in the block is to be trained on; what hooks put in the place of weights is no inference tensor."""
        return torch.no_grad() if self.placement.hooked else torch.inference_mode()

    def in_use(self) -> AbstractContextManager[None]:
        """A generation is at work in the block: LoRAs stay as they are, and where modules move, others wait."""
        return self.shared.in_use(alone=self.moves or self.placement.hooked)

    @contextmanager
    def resident(self, *modules: nn.Module) -> Iterator[None]:
        """Hold `modules` on the device for the block; they stay there unless memory is low.

        Those that are there are not touched, as another thread may be at work with them.
        """
        modules = tuple(module for module in modules if not (self.placement.by_layer and module is self.model.model))
        with self.shared.filling:
            for module in modules:
                if not lies_on(module, self.device):
                    module.to(self.device)
        try:
            yield
        finally:
            if self.moves:
                for module in modules:
                    module.to("cpu")
                empty_cache(self.device)


def lies_on(module: nn.Module, device: torch.device) -> bool:
    """Whether all of `module` is on the device; one without a number is any of its type."""
    places, parts = set[torch.device](), [module]
    for part in parts:  # which grow meanwhile; `module.parameters()` takes five times as long, several times a video
        parts.extend(child for child in part._modules.values() if child is not None)
        held = (*part._parameters.values(), *part._buffers.values())
        places.update(tensor.device for tensor in held if tensor is not None)
    return all(place.type == device.type and device.index in (None, place.index) for place in places)
