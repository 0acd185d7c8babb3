"""The networks and the schedule as components that diffusers loads, saves, moves and casts.

Their module has to hold the base classes by name as well: diffusers looks there for how a component is loaded.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from diffusers import ConfigMixin, ModelMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from lvdm.config import Component, parse_component
from lvdm.errors import UserError
from lvdm.modules.distributions import DiagonalGaussian
from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel
from lvdm.pipeline.placement import READ_OUTSIDE


class VideoUNet(UNetModel, ModelMixin, ConfigMixin):
    """The denoising network. `config` is its typed configuration; `config.json` has it as `target` and `params`."""

    config_name = "config.json"
    _skip_layerwise_casting_patterns = READ_OUTSIDE
    _supports_group_offloading = True

    @register_to_config
    def __init__(self, target: str, params: dict[str, Any]) -> None:
        super().__init__(parse_component({"target": target, "params": params}, "unet/config.json").params)

    @property
    def config(self) -> UNetConfig:  # type: ignore[override]
        """See the class."""
        return self._network_config

    @config.setter
    def config(self, config: UNetConfig) -> None:
        self._network_config = config


class Network(ModelMixin, ConfigMixin):
    """A network that diffusers has no class for, as `network`: an encoder, or a decoder of whole clips.

    Its layers are read in other ways than by calling them, so that it can only be moved as a whole.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, target: str, params: dict[str, Any]) -> None:
        super().__init__()
        component = parse_component({"target": target, "params": params}, f"the component {target}")
        self.network: nn.Module = component.build()

    def forward(self, *inputs: Any) -> Any:
        """What the network gives."""
        return self.network(*inputs)

    def enable_layerwise_casting(self, *_: Any, **__: Any) -> NoReturn:
        """Raise `UserError`: attention of open_clip reads weights without calling their layers."""
        raise UserError(
            f"{type(self.network).__name__} cannot be cast layer by layer; cast the unet and the vae, "
            "pipe.unet.enable_layerwise_casting(...)"
        )


class VideoScheduler(SchedulerMixin, ConfigMixin):
    """Our own samplers, and the noise schedule in the words of diffusers' schedulers.

    `DDIMScheduler.from_config(pipe.scheduler.config)` makes one of theirs, and likewise for others, which a pipeline
    takes in its place; not for a model with a dynamic rescale, which no scheduler of diffusers knows.
    """

    config_name = "scheduler_config.json"

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "scaled_linear",
        prediction_type: str = "epsilon",
        rescale_betas_zero_snr: bool = False,
        timestep_spacing: str = "leading",
        steps_offset: int = 1,
        set_alpha_to_one: bool = False,
        clip_sample: bool = False,
    ) -> None:
        """Hold the configuration; the sampler is named at each call."""


class AutoencoderAdapter(nn.Module):
    """diffusers' AutoencoderKL with the methods of ours."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return compute_dtype(self.vae)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Posterior of images (n, 3, H, W) in [-1, 1], over latents (n, c, H // f, W // f)."""
        return DiagonalGaussian.from_moments(self.vae.encode(x).latent_dist.parameters)

    def decode(self, z: Tensor) -> Tensor:
        """Images (n, 3, f h, f w), about [-1, 1], of latents (n, c, h, w)."""
        decoded: Tensor = self.vae.decode(z).sample
        return decoded


class Built(Component):
    """A component of a configuration whose module is there already."""

    def __init__(self, component: Component, module: nn.Module) -> None:
        super().__init__(component.target, component.params)
        object.__setattr__(self, "module", module)

    def build(self) -> Any:
        """The module."""
        return self.__dict__["module"]


def autoencoder_of(vae: nn.Module) -> nn.Module:
    """A `vae` component as our models take it."""
    return vae.network if isinstance(vae, Network) else AutoencoderAdapter(vae)


def compute_dtype(component: nn.Module) -> torch.dtype:
    """What a component computes in, however its weights are stored."""
    found: torch.dtype = component.dtype  # type: ignore[assignment]
    return found
