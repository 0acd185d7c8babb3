"""Where components are while a generation uses them: diffusers and accelerate move them by hooks around `forward`.

Ours read components by other methods too (`encode`, `project_context`, `pooled`). So the hooks that move whole
components run where a generation says that it needs one (`Residence.resident`); those around single layers run by
themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.hooks import CpuOffload
from torch import nn

from lvdm.diffusers_pipeline.components import Network
from lvdm.diffusers_pipeline.scheduling import TheirScheduler
from lvdm.errors import UserError
from lvdm.pipeline.carried_start import carried_step
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.runtime import Runtime
from lvdm.plugins.hooks import Plugin
from lvdm.request.settings import GenerationSettings


@dataclass
class ComponentRuntime(Runtime):
    """A model of components at work.

    owners     module -> the component that it belongs to
    scheduler  one of diffusers in the place of our samplers; None for ours
    by_groups  whether the components of diffusers are offloaded in groups: networks are moved as a whole then
    """

    owners: Mapping[nn.Module, nn.Module] = field(default_factory=dict)
    scheduler: Any = None
    by_groups: bool = False

    def without_gradients(self) -> AbstractContextManager[Any]:
        """Parameters that hooks put in place are no inference tensors: their layers could not be used afterwards."""
        return torch.no_grad()

    def in_use(self) -> AbstractContextManager[None]:
        """One generation after the other: hooks change what all of them would share."""
        return self.shared.in_use(alone=True)

    @contextmanager
    def resident(self, *modules: nn.Module) -> Iterator[None]:
        """Hold the components of `modules` where they compute; those without hooks stay where they were put."""
        components = [self.owners[module] for module in modules if module in self.owners]
        moved = [component for component in components if self.by_groups and isinstance(component, Network)]
        for component in components:
            hook = getattr(component, "_hf_hook", None)
            if isinstance(hook, CpuOffload):
                hook.pre_forward(component)
        for component in moved:
            component.to(self.device)
        try:
            yield
        finally:
            for component in moved:
                component.to("cpu")

    def settings_plugins(self, requests: Sequence[GenerationRequest], settings: GenerationSettings) -> list[Plugin]:
        """The methods of the settings, and at last the scheduler. Raises `UserError` where it cannot take its place."""
        plugins = super().settings_plugins(requests, settings)
        if self.scheduler is None:
            return plugins
        if settings.long_video == "fifo" or carried_step(self.model, settings) is not None:
            raise UserError(
                f"{type(self.scheduler).__name__} takes all frames from noise through the same steps; put a "
                "VideoScheduler back for long_video fifo, and for a model that carries its first frame along"
            )
        return [*plugins, TheirScheduler(self.scheduler)]
