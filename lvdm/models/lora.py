"""Low-rank adapters in a model that is trained: injected with peft, invisible in the keys of the state dict.

peft puts each adapted layer inside one of its own. Hooks give the layer's weight its released key all the same, so that
checkpoints, exports and averaged weights keep the released layout, with the adapter's keys beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lvdm.checkpoint.hashing import checkpoint_hash
from lvdm.checkpoint.lora import TRAINED_ALPHA, TRAINED_DOWN, LoraInfo
from lvdm.config import ConfigError
from lvdm.declaration.ranges import Channels, Dropout, PositiveWeight, with_ranges
from lvdm.modules.attention import SpatialTransformer, TemporalTransformer
from lvdm.modules.carrier import FrameCarrier

ADAPTER = "default"
INNER = "base_layer."
"""What peft writes before the names of the adapted layer's own parameters."""

ATTENTION_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
IMAGE_LAYERS = ("to_k_ip", "to_v_ip")
OTHER_LAYERS = ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")


@with_ranges
@dataclass(frozen=True)
class LoraConfig:
    """Which layers get an adapter and of what size (LoRA, arXiv:2106.09685).

    rank      of the two matrices
    alpha     the adapter is multiplied by alpha / rank; left out, alpha = rank
    dropout   before the first matrix, in training
    where     all attention, or the spatial, temporal or image one: `image` is the keys and values of image tokens;
              or the frame carrier, all linear layers of what reads a motion from the prompt
    modules   linear layers of the UNet's transformers, by the end of their names
    """

    rank: Channels = 16
    alpha: PositiveWeight | None = None
    dropout: Dropout = 0.0
    where: Literal["all", "spatial", "temporal", "image", "carrier"] = "all"
    modules: tuple[str, ...] = (*ATTENTION_LAYERS, *IMAGE_LAYERS)

    def __post_init__(self) -> None:
        known = (*ATTENTION_LAYERS, *IMAGE_LAYERS, *OTHER_LAYERS)
        unknown = [name for name in self.modules if name not in known]
        if unknown or not self.modules:
            raise ValueError(
                f"modules: {', '.join(unknown) or 'none'} cannot be adapted; choose from {', '.join(known)}"
            )

    @property
    def scaled_alpha(self) -> float:
        """alpha, or the rank where it is left out."""
        return float(self.rank) if self.alpha is None else self.alpha


def lora_targets(network: nn.Module, config: LoraConfig) -> list[str]:
    """Names in `network`, a UNet or a frame carrier, of the linear layers that `config` means.

    Raises `ValueError` if there are none.
    """
    if isinstance(network, FrameCarrier):
        layers = network.motion.named_modules(prefix="motion")
        return [name for name, layer in layers if isinstance(layer, nn.Linear)]
    kinds: tuple[type[nn.Module], ...] = (SpatialTransformer, TemporalTransformer)
    if config.where != "all":
        kinds = (TemporalTransformer,) if config.where == "temporal" else (SpatialTransformer,)
    expected = config.modules
    if config.where == "image":
        expected = tuple(name for name in config.modules if name in IMAGE_LAYERS)
    endings = tuple(f".{name}" for name in expected)
    found = [
        f"{name}.{inner}"
        for name, transformer in network.named_modules()
        if isinstance(transformer, kinds)
        for inner, layer in transformer.named_modules()
        if isinstance(layer, nn.Linear) and f".{inner}".endswith(endings)
    ]
    if not endings or not found:
        raise ValueError(
            f"tuning.lora: the UNet has no layers {', '.join(config.modules)} for where: {config.where}; "
            "choose other modules, or where: all"
        )
    return found


def inject_lora(network: nn.Module, config: LoraConfig) -> list[str]:
    """Put adapters into a UNet or a frame carrier, which then trains nothing else; returns the adapted layers' names.

    The second matrix starts as zeros: the model's output does not change. Raises `ValueError` without peft.
    """
    try:
        import peft
    except ImportError as error:
        raise ValueError("LoRA training needs peft: pip install 'dynamicrafter[train]'") from error
    targets = lora_targets(network, config)
    network.requires_grad_(False)
    peft.inject_adapter_in_model(
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.scaled_alpha,  # type: ignore[arg-type]  # used as a factor only
            lora_dropout=config.dropout,
            target_modules=targets,
        ),
        network,
        ADAPTER,
    )
    for _, layer in adapted_layers(network):
        layer.register_state_dict_post_hook(_give_released_names)
        layer.register_load_state_dict_pre_hook(_take_released_names)
        layer.lora_A.requires_grad_(True)
        layer.lora_B.requires_grad_(True)
    return targets


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and peft layer of every adapted layer; nothing if there are none."""
    for name, module in model.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "lora_A"):
            yield name, module


def lora_matrices(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B by the released key of the weight of a whole `model` that they adapt, as `write_lora` takes them."""
    return {
        f"{name}.weight": (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight)
        for name, layer in adapted_layers(model)
    }


def lora_info(model: nn.Module, base: Path | None = None) -> LoraInfo:
    """The metadata of an export of the adapters in `model`, which were trained on the checkpoint `base`."""
    layers = dict(adapted_layers(model))
    first = next(iter(layers.values()))
    named = (*ATTENTION_LAYERS, *IMAGE_LAYERS, *OTHER_LAYERS)
    kinds = {next((name for name in named if key.endswith(name)), key) for key in layers}
    return LoraInfo(
        first.r[ADAPTER],
        float(first.lora_alpha[ADAPTER]),
        f"{len(layers)} layers: {', '.join(sorted(kinds))}",
        base.name if base else "",
        checkpoint_hash(base) if base and base.is_file() else "",  # it may have been moved while the training ran
    )


def check_same_adapters(model: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Raise `ConfigError` unless the state dict `stored` has the adapters of `model`: layers, rank and alpha."""
    here = {name: (layer.r[ADAPTER], float(layer.lora_alpha[ADAPTER])) for name, layer in adapted_layers(model)}
    names = [key.removesuffix(TRAINED_DOWN) for key in stored if key.endswith(TRAINED_DOWN)]
    there = {name: (len(stored[name + TRAINED_DOWN]), float(stored[name + TRAINED_ALPHA])) for name in names}
    if here == there:
        return
    if not here or not there:
        raise ConfigError(
            f"the checkpoint was trained {'with' if there else 'without'} adapters, and tuning asks for the opposite; "
            "use the tuning of that run, or --auto_resume_weight_only"
        )
    name = next(name for name in {**here, **there} if here.get(name) != there.get(name))
    raise ConfigError(
        f"the checkpoint was trained with other adapters than tuning.lora describes: (rank, alpha) of {name} are "
        f"{there.get(name, 'missing')} there and {here.get(name, 'missing')} here; use the tuning of that run, or "
        "--auto_resume_weight_only"
    )


def _give_released_names(layer: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    """`x.base_layer.weight` becomes `x.weight`; the layer's keys are the newest of `state`, so their order stays.

    alpha goes with them: without it, the matrices do not say what they add.
    """
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + key.removeprefix(prefix).removeprefix(INNER)] = state.pop(key)
    state[prefix.removesuffix(".") + TRAINED_ALPHA] = torch.tensor(float(layer.lora_alpha[ADAPTER]))


def _take_released_names(
    layer: Any, state: dict[str, Any], prefix: str, _: Any, strict: bool, __: Any, ___: Any, errors: list[str]
) -> None:
    stored = state.pop(prefix.removesuffix(".") + TRAINED_ALPHA, None)
    if stored is not None and float(stored) != float(layer.lora_alpha[ADAPTER]):
        errors.append(
            f"the adapter of {prefix.removesuffix('.')} was trained with alpha {float(stored):g}, and tuning.lora has "
            f"{float(layer.lora_alpha[ADAPTER]):g}"
        )
    for name in ("weight", "bias"):
        if prefix + name in state:
            state[f"{prefix}{INNER}{name}"] = state.pop(prefix + name)
