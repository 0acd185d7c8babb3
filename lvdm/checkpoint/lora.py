"""Low-rank adapters (LoRA, arXiv:2106.09685) as files, and their sum with the weights that they were trained on.

A file is a small safetensors: `<layer>.lora_A.weight` (rank, in) and `<layer>.lora_B.weight` (out, rank) for each
adapted layer, whose weight is `<layer>.weight` in the released layout; rank, alpha and the base model in the metadata.
Using a file needs nothing but this module; training one does (`lvdm.models.lora`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lvdm.checkpoint.reading import CheckpointFile, read_checkpoint
from lvdm.checkpoint.writing import write_safetensors
from lvdm.errors import CheckpointError
from lvdm.regular_files import absence_reason

FORMAT = "dynamicrafter-lora/1"
PREFIX = "dynamicrafter.lora."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
TRAINED_DOWN, TRAINED_UP, TRAINED_ALPHA = ".lora_A.default.weight", ".lora_B.default.weight", ".lora_alpha"
"""Ends of the keys that a training of adapters has beside the released ones in its checkpoints."""


@dataclass(frozen=True)
class LoraInfo:
    """What a LoRA file says of itself.

    rank, alpha   the product of the two matrices is multiplied by alpha / rank
    targets       what was adapted, in words
    base          name of the checkpoint that it was trained on; empty if that is not known
    base_sha256   hash of that file; empty if that is not known
    """

    rank: int
    alpha: float
    targets: str
    base: str = ""
    base_sha256: str = ""


@dataclass(frozen=True)
class Lora:
    """Matrices A (rank, in) and B (out, rank) by the key of the weight that they change, and where they came from."""

    path: Path
    info: LoraInfo
    layers: Mapping[str, tuple[Tensor, Tensor]]

    def delta(self, key: str) -> Tensor:
        """What scale 1 adds to the weight `key`, (out, in) float32."""
        down, up = self.layers[key]
        return (up.float() @ down.float()) * (self.info.alpha / self.info.rank)

    def check_fits(self, shapes: Mapping[str, tuple[int, ...]], model: str) -> None:
        """Raise `CheckpointError` unless every adapted weight is in `shapes` (key -> shape) with the same shape.

        model: what to call the model in the message
        """
        for key, (down, up) in self.layers.items():
            layer, wanted = key.removesuffix(".weight"), (up.shape[0], down.shape[1])
            if key not in shapes:
                raise CheckpointError(
                    f"{self.path} does not fit {model}: it adapts {layer}, which that model does not have; "
                    f"use it with {self._base()}"
                )
            if tuple(shapes[key]) != wanted:
                raise CheckpointError(
                    f"{self.path} does not fit {model}: {layer} is {_shape(wanted)} in the LoRA and "
                    f"{_shape(shapes[key])} in the model; use it with {self._base()}"
                )

    def _base(self) -> str:
        return f"the model it was trained on, {self.info.base}" if self.info.base else "the model it was trained on"


def write_lora(path: str | Path, layers: Mapping[str, tuple[Tensor, Tensor]], info: LoraInfo) -> Path:
    """Write A and B by weight key, as `Lora.layers` holds them, whole or not at all; returns the path."""
    path = Path(path)
    tensors = {}
    for key, (down, up) in layers.items():
        layer = key.removesuffix(".weight")
        tensors[layer + DOWN] = down
        tensors[layer + UP] = up
    metadata = {PREFIX + name: str(getattr(info, name)) for name in LoraInfo.__dataclass_fields__}
    write_safetensors(path, tensors, {"format": "pt", PREFIX + "format": FORMAT} | metadata)
    return path


def is_adapter_key(key: str) -> bool:
    """Whether a key of a training's state dict belongs to an adapter, not to the released layout."""
    return key.endswith((TRAINED_DOWN, TRAINED_UP, TRAINED_ALPHA))


def adapters_in(file: CheckpointFile) -> Lora | None:
    """The adapters in a checkpoint of a training with `tuning: {train: lora}`; None if there are none."""
    names = [key.removesuffix(TRAINED_DOWN) for key in file if key.endswith(TRAINED_DOWN)]
    if not names:
        return None
    lacking = [name for name in names if name + TRAINED_UP not in file or name + TRAINED_ALPHA not in file]
    if lacking:
        raise CheckpointError(f"{file.path} is incomplete: the adapter of {lacking[0]} lacks a part; copy it again")
    layers = {f"{name}.weight": _pair(file, name + TRAINED_DOWN, name + TRAINED_UP) for name in names}
    rank, alpha = file.shape(names[0] + TRAINED_DOWN)[0], float(file[names[0] + TRAINED_ALPHA])
    return Lora(file.path, LoraInfo(rank, alpha, f"{len(names)} layers"), layers)


def read_lora(path: str | Path) -> Lora:
    """Read a LoRA file, or the adapters in a checkpoint of their training.

    Raises `CheckpointError` for a file that is something else, or incomplete.
    """
    file = read_checkpoint(path)
    trained = adapters_in(file)
    if trained is not None:
        return trained
    if file.metadata.get(PREFIX + "format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a LoRA of this project (its metadata lacks {PREFIX}format); "
            "give a file that training with `tuning: {train: lora}` exported"
        )
    layers = {}
    for key in file:
        if not key.endswith((DOWN, UP)):
            raise CheckpointError(f"{path} holds {key}, which is no part of a LoRA; export it again")
        layer = key.removesuffix(DOWN)
        if key.endswith(DOWN):
            if layer + UP not in file:
                raise CheckpointError(f"{path} is incomplete: it lacks {layer}{UP}; copy or export it again")
            layers[layer + ".weight"] = _pair(file, key, layer + UP)
    if not layers:
        raise CheckpointError(f"{path} holds no adapted layers; export it again")
    return Lora(Path(path), _read_info(Path(path), file.metadata), layers)


def _pair(file: CheckpointFile, down: str, up: str) -> tuple[Tensor, Tensor]:
    """A and B of a layer. Raises `CheckpointError` for what cannot be multiplied."""
    shapes = file.shape(down), file.shape(up)
    floats = file.dtype(down).is_floating_point and file.dtype(up).is_floating_point
    if not floats or [len(shape) for shape in shapes] != [2, 2] or shapes[0][0] != shapes[1][1]:
        raise CheckpointError(
            f"{file.path}: {down} and {up} should be matrices of floats with one rank, they are {file.dtype(down)} "
            f"{list(shapes[0])} and {file.dtype(up)} {list(shapes[1])}; export it again"
        )
    return file[down], file[up]


def _read_info(path: Path, metadata: Mapping[str, str]) -> LoraInfo:
    text = {name: metadata.get(PREFIX + name, "") for name in LoraInfo.__dataclass_fields__}
    try:
        info = LoraInfo(int(text["rank"]), float(text["alpha"]), text["targets"], text["base"], text["base_sha256"])
    except ValueError as error:
        raise CheckpointError(f"{path}: rank and alpha in its metadata are not numbers; export it again") from error
    if info.rank < 1 or not math.isfinite(info.alpha):
        raise CheckpointError(f"{path}: rank {info.rank} and alpha {info.alpha} are not possible; export it again")
    return info


def add_loras(key: str, weight: Tensor, loras: Sequence[tuple[Lora, float]]) -> Tensor:
    """`weight` plus scale x delta of every LoRA that adapts `key`, summed in float32 and cast back once.

    A LoRA of scale 0 changes no bit; without any to add, `weight` itself is returned.
    """
    active = [(lora, scale) for lora, scale in loras if scale and key in lora.layers]
    if not active:
        return weight
    total = weight.float()
    for lora, scale in active:
        total = total + scale * lora.delta(key).to(weight.device)
    return total.to(weight.dtype)


class MergedCheckpoint(CheckpointFile):
    """A checkpoint whose adapted weights are read with the LoRAs added; everything else is the file's own.

    Adapters that lie beside the weights, in a checkpoint of their training, are added too, and their keys left out.
    """

    def __init__(self, base: CheckpointFile, loras: Sequence[tuple[Lora, float]]) -> None:
        for lora, _ in loras:
            lora.check_fits({key: base.shape(key) for key in base}, str(base.path))
        stored = {key: name for key, name in base.stored.items() if not is_adapter_key(key)}
        super().__init__(base.path, base.format, base._source, stored, base.metadata, base.averaged)
        own = adapters_in(base)
        self._loras = (*loras, (own, 1.0)) if own else tuple(loras)

    def __getitem__(self, key: str) -> Tensor:
        return add_loras(key, super().__getitem__(key), self._loras)


def parse_lora_option(text: str) -> tuple[Path, float]:
    """`file` or `file:scale` as given on the command line. Raises `CheckpointError` for a file that is not there."""
    path, scale = Path(text), 1.0
    head, colon, tail = text.rpartition(":")
    if colon and not path.is_file():
        try:
            path, scale = Path(head), float(tail)
        except ValueError:
            path = Path(text)
    if not math.isfinite(scale):
        raise CheckpointError(f"--lora {text}: the scale should be a number such as 0.8")
    reason = absence_reason(path)
    if reason is not None:
        raise CheckpointError(f"--lora {text}: {path} {reason}; name a file, or file:scale")
    return path, scale


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
