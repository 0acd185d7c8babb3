"""From a checkpoint file into a module that was built on the meta device, one tensor at a time.

Host memory stays at the bytes of the target precision: source tensors are memory-mapped, and each target takes its
memory when it is filled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lvdm.checkpoint.casting import check_values, target_dtype
from lvdm.checkpoint.difference import StateDictDifference
from lvdm.checkpoint.families import FIRST_LAYER
from lvdm.checkpoint.filling import fill
from lvdm.checkpoint.parts import CLIP_ENCODERS, SCHEDULE, SCHEDULE_KEYS, UNET, Part, part_of
from lvdm.checkpoint.reading import CheckpointFile, read_checkpoint
from lvdm.errors import CheckpointError

logger = logging.getLogger(__name__)

DERIVED = (".attn_mask", ".position_ids", "embedder.mean", "embedder.std", "lvlb_weights", "logvar")
"""Ends of keys that some versions of the libraries store although they follow from the configuration."""


@dataclass
class LoadReport:
    """What loading did besides copying.

    renamed   key in the file -> released key
    computed  schedule buffers that the file lacks and the configuration gives
    supplied  keys that came from the `encoders` checkpoint
    ignored   keys of the file that hold nothing to load
    cast      how many tensors changed from which dtype to which
    warnings  what the user should know, already logged
    """

    renamed: dict[str, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    supplied: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    cast: dict[tuple[torch.dtype, torch.dtype], int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        """Record and log a warning."""
        self.warnings.append(message)
        logger.warning(message)


def load_into(
    module: nn.Module,
    checkpoint: CheckpointFile,
    dtype: torch.dtype | None = None,
    *,
    device: torch.device | str = "cpu",
    encoders: CheckpointFile | None = None,
    schedule: Literal["config", "file"] = "config",
) -> LoadReport:
    """Fill `module`, with its parameters on the meta device, from `checkpoint`; every key must be there and fit.

    dtype     of the parameters; None keeps what `module` was built with. The schedule is always float32
    device    where the tensors go
    encoders    a full checkpoint, or one of open_clip, that supplies the text and image encoders a pruned file lacks
    schedule  whose buffers are kept where file and configuration disagree, which is a warning with its size

    Raises `CheckpointError` with the missing, unexpected and misshapen keys grouped by component.
    """
    report = LoadReport(renamed=checkpoint.renamed)
    targets = module.state_dict(keep_vars=True)
    _check_buffers(module, targets)
    report.ignored = [key for key in checkpoint if key not in targets and key.endswith(DERIVED)]
    difference = StateDictDifference.between(
        {key: tuple(value.shape) for key, value in targets.items()},
        {key: checkpoint.shape(key) for key in checkpoint if key not in report.ignored},
    )
    if difference.lacks_all_of(UNET) or FIRST_LAYER in difference.misshapen:
        raise CheckpointError(difference.describe(checkpoint))
    borrowed = _borrow(difference, checkpoint, encoders, targets)
    difference = difference.without_missing({*borrowed, *SCHEDULE_KEYS})
    if difference:
        raise CheckpointError(difference.describe(checkpoint))
    report.supplied = list(borrowed)

    def converted() -> Iterator[tuple[str, Tensor]]:
        for key, target in targets.items():
            if part_of(key) == SCHEDULE and not (schedule == "file" and key in checkpoint):
                yield key, target.detach()
            else:
                file, name = borrowed.get(key, (checkpoint, key))
                yield key, _converted(key, file[name], target, dtype, device, report)

    fill(module, converted(), device)
    _compare_schedule(targets, checkpoint, schedule, report)
    return report


def check_same_unet(path: str | Path, other: str | Path) -> None:
    """Raise `CheckpointError` where the UNet of checkpoint `other` has other keys or shapes than that of `path`."""
    last = read_checkpoint(other)
    difference = StateDictDifference.between(_unet_shapes(read_checkpoint(path)), _unet_shapes(last))
    if difference:
        raise CheckpointError(difference.describe(last))


def _unet_shapes(checkpoint: CheckpointFile) -> dict[str, tuple[int, ...]]:
    return {key: checkpoint.shape(key) for key in checkpoint if part_of(key) == UNET}


def read_unet(path: str | Path, unet: nn.Module) -> dict[str, Tensor]:
    """The UNet of a checkpoint by the names of `unet`, which it fits, in the dtypes of `unet` and on the CPU.

    Raises `CheckpointError` for a file of another architecture.
    """
    checkpoint, report = read_checkpoint(path), LoadReport()
    targets = {f"{UNET.prefix}{name}": tensor for name, tensor in unet.state_dict().items()}
    shapes = {key: tuple(tensor.shape) for key, tensor in targets.items()}
    difference = StateDictDifference.between(shapes, _unet_shapes(checkpoint))
    if difference:
        raise CheckpointError(difference.describe(checkpoint))
    return {
        key.removeprefix(UNET.prefix): _converted(key, checkpoint[key], target, target.dtype, "cpu", report)
        for key, target in targets.items()
    }


def _borrow(
    difference: StateDictDifference,
    checkpoint: CheckpointFile,
    supplier: CheckpointFile | None,
    targets: Mapping[str, Tensor],
) -> dict[str, tuple[CheckpointFile, str]]:
    """Key -> file and key in it, for the encoders that are wholly missing from `checkpoint`."""
    absent = [part for part in CLIP_ENCODERS if difference.lacks_all_of(part)]
    if not absent:
        return {}
    names = " and the ".join(part.name for part in absent)
    if supplier is None:
        raise CheckpointError(
            f"{checkpoint.path} is pruned: it lacks the {names}; name a full checkpoint, or open_clip's own weights, "
            "that supplies them with --encoders (encoders=... in Python)"
        )
    found = {}
    for part in absent:
        for key in (key for key in targets if part_of(key) == part):
            name = _name_in_supplier(key, part, supplier)
            if name is None or supplier.shape(name) != tuple(targets[key].shape):
                problem = (
                    "lacks it"
                    if name is None
                    else f"holds it as {supplier.shape(name)}, not {tuple(targets[key].shape)}"
                )
                raise CheckpointError(f"{supplier.path} cannot supply {key} of the {part.name}: it {problem}")
            found[key] = (supplier, name)
    return found


def _name_in_supplier(key: str, part: Part, supplier: CheckpointFile) -> str | None:
    """`key` as a full checkpoint has it, or without its prefix, as open_clip's own files have it."""
    return next((name for name in (key, key.removeprefix(f"{part.prefix}model.")) if name in supplier), None)


def _converted(
    key: str, value: Tensor, target: Tensor, dtype: torch.dtype | None, device: torch.device | str, report: LoadReport
) -> Tensor:
    wanted = target_dtype(key, target.dtype, dtype)
    check_values(key, value, wanted)
    if value.dtype != wanted:
        report.cast[value.dtype, wanted] = report.cast.get((value.dtype, wanted), 0) + 1
    # A copy even where nothing changes: the model must not depend on the file staying as it is.
    return value.to(device=device, dtype=wanted, copy=True, memory_format=torch.contiguous_format)


def _compare_schedule(targets: Mapping[str, Tensor], checkpoint: CheckpointFile, kept: str, report: LoadReport) -> None:
    own = {key: value for key, value in targets.items() if part_of(key) == SCHEDULE}
    report.computed = [key for key in own if key not in checkpoint]
    stored = [key for key in own if key in checkpoint]
    if report.computed and stored:
        report.warn(f"{checkpoint.path} lacks {', '.join(report.computed)}; computed from the configuration")
    differences = {}
    for key in stored:
        value = checkpoint[key]
        if not _equal_as_stored(value, own[key]):
            differences[key] = float((value.double() - own[key].double()).abs().max())
    if differences:
        listed = ", ".join(f"{key} by up to {size:.3g}" for key, size in differences.items())
        other = (
            "schedule='file' takes the file's" if kept == "config" else "schedule='config' takes the configuration's"
        )
        report.warn(
            f"the noise schedule in {checkpoint.path} is not that of the configuration: {listed}; "
            f"using that of the {'configuration' if kept == 'config' else 'file'} ({other})"
        )
    elif kept == "file":
        report.warn(f"schedule (--schedule) has no effect: {checkpoint.path} has no other one than the configuration")


def _equal_as_stored(stored: Tensor, computed: Tensor) -> bool:
    """Whether `stored` is `computed` up to the rounding of the stored dtype and a last bit of float32."""
    info = torch.finfo(stored.dtype)
    smallest = info.smallest_normal * info.eps
    return torch.allclose(
        stored.double(), computed.double(), rtol=max(info.eps, 1e-6), atol=max(smallest, 1e-9), equal_nan=True
    )


def _check_buffers(module: nn.Module, targets: Mapping[str, Tensor]) -> None:
    """Raise for buffers on the meta device that no checkpoint fills."""
    empty = [name for name, value in module.named_buffers() if value.is_meta]
    unfilled = [name for name in empty if name not in targets or part_of(name) == SCHEDULE]
    if unfilled:
        raise CheckpointError(
            f"{len(unfilled)} buffers of {type(module).__name__} have no values and no checkpoint fills them, such as "
            f"{unfilled[0]}; build them on a real device"
        )
