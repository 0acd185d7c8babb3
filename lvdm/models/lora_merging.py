"""LoRAs added to the weights of a loaded model, and taken out again to the bit."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lvdm.checkpoint.lora import Lora, add_loras


@dataclass
class LoraStack:
    """The LoRAs in the weights of `model`, and the weights that they changed as they were, on the CPU.

    Sums are always made from the original weights: neither order nor repetition collects rounding.
    """

    model: nn.Module
    loras: list[tuple[Lora, float]] = field(default_factory=list)
    _originals: dict[str, Tensor] = field(default_factory=dict)

    def add(self, lora: Lora, scale: float, model_name: str = "the model") -> None:
        """Add `scale` x `lora` to the weights. Raises `CheckpointError` if it was trained on another architecture."""
        parameters = dict(self.model.named_parameters())
        lora.check_fits({key: tuple(value.shape) for key, value in parameters.items()}, model_name)
        self.loras.append((lora, scale))
        for key in lora.layers:
            self._originals.setdefault(key, parameters[key].detach().to("cpu", copy=True))
        self._write(parameters)

    def clear(self) -> None:
        """Restore the weights as they were loaded."""
        self.loras.clear()
        self._write(dict(self.model.named_parameters()))
        self._originals.clear()

    @torch.no_grad()
    def _write(self, parameters: dict[str, nn.Parameter]) -> None:
        for key, original in self._originals.items():
            weight = original.to(parameters[key].device)
            parameters[key].copy_(add_loras(key, weight, self.loras))
