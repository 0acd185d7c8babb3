"""Where the network's weights wait, and in how many bits: by hooks of diffusers and accelerate around its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from lvdm.declaration.values import Storage, WeightOffload
from lvdm.errors import UserError
from lvdm.request.settings import GenerationSettings

BY_LAYER: tuple[WeightOffload, ...] = ("group", "sequential")
READ_OUTSIDE = ("time_embed", "fps_embedding")
"""Layers of the UNet that stay in the precision of the computation: what is embedded takes its dtype from them."""
NORMS = ("norm", "^out\\.0", "in_layers\\.0", "out_layers\\.0")


@dataclass(frozen=True)
class WeightPlacement:
    """How the weights of the denoising network are kept; those of the other parts move as a whole with an `offload`."""

    offload: WeightOffload = "none"
    storage: Storage = "full"

    @property
    def by_layer(self) -> bool:
        """Whether weights of single layers come and go."""
        return self.offload in BY_LAYER

    @property
    def hooked(self) -> bool:
        """Whether layers are to be called for their weights to be right: one generation after the other."""
        return self.by_layer or self.storage != "full"

    def check(self, on_cpu: bool) -> None:
        """Raise `UserError` for what cannot run here."""
        if self.offload != "none" and on_cpu:
            raise UserError(
                f"offload {self.offload} moves weights between an accelerator and the host, and here is only the CPU; "
                "leave out --offload"
            )
        if self.offload == "sequential" and self.storage != "full":
            raise UserError(f"storage {self.storage} does not go with offload sequential; use offload group")
        if self.hooked and (find_spec("diffusers") is None or find_spec("accelerate") is None):
            name = f"offload {self.offload}" if self.by_layer else f"storage {self.storage}"
            raise UserError(f'{name} needs diffusers; install with: pip install "dynamicrafter[diffusers]"')

    def check_settings(self, settings: GenerationSettings, scale: str = "off") -> None:
        """Raise `UserError` for methods that read weights without calling their layers."""
        self._refuse("chunk_frames (--chunk-frames)", settings.chunk_frames is not None)
        self._refuse("a closed loop (--long-video cyclic)", settings.long_video == "cyclic")
        self._refuse("a larger size with scale (--scale off leaves it out)", scale.startswith("scalecrafter"))
        self._refuse("second_stage_unet (--second-stage-unet)", settings.second_stage_unet is not None)

    def check_loras(self, loras: Sequence[Any]) -> None:
        """Raise `UserError` for LoRAs, which are added to weights as they are stored."""
        self._refuse("a LoRA (merge it by `dynamicrafter convert --lora`)", bool(loras))

    def _refuse(self, name: str, present: bool) -> None:
        if present and self.hooked:
            kept = f"--offload {self.offload}" if self.by_layer else f"--storage {self.storage}"
            raise UserError(f"{name} reads weights as they are stored, which {kept} changes; leave out one of them")

    def apply(self, unet: Any, device: Any, compute: Any) -> None:
        """Put the hooks around the layers of a network that lies on the CPU and computes in the dtype `compute`."""
        if not self.hooked:
            return
        import torch
        from accelerate import cpu_offload
        from diffusers.hooks import apply_group_offloading, apply_layerwise_casting

        if self.storage == "fp8":
            apply_layerwise_casting(unet, torch.float8_e4m3fn, compute, skip_modules_pattern=(*NORMS, *READ_OUTSIDE))
        if self.offload == "group":
            streams = device.type not in ("cpu", "mps")
            apply_group_offloading(unet, device, offload_type="leaf_level", use_stream=streams)
        elif self.offload == "sequential":
            cpu_offload(unet, device)


PLAIN = WeightPlacement()
"""All weights on the device, as they are."""
