"""The model that a job takes: its files, what is added to them, and how it runs, before any weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvdm.checkpoint.keys import read_shapes
from lvdm.checkpoint.parts import CLIP_ENCODERS, DEPTH_ESTIMATOR, TEXT_ENCODER, UNET, Part, part_of
from lvdm.config import load_yaml, model_component
from lvdm.declaration.parameters import InputParameters, ModelParameters
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.declaration.values import Attention
from lvdm.errors import counted
from lvdm.media.geometry import PaddedSize
from lvdm.model_card import ModelCard
from lvdm.model_files import (
    ModelFiles,
    ModelIdentity,
    card_for,
    config_hash,
    find_model,
    find_preset,
    identify,
    usual_preset,
)
from lvdm.model_outline import ModelOutline
from lvdm.model_outlines import OUTLINES
from lvdm.pipeline.placement import WeightPlacement
from lvdm.precision import AUTO_ATTENTION, ON_CPU, PrecisionNames, numbers_name, precision_names, surely_cpu
from lvdm.request.effects import Circumstances, circumstances
from lvdm.request.layers import shown_name
from lvdm.request.settings import GenerationSettings

if TYPE_CHECKING:
    import torch

    from lvdm.models.ddpm3d import LatentVisualDiffusionConfig
    from lvdm.pipeline import DynamiCrafterPipeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenModel:
    """A model by its files; `load` makes a pipeline of it.

    tree       what its YAML holds
    added      LoRAs, supplied encoders and the schedule
    machine    device, dtype and low memory mode as given; `device` and `precision` are what they come to

    `config` and `device` need torch, and are made when they are first asked for: what the card, a list or an image
    decides is refused before. A plan for a model that comes with the package, on a CPU, needs neither. They raise
    `ValueError`, see `check`.
    """

    files: ModelFiles
    card: ModelCard
    tree: Mapping[str, Any] = field(repr=False)
    added: ModelParameters
    machine: MachineParameters

    @cached_property
    def config(self) -> LatentVisualDiffusionConfig:
        """The checked configuration of the network."""
        found: LatentVisualDiffusionConfig = model_component(self.tree, str(self.files.config)).params
        return found

    @cached_property
    def config_hash(self) -> str:
        """That of the `model:` node of its YAML."""
        return config_hash(self.tree)

    @cached_property
    def outline(self) -> ModelOutline:
        """What a plan reads of the networks."""
        known = OUTLINES.get(self.config_hash)
        return ModelOutline.of(self.config) if known is None else known

    @cached_property
    def device(self) -> torch.device:
        """Where it is at work."""
        from lvdm.device import choose_device

        return choose_device(self.machine.device)

    @cached_property
    def device_name(self) -> str:
        """The device by its name, such as cuda:0."""
        return "cpu" if surely_cpu(self.machine.device) else str(self.device)

    def precision(self, low_memory: bool | None = None) -> PrecisionNames:
        """What it computes in, in low memory mode or not; None: as the machine's parameters say."""
        low_memory = self.machine.low_memory if low_memory is None else low_memory
        if self.device_name == "cpu":
            return precision_names(self.machine.dtype, low_memory, ON_CPU)
        from lvdm.device import choose_precision

        return choose_precision(self.machine.dtype, self.device, low_memory).names

    @cached_property
    def attention(self) -> Attention:
        """What computes its attention."""
        if self.machine.attention == "auto":
            return AUTO_ATTENTION
        from lvdm.device import DTYPES
        from lvdm.modules.attention_backends import choose_attention

        return choose_attention(self.machine.attention, self.device, DTYPES[self.precision().weights])

    @cached_property
    def placement(self) -> WeightPlacement:
        """How the weights of its network are kept. Raises `UserError` for what cannot run here."""
        placement = WeightPlacement(self.machine.offload, self.machine.storage)
        if placement != WeightPlacement():
            placement.check(self.device_name == "cpu")
            placement.check_loras(self.added.loras)
        return placement

    def check(self) -> None:
        """Raise `ValueError` for a configuration, a device, a precision or an attention that is not possible."""
        _ = self.placement, self.outline, self.precision(), self.attention

    def check_depth_estimator(self) -> None:
        """Raise `ValueError` where the weights have no depth estimator, or the configuration names none."""
        named = self.tree["model"]["params"].get("depth_stage_config") is not None
        if not named or all(part_of(key) != DEPTH_ESTIMATOR for key in read_shapes(self.files.checkpoint)):
            raise ValueError(
                f"{self.files.checkpoint} has no depth estimator; give depth (--depth), or the estimator's own weights "
                "(--depth-model)"
            )

    def circumstances(
        self, size: PaddedSize, shapes: Iterable[tuple[int, int]], inputs: InputParameters
    ) -> Circumstances:
        """See `lvdm.request.effects.circumstances`."""
        reads_images, timesteps = self.outline.reads_images, self.outline.timesteps
        prompts = inputs.prompt, inputs.negative_prompt
        return circumstances(self.card, size, shapes, *prompts, reads_images=reads_images, timesteps=timesteps)

    def check_steps(self, settings: GenerationSettings) -> None:
        """Raise `ValueError` where sampling has more steps than there are time steps from its beginning down."""
        count = round(settings.truncated_start * self.outline.timesteps)
        if settings.num_inference_steps > count:
            raise ValueError(
                f"truncated_start {settings.truncated_start:g} leaves {counted(count, 'time step')}, fewer than "
                f"num_inference_steps {settings.num_inference_steps}; use fewer steps, or a larger truncated_start"
            )

    def identity(self) -> ModelIdentity:
        """The hashes of all that decides on its numbers. Reads the files once for the process."""
        added, numbers = self.added, numbers_name(self.precision().weights, self.attention, self.machine.storage)
        return identify(self.config_hash, self.files, added.encoders, added.loras, added.schedule, numbers)

    def load(self) -> DynamiCrafterPipeline:
        """The pipeline. Raises `ValueError`."""
        from lvdm.pipeline import DynamiCrafterPipeline

        pipeline = DynamiCrafterPipeline.from_pretrained(
            self.files.config,
            self.files.checkpoint,
            self.machine.device,
            self.machine.dtype,
            self.machine.low_memory,
            self.added.encoders,
            self.added.schedule,
            attention=self.machine.attention,
            offload=self.machine.offload,
            storage=self.machine.storage,
        )
        for path, scale in self.added.loras:
            pipeline.load_lora(path, scale)
        return pipeline


def choose_model(
    added: ModelParameters, machine: MachineParameters, second_stage_unet: str | None = None, mode: str = "animate"
) -> ChosenModel:
    """The model that the parameters name; the usual one of the `mode` when they name none.

    Headers of weight files are read, not the weights. second_stage_unet: another checkpoint for the late steps, which
    is to have the same network. Raises `ValueError` for what does not fit together.
    """
    if added.preset and added.config:
        raise ValueError("--preset brings its own configuration; leave out --config")
    if added.preset and not added.checkpoint:
        files = find_preset(added.preset)
    else:
        source = added.config or added.preset or added.checkpoint or usual_preset(mode)
        files = find_model(source, added.checkpoint if added.config or added.preset else None)
    tree = load_yaml(files.config)
    model = ChosenModel(files, card_for(files, tree), tree, added, machine)
    if added.encoders is not None:
        _check_supplied_encoders(
            files.checkpoint, added.encoders, CLIP_ENCODERS if model.outline.reads_images else (TEXT_ENCODER,)
        )
    if added.loras:
        model = _with_effective_loras(model)
    if second_stage_unet is not None:
        if added.loras:
            raise ValueError("a LoRA would change the early weights alone; leave out --second-stage-unet, or --lora")
        _check_same_unet(files.checkpoint, Path(second_stage_unet))
    return model


def _check_same_unet(checkpoint: Path, other: Path) -> None:
    """Raise `ValueError` unless the networks of both files have the same layers."""
    layers = [
        {key: shape for key, shape in read_shapes(path).items() if part_of(key) == UNET} for path in (checkpoint, other)
    ]
    if layers[0] != layers[1]:
        from lvdm.checkpoint import check_same_unet

        check_same_unet(checkpoint, other)  # says what is different


def _with_effective_loras(model: ChosenModel) -> ChosenModel:
    """The model without the LoRAs whose scale is 0. Raises `ValueError` for one that does not fit the network."""
    from lvdm.checkpoint.lora import read_lora

    shapes = read_shapes(model.files.checkpoint)
    for path, scale in model.added.loras:
        read_lora(path).check_fits(shapes, f"{model.card.name} ({model.files.checkpoint})")
        if scale == 0:
            logger.warning("%s of %s has no effect: its scale is 0", path, shown_name("loras"))
    effective = tuple((path, scale) for path, scale in model.added.loras if scale != 0)
    return replace(model, added=replace(model.added, loras=effective))


def _check_supplied_encoders(checkpoint: Path, encoders: Path, needed: Sequence[Part]) -> None:
    """Raise `ValueError` unless `checkpoint` lacks an encoder that is `needed`, which `encoders` then is to supply."""
    read_shapes(encoders)
    held = {part_of(key) for key in read_shapes(checkpoint)}
    if held.issuperset(needed):
        raise ValueError(f"{checkpoint} has its own text and image encoders; leave out --encoders {encoders}")
