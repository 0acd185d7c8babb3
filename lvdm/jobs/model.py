"""The model that a job takes: its files, what is added to them, and how it runs, before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lvdm.checkpoint.parts import CLIP_ENCODERS, TEXT_ENCODER, Part, part_of
from lvdm.config import load_model_config
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.declaration.values import Attention
from lvdm.model_card import ModelCard
from lvdm.model_files import EMBEDDED, ModelFiles, ModelIdentity, card_for, find_model, find_preset, identify

if TYPE_CHECKING:
    import torch

    from lvdm.device import Precision
    from lvdm.models.ddpm3d import LatentVisualDiffusionConfig
    from lvdm.pipeline import DynamiCrafterPipeline


@dataclass(frozen=True)
class ChosenModel:
    """A model by its files; `load` makes a pipeline of it.

    added      LoRAs, supplied encoders and the schedule
    machine    device, dtype and low memory mode as given; `device` and `precision` are what they come to

    The last two and the configuration need torch, and are made when they are first asked for: what the card, a list or
    an image decides is refused before. They raise `ValueError`, see `check`.
    """

    files: ModelFiles
    card: ModelCard
    added: ModelParameters
    machine: MachineParameters

    @cached_property
    def config(self) -> LatentVisualDiffusionConfig:
        """The checked configuration of the network."""
        found: LatentVisualDiffusionConfig = load_model_config(self.files.config).params
        return found

    @cached_property
    def device(self) -> torch.device:
        """Where it is at work."""
        from lvdm.device import choose_device

        return choose_device(self.machine.device)

    @cached_property
    def precision(self) -> Precision:
        """What it computes in."""
        from lvdm.device import choose_precision

        return choose_precision(self.machine.dtype, self.device, self.machine.low_memory)

    @cached_property
    def attention(self) -> Attention:
        """What computes its attention."""
        from lvdm.modules.attention_backends import choose_attention

        return choose_attention(self.machine.attention, self.device, self.precision.weights)

    def check(self) -> None:
        """Raise `ValueError` for a configuration, a device, a precision or an attention that is not possible."""
        _ = self.config, self.precision, self.attention

    @property
    def size_multiple(self) -> int:
        """The sides that the network runs at are multiples of this (pixels)."""
        factor: int = self.config.first_stage_config.params.ddconfig.downsample_factor
        multiple: int = self.config.unet_config.params.size_multiple
        return factor * multiple

    def identity(self) -> ModelIdentity:
        """The hashes of all that decides on its numbers. Reads the files once for the process."""
        from lvdm.modules.attention_backends import numbers_name

        numbers = numbers_name(self.precision.name, self.attention)
        return identify(self.files, self.added.towers, self.added.loras, self.added.schedule, numbers)

    def load(self) -> DynamiCrafterPipeline:
        """The pipeline. Raises `ValueError`."""
        from lvdm.pipeline import DynamiCrafterPipeline

        pipeline = DynamiCrafterPipeline.from_pretrained(
            self.files.config,
            self.files.checkpoint,
            self.machine.device,
            self.machine.dtype,
            self.machine.low_memory,
            self.added.towers,
            self.added.schedule,
            self.machine.attention,
        )
        for path, scale in self.added.loras:
            pipeline.load_lora(path, scale)
        return pipeline


def choose_model(added: ModelParameters, machine: MachineParameters, late_weights: str | None = None) -> ChosenModel:
    """The model that the parameters name; the embedded one when they name none.

    Headers of weight files are read, not the weights. late_weights: another checkpoint for the late steps, which is to
    have the same network. Raises `ValueError` for what does not fit together.
    """
    if added.preset and added.config:
        raise ValueError("--preset brings its own configuration; leave out --config")
    if added.preset and not added.checkpoint:
        files = find_preset(added.preset)
    else:
        source = added.config or added.preset or added.checkpoint or EMBEDDED
        files = find_model(source, added.checkpoint if added.config or added.preset else None)
    model = ChosenModel(files, card_for(files), added, machine)
    if added.towers is not None:
        _check_supplied_encoders(
            files.checkpoint, added.towers, CLIP_ENCODERS if model.config.reads_images else (TEXT_ENCODER,)
        )
    if added.loras:
        _check_loras(model)
    if late_weights is not None:
        if added.loras:
            raise ValueError("a LoRA would change the early weights alone; leave out --late-weights, or --lora")
        from lvdm.checkpoint import check_same_unet

        check_same_unet(files.checkpoint, late_weights)
    return model


def _check_loras(model: ChosenModel) -> None:
    """Raise `ValueError` for a LoRA that does not fit the network."""
    from lvdm.checkpoint import read_checkpoint
    from lvdm.checkpoint.lora import read_lora

    weights = read_checkpoint(model.files.checkpoint)
    shapes = {key: weights.shape(key) for key in weights}
    for path, _ in model.added.loras:
        read_lora(path).check_fits(shapes, f"{model.card.name} ({model.files.checkpoint})")


def _check_supplied_encoders(checkpoint: Path, towers: Path, needed: Sequence[Part]) -> None:
    """Raise `ValueError` unless `checkpoint` lacks an encoder that is `needed`, which `towers` then is to supply."""
    from lvdm.checkpoint import read_checkpoint

    read_checkpoint(towers)
    held = {part_of(key) for key in read_checkpoint(checkpoint)}
    if held.issuperset(needed):
        raise ValueError(f"{checkpoint} has its own text and image encoders; leave out --towers {towers}")
