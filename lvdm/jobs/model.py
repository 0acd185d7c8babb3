"""The model that a job takes: its files, what is added to them, and how it runs, before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lvdm.checkpoint import check_same_unet, read_checkpoint
from lvdm.checkpoint.lora import read_lora
from lvdm.checkpoint.parts import TEXT_TOWER, TOWERS, Part, part_of
from lvdm.config import load_model_config
from lvdm.device import Precision, choose_device, choose_precision
from lvdm.model_card import ModelCard
from lvdm.model_files import EMBEDDED, ModelFiles, ModelIdentity, card_for, find_model, find_preset, identify
from lvdm.models.ddpm3d import LatentVisualDiffusionConfig
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.request.parameters import MachineParameters, ModelParameters


@dataclass(frozen=True)
class ChosenModel:
    """A model by its files; `load` makes a pipeline of it.

    added      LoRAs, supplied encoders and the schedule
    machine    device, dtype and low memory mode as given; `device` and `precision` are what they come to
    config     the checked configuration of the network
    """

    files: ModelFiles
    card: ModelCard
    added: ModelParameters
    machine: MachineParameters
    device: torch.device
    precision: Precision
    config: LatentVisualDiffusionConfig

    @property
    def size_multiple(self) -> int:
        """The sides that the network runs at are multiples of this (pixels)."""
        factor: int = self.config.first_stage_config.params.ddconfig.downsample_factor
        multiple: int = self.config.unet_config.params.size_multiple
        return factor * multiple

    def identity(self) -> ModelIdentity:
        """The hashes of all that decides on its numbers. Reads the files once for the process."""
        return identify(self.files, self.added.towers, self.added.loras, self.added.schedule, self.precision.name)

    def load(self) -> DynamiCrafterPipeline:
        """The pipeline. Raises `ValueError`."""
        pipeline = DynamiCrafterPipeline.from_pretrained(
            self.files.config,
            self.files.checkpoint,
            self.machine.device,
            self.machine.dtype,
            self.machine.low_memory,
            self.added.towers,
            self.added.schedule,
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
    config = load_model_config(files.config).params
    card = card_for(files)
    device = choose_device(machine.device)
    precision = choose_precision(machine.dtype, device, machine.low_memory)
    if added.towers is not None:
        _check_towers(files.checkpoint, added.towers, TOWERS if config.reads_images else (TEXT_TOWER,))
    for path, _ in added.loras:
        weights = read_checkpoint(files.checkpoint)
        read_lora(path).check_fits({key: weights.shape(key) for key in weights}, f"{card.name} ({files.checkpoint})")
    if late_weights is not None:
        if added.loras:
            raise ValueError("a LoRA would change the early weights alone; leave out --late-weights, or --lora")
        check_same_unet(files.checkpoint, late_weights)
    return ChosenModel(files, card, added, machine, device, precision, config)


def _check_towers(checkpoint: Path, towers: Path, needed: Sequence[Part]) -> None:
    """Raise `ValueError` unless `checkpoint` lacks an encoder that is `needed`, which `towers` then is to supply."""
    read_checkpoint(towers)
    held = {part_of(key) for key in read_checkpoint(checkpoint)}
    if held.issuperset(needed):
        raise ValueError(f"{checkpoint} has its own text and image encoders; leave out --towers {towers}")
