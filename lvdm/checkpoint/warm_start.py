"""Begin a training from a checkpoint of another model: take what fits, adapt what nearly fits, say what was left.

VideoCrafter's checkpoints have DynamiCrafter's keys with 4 input channels instead of 8, no or fewer image tokens and,
in some, relative positions. Autoencoders, CLIP encoders and older stages of the same training are parts of a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvdm.checkpoint.difference import Shape
from lvdm.checkpoint.families import FIRST_LAYER, QUERIES
from lvdm.checkpoint.parts import PARTS, SCHEDULE, UNET, Part, part_of
from lvdm.checkpoint.reading import CheckpointFile
from lvdm.errors import CheckpointError

LAST_LAYER = f"{UNET.prefix}out.2.weight"
"""Of the UNet; it has as many output channels as there are of noise."""
POSITIONS = ".embeddings_table"
MAX_LISTED = 4
"""Kinds of tensors named in one line of the report."""

Adapter = Callable[[Tensor, Tensor], Tensor]
"""From the file's tensor and the model's own, initial one."""


@dataclass(frozen=True)
class Adaptation:
    """How a tensor of another shape is made to fit, and what to report about it."""

    description: str
    apply: Adapter


@dataclass(frozen=True)
class WarmStartPlan:
    """What a file can give a model, by key.

    matched  taken as they are
    adapted  taken and made to fit
    initial  of the model, keep their initial values: absent from the file, or of a shape that cannot be made to fit
    unused   of the file
    """

    matched: tuple[str, ...]
    adapted: Mapping[str, Adaptation]
    initial: tuple[str, ...]
    unused: tuple[str, ...]

    def gives(self, part: Part) -> bool:
        """Whether anything is taken for `part`."""
        return any(part_of(key) == part for key in (*self.matched, *self.adapted))

    def lines(self) -> list[str]:
        """One line for each component of the model or the file. The noise schedule is the model's own, always."""
        lines = []
        for part in PARTS:
            plan = WarmStartPlan(
                tuple(key for key in self.matched if part_of(key) == part),
                {key: how for key, how in self.adapted.items() if part_of(key) == part},
                tuple(key for key in self.initial if part_of(key) == part),
                tuple(key for key in self.unused if part_of(key) == part),
            )
            if plan.matched or plan.adapted or plan.initial or plan.unused:
                lines.append(f"{part.name}: {_describe(part, plan)}")
        return lines


def plan_warm_start(model: Mapping[str, Shape], file: Mapping[str, Shape], tokens_per_frame: int = 16) -> WarmStartPlan:
    """Compare shapes by key. `tokens_per_frame`: how many of the query transformer's tokens belong to one frame."""
    matched, initial = [], []
    adapted: dict[str, Adaptation] = {}
    noise_channels = model[LAST_LAYER][0] if LAST_LAYER in model else 0
    for key, shape in model.items():
        if part_of(key) == SCHEDULE:
            continue
        if file.get(key) == shape:
            matched.append(key)
            continue
        adaptation = _adaptation(key, file[key], shape, tokens_per_frame, noise_channels) if key in file else None
        if adaptation is None:
            initial.append(key)
        else:
            adapted[key] = adaptation
    used = {*matched, *adapted}
    unused = tuple(key for key in file if key not in used and part_of(key) != SCHEDULE)
    return WarmStartPlan(tuple(matched), adapted, tuple(initial), unused)


def warm_start(model: nn.Module, checkpoint: CheckpointFile) -> WarmStartPlan:
    """Copy into `model` what `checkpoint` can give it; returns what that was.

    The model's noise schedule stays its own, as in the original's training. Raises `CheckpointError` if the two have
    nothing in common, or a UNet whose layers are of other sizes.
    """
    targets = model.state_dict(keep_vars=True)
    tokens = getattr(model, "tokens_per_frame", 16)
    shapes = {key: tuple(value.shape) for key, value in targets.items()}
    plan = plan_warm_start(shapes, {key: checkpoint.shape(key) for key in checkpoint}, tokens)
    _check(plan, shapes, checkpoint)
    with torch.no_grad():
        for key in plan.matched:
            targets[key].copy_(checkpoint[key])
        for key, adaptation in plan.adapted.items():
            targets[key].copy_(adaptation.apply(checkpoint[key], targets[key]))
    return plan


def unfilled_frozen_parts(model: nn.Module, plans: Sequence[WarmStartPlan]) -> list[Part]:
    """Components with a parameter that is not trained of which no plan took anything: those stay random for ever."""
    frozen = {part_of(name) for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return [part for part in PARTS if part in frozen and not any(plan.gives(part) for plan in plans)]


def _check(plan: WarmStartPlan, model: Mapping[str, Shape], checkpoint: CheckpointFile) -> None:
    taken = [*plan.matched, *plan.adapted]
    if not taken:
        own, theirs = (next(iter(keys), "nothing") for keys in (model, checkpoint))
        raise CheckpointError(
            f"{checkpoint.path} and the model have no tensor in common: the file holds {theirs}, the model {own}; "
            "use a checkpoint of this model or of a part of it"
        )
    if FIRST_LAYER in model and FIRST_LAYER in checkpoint and FIRST_LAYER not in taken:
        raise CheckpointError(
            f"{checkpoint.path} holds a UNet of other sizes: its first layer is {checkpoint.shape(FIRST_LAYER)}, the "
            f"model's {model[FIRST_LAYER]}; use the unet_config that belongs to it"
        )


def _adaptation(key: str, file: Shape, model: Shape, tokens_per_frame: int, noise_channels: int) -> Adaptation | None:
    inputs_differ = key == FIRST_LAYER and len(file) == 4 and (file[0], *file[2:]) == (model[0], *model[2:])
    if inputs_differ and file[1] < model[1]:
        return Adaptation(
            f"{file[1]} input channels widened to {model[1]} with zeros", lambda value, _: _widen(value, model)
        )
    if inputs_differ and file[1] > model[1] > noise_channels > 0:
        return Adaptation(
            f"the {noise_channels} input channels of the noise; the others keep their initial values",
            lambda value, initial: torch.cat(
                [value[:, :noise_channels].to(initial), initial[:, noise_channels:]], dim=1
            ),
        )
    if key == QUERIES and file[2:] == model[2:] and not file[1] % tokens_per_frame and not model[1] % tokens_per_frame:
        frames = file[1] // tokens_per_frame, model[1] // tokens_per_frame
        return Adaptation(
            f"tokens of {frames[0]} frames spread over {frames[1]}", lambda value, _: _spread_frames(value, *frames)
        )
    if key.endswith(POSITIONS) and file[1:] == model[1:] and file[0] % 2 and model[0] % 2:
        return Adaptation(
            f"distances up to {file[0] // 2} frames made {model[0] // 2}",
            lambda value, _: _spread_distances(value, model[0]),
        )
    return None


def _widen(value: Tensor, shape: Shape) -> Tensor:
    """A convolution that ignores the added input channels, so that the network computes what it did."""
    widened = value.new_zeros(shape)
    widened[:, : value.shape[1]] = value
    return widened


def _spread_frames(value: Tensor, frames: int, target: int) -> Tensor:
    """Query tokens (1, frames x l, d), frame-major: each target frame takes those of the nearest in relative time."""
    blocks = value.unflatten(1, (frames, -1))
    nearest = torch.linspace(0, frames - 1, target, dtype=torch.float64).add(0.5).long()
    return blocks[:, nearest].flatten(1, 2)


def _spread_distances(value: Tensor, length: int) -> Tensor:
    """A table of clipped distances (2 L + 1, d) for another L: farther distances take the farthest row there is."""
    reach, target = value.shape[0] // 2, length // 2
    return value[torch.arange(-target, target + 1).clamp(-reach, reach) + reach]


def _describe(part: Part, plan: WarmStartPlan) -> str:
    total = len(plan.matched) + len(plan.adapted) + len(plan.initial)
    if total == len(plan.initial) and not plan.unused:
        return f"not in the file, all {total} tensors keep their initial values"
    if not total:
        return f"{len(plan.unused)} tensors of the file are not used, the model has no such part"
    texts = [f"{len(plan.matched)} of {total} tensors taken"]
    kinds = Counter(f"{_kind(key, part)} ({how.description})" for key, how in plan.adapted.items())
    texts += [f"{len(plan.adapted)} adapted: {_list(kinds)}"] if kinds else []
    texts += [f"{len(plan.initial)} keep their initial values: {_kinds(plan.initial, part)}"] if plan.initial else []
    texts += [f"{len(plan.unused)} of the file are not used: {_kinds(plan.unused, part)}"] if plan.unused else []
    return "; ".join(texts)


def _kinds(keys: Sequence[str], part: Part) -> str:
    return _list(Counter(_kind(key, part) for key in keys))


def _kind(key: str, part: Part) -> str:
    """The layer of a key inside its block, by which tensors of many blocks are reported together: attn2.to_k_ip."""
    words = key.removeprefix(part.prefix).split(".")
    numbers = [index for index, word in enumerate(words[:-2]) if word.isdigit()]
    inside = words[numbers[-1] + 1 :] if numbers else words
    if "temopral_conv" in words:
        return "temopral_conv"
    if inside[0].isdigit():
        return ".".join(words)
    return ".".join(inside[: 2 if inside[0].startswith("attn") else 1])


def _list(kinds: Counter[str]) -> str:
    shown = ", ".join(f"{kind} x {count}" if count > 1 else kind for kind, count in kinds.most_common(MAX_LISTED))
    return shown + (f" and {len(kinds) - MAX_LISTED} other kinds" if len(kinds) > MAX_LISTED else "")
