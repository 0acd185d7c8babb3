"""What a training run trains: the `tuning:` block of a YAML, applied to a model that has been built and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from lvdm.checkpoint.parts import PARTS, Part, part_of
from lvdm.config import ConfigError
from lvdm.declaration.values import Attention
from lvdm.device import DTYPES
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.lora import LoraConfig, inject_lora
from lvdm.modules.attention import CrossAttention, SpatialTransformer, TemporalTransformer
from lvdm.modules.attention_backends import BACKENDS, choose_attention
from lvdm.modules.attention_processors import attend_by
from lvdm.modules.carrier import FrameCarrier
from lvdm.modules.hooks import LayerHooks
from lvdm.modules.layers import ResBlock, TemporalResidual

BlockClass = Literal["ResBlock", "SpatialTransformer", "TemporalTransformer"]
BLOCK_CLASSES: dict[str, type[nn.Module]] = {
    "ResBlock": ResBlock,
    "SpatialTransformer": SpatialTransformer,
    "TemporalTransformer": TemporalTransformer,
}

Trained = Literal["full", "temporal", "spatial", "spatial_context", "image_branch", "lora", "carrier"]


@dataclass(frozen=True)
class TuningConfig:
    """Keys of `tuning:`; the defaults train what the original trains.

    train                   full: UNet, and query transformer and text encoder where `model.params` has them trainable
                            temporal: temporal transformers and temporal convolutions
                            spatial: everything in the UNet but those, and the query transformer
                            spatial_context: the same without the first convolution, so that a concatenated image whose
                            weights there are zero stays without effect
                            image_branch: keys, values and scale of the image cross-attention, and the query transformer
                            lora: adapters in the UNet, or the frame carrier, as `lora` says, and nothing else
                            carrier: the frame carrier alone, by losses of its own; the UNet does not run
    gradient_checkpointing  recompute all blocks (true), none, or those of the named classes instead of keeping their
                            activations; left out, as `use_checkpoint` of the UNet says
    frozen_precision        of CLIP encoders and autoencoder, and of the UNet under LoRA; the autoencoder is never fp16
    attention               what computes the UNet's attention: auto, sdpa, xformers, plain or flash
    """

    train: Trained = "full"
    lora: LoraConfig = field(default_factory=LoraConfig)
    gradient_checkpointing: bool | tuple[BlockClass, ...] | None = None
    frozen_precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    attention: Attention = "auto"

    def check_precision(self, precision: int | str) -> None:
        """Raise `ConfigError` if half-precision weights would meet activations of Lightning's `precision`."""
        autocast = {"16": "fp16", "16-mixed": "fp16", "bf16": "bf16", "bf16-mixed": "bf16"}.get(str(precision), "fp32")
        if self.train == "lora" and self.frozen_precision not in ("fp32", autocast):
            raise ConfigError(
                f"tuning.frozen_precision: {self.frozen_precision} under LoRA needs lightning.precision: "
                f"{'16' if self.frozen_precision == 'fp16' else self.frozen_precision}-mixed, not {precision}"
            )


def check_attention(config: TuningConfig, accelerator: str, precision: int | str) -> None:
    """Raise `AttentionError` for attention that cannot be trained through on `accelerator` at Lightning's precision."""
    named = {"16": torch.float16, "bf16": torch.bfloat16}
    dtype = named.get(str(precision).partition("-")[0], torch.float32)
    choose_attention(config.attention, torch.device(accelerator), dtype, training=True)


@dataclass(frozen=True)
class TuningReport:
    """How much is trained. `counts`: trained and all parameters of each component of the model."""

    train: str
    counts: dict[Part, tuple[int, int]]

    @property
    def trained(self) -> int:
        """Parameters that the optimizer changes."""
        return sum(trained for trained, _ in self.counts.values())

    def __str__(self) -> str:
        total = sum(total for _, total in self.counts.values())
        parts = ", ".join(
            f"{part.name} {trained:,} of {whole:,}" for part, (trained, whole) in self.counts.items() if trained
        )
        return f"training {self.train}: {self.trained:,} of {total:,} parameters ({parts or 'nothing'})"


def apply_tuning(model: nn.Module, config: TuningConfig) -> TuningReport:
    """Freeze, adapt and prepare `model` as `config` says; call it once, after the weights are loaded.

    Raises `ConfigError` for a choice that the model cannot follow.
    """
    if isinstance(model, LatentVisualDiffusion):
        try:
            _choose_trained(model, config)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        _freeze_parts(model, config)
        if config.attention != "auto":
            model.layer_hooks = LayerHooks(attend=attend_by(BACKENDS[config.attention].kernel))
        if config.gradient_checkpointing is not None:
            set_gradient_checkpointing(model.unet, config.gradient_checkpointing)
    elif config != TuningConfig():
        raise ConfigError(
            f"tuning: {type(model).__name__} is always trained as a whole; leave out the block, it is for video models"
        )
    report = count_trained(model, config.train)
    if not report.trained:
        raise ConfigError(f"tuning.train: {config.train} leaves nothing to train in this model; choose another part")
    return report


def count_trained(model: nn.Module, train: str) -> TuningReport:
    """The report on `model` as it is."""
    counts = dict.fromkeys(PARTS, (0, 0))
    for name, parameter in model.named_parameters():
        trained, total = counts[part_of(name)]
        counts[part_of(name)] = trained + parameter.numel() * parameter.requires_grad, total + parameter.numel()
    return TuningReport(train, {part: pair for part, pair in counts.items() if pair[1]})


def set_gradient_checkpointing(unet: nn.Module, chosen: bool | tuple[str, ...]) -> None:
    """Recompute the activations of all blocks of `unet`, of none, or of the classes that are named."""
    names = tuple(BLOCK_CLASSES) if chosen is True else chosen or ()
    for name, block_class in BLOCK_CLASSES.items():
        for block in unet.modules():
            if isinstance(block, block_class):
                inner = getattr(block, "transformer_blocks", None)
                for checkpointed in (block,) if inner is None else inner:
                    checkpointed.use_checkpoint = name in names


def _choose_trained(model: LatentVisualDiffusion, config: TuningConfig) -> None:
    if config.train == "full":
        return
    model.requires_grad_(False)
    if config.train == "temporal":
        for module in model.unet.modules():
            if isinstance(module, TemporalTransformer | TemporalResidual):
                module.requires_grad_(True)
    elif config.train in ("spatial", "spatial_context"):
        model.unet.requires_grad_(True)
        for module in model.unet.modules():
            if isinstance(module, TemporalTransformer | TemporalResidual):
                module.requires_grad_(False)
        model.unet.input_blocks[0].requires_grad_(config.train == "spatial")
        model.image_proj_model.requires_grad_(True)
    elif config.train == "image_branch":
        for parameter in _image_attention(model.unet):
            parameter.requires_grad_(True)
        model.image_proj_model.requires_grad_(True)
    elif config.train == "carrier":
        _carrier(model, "tuning.train").requires_grad_(True)
    else:
        inject_lora(_carrier(model, "tuning.lora.where") if config.lora.where == "carrier" else model.unet, config.lora)


def _carrier(model: LatentVisualDiffusion, option: str) -> FrameCarrier:
    if model.frame_carrier is None:
        raise ValueError(f"{option}: carrier needs a model with a frame carrier; add model.params.frame_carrier_config")
    return model.frame_carrier


def _image_attention(unet: nn.Module) -> Iterator[nn.Parameter]:
    """What the attention to image tokens has of its own: keys, values and the learned scale of the 256 model."""
    for module in unet.modules():
        if isinstance(module, CrossAttention) and module.image_cross_attention:
            yield from module.to_k_ip.parameters()
            yield from module.to_v_ip.parameters()
            if module.image_cross_attention_scale_learnable:
                yield module.alpha


def _freeze_parts(model: LatentVisualDiffusion, config: TuningConfig) -> None:
    """Evaluation mode and `frozen_precision` for every component without a trained parameter.

    The UNet stays in training mode whatever is trained in it: its dropout is part of the original's training.
    """
    dtype = DTYPES[config.frozen_precision]
    for part in (model.first_stage_model, model.cond_stage_model, model.embedder, model.image_proj_model):
        if any(parameter.requires_grad for parameter in part.parameters()):
            continue
        part.eval()
        if dtype != torch.float32 and part is not model.image_proj_model:  # it reads what the encoders make in float32
            part.to(torch.float32 if part is model.first_stage_model and dtype == torch.float16 else dtype)
    if config.train == "lora" and dtype != torch.float32:
        for parameter in model.unet.parameters():
            if not parameter.requires_grad and parameter.ndim > 1:  # norms stay precise
                parameter.data = parameter.data.to(dtype)
