"""LoRAs added to the weights of a loaded model, and taken out again to the bit."""

from __future__ import annotations

import torch
from torch import nn

from lvdm.checkpoint.lora import Lora, add_loras
from lvdm.models.sharing import SharedWeights


class LoraStack:
    """The LoRAs in the weights of `model`, which are the same for all stacks of that model.

    Sums are always made from the original weights, which wait on the CPU: neither order nor repetition collects
    rounding. `add` and `clear` raise `WeightsInUseError` while a generation is at work with the weights.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._shared = model, SharedWeights.of(model)

    @property
    def loras(self) -> tuple[tuple[Lora, float], ...]:
        """Those in the weights, with their scales."""
        return tuple(self._shared.loras)

    def add(self, lora: Lora, scale: float, model_name: str = "the model") -> None:
        """Add `scale` x `lora` to the weights. Raises `CheckpointError` if it was trained on another architecture."""
        parameters = dict(self._model.named_parameters())
        lora.check_fits({key: tuple(value.shape) for key, value in parameters.items()}, model_name)
        with self._shared.changing():
            self._shared.loras.append((lora, scale))
            for key in lora.layers:
                self._shared.originals.setdefault(key, parameters[key].detach().to("cpu", copy=True))
            self._write(parameters)

    def clear(self) -> None:
        """Restore the weights as they were loaded."""
        with self._shared.changing():
            self._shared.loras.clear()
            self._write(dict(self._model.named_parameters()))
            self._shared.originals.clear()

    @torch.no_grad()
    def _write(self, parameters: dict[str, nn.Parameter]) -> None:
        for key, original in self._shared.originals.items():
            weight = original.to(parameters[key].device)
            parameters[key].copy_(add_loras(key, weight, self._shared.loras))
