"""Folders of DeepSpeed's ZeRO stages 1 and 2: 16-bit weights in one file, float32 master weights split over the others.

Each process writes the part of the flattened trainable parameters that its optimizer keeps. A parameter is put together
from its fragments in the order of the processes (deepspeed/utils/zero_to_fp32.py describes the layout; newer versions
also store where each fragment lies, `param_slice_mappings`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvdm.checkpoint.pickles import DAMAGE, Inert, first_line, load_pickle
from lvdm.checkpoint.sources import TensorSource
from lvdm.documents import read_text
from lvdm.errors import CheckpointError

MODEL_FILE = "mp_rank_00_model_states.pt"
TAG_FILE = "latest"
DEFAULT_TAG = "checkpoint"
"""The name of the inner folder that Lightning's strategy writes."""

PARTITION = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_00_optim_states\.pt")
STAGE_3_MODEL_FILE = "zero_pp_rank_0_mp_rank_00_model_states.pt"
SECOND_TENSOR_RANK = "mp_rank_01_model_states.pt"

STAND_INS = (
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
)
"""Classes that these files hold beside tensors; none of them is needed, or run, to read the weights."""


@dataclass(frozen=True)
class Fragment:
    """A piece of a parameter: `length` values of partition `rank` in parameter group `group`, from `start`."""

    rank: int
    group: int
    start: int
    length: int


class ZeroSource(TensorSource):
    """Trained parameters from the float32 partitions; everything else, frozen or buffer, from the model's file."""

    def __init__(
        self,
        module: Mapping[str, Tensor],
        partitions: Sequence[Sequence[Tensor]],
        shapes: Mapping[str, tuple[int, ...]],
        fragments: Mapping[str, Sequence[Fragment]],
    ) -> None:
        super().__init__(module)
        self._partitions = partitions
        self._shapes = shapes
        self._fragments = fragments

    def tensor(self, key: str) -> Tensor:
        """The tensor, put together if it is split."""
        if key not in self._fragments:
            return super().tensor(key).detach()
        pieces = [self._partitions[f.rank][f.group].narrow(0, f.start, f.length) for f in self._fragments[key]]
        return torch.cat(pieces).detach().float().view(self._shapes[key])

    def dtype(self, key: str) -> torch.dtype:
        """float32 for trained parameters."""
        return torch.float32 if key in self._fragments else super().dtype(key)


_MAX_TAG = 10_000
"""Bytes of the file that names the newest folder."""


def find_model_file(folder: Path) -> Path | None:
    """The file with the 16-bit weights in the folder of a DeepSpeed checkpoint, None if it is no such folder."""
    tag = DEFAULT_TAG
    if (folder / TAG_FILE).is_file():
        tag = read_text(folder / TAG_FILE, CheckpointError, _MAX_TAG).strip()
        if tag in ("", ".", "..") or Path(tag).name != tag:
            raise CheckpointError(f"{folder / TAG_FILE} should name a folder beside it, it holds {tag[:50]!r}")
    for inside in (folder / tag, folder):
        if (inside / MODEL_FILE).is_file():
            return inside / MODEL_FILE
        if (inside / STAGE_3_MODEL_FILE).is_file():
            raise CheckpointError(
                f"{folder} is of ZeRO stage 3, which splits the weights too; make one file of it with the "
                "zero_to_fp32.py that DeepSpeed put into it, and convert that"
            )
    return None


def partition_files(model_file: Path) -> list[Path]:
    """The files with the float32 weights beside `model_file`, by rank; empty if only the 16-bit weights are here."""
    found = {int(match[1]): path for path in model_file.parent.iterdir() if (match := PARTITION.fullmatch(path.name))}
    missing = sorted(set(range(max(found, default=-1) + 1)) - set(found))
    if missing:
        raise CheckpointError(
            f"{model_file.parent} lacks the optimizer states of rank {', '.join(map(str, missing))}; copy them from "
            "the machine that wrote them, each node may have kept its own"
        )
    return [found[rank] for rank in sorted(found)]


def read_zero(model_file: Path, content: Mapping[Any, Any], files: Sequence[Path]) -> ZeroSource:
    """The float32 weights of `files`, and the rest from `content`, which `model_file` holds.

    Raises `CheckpointError` for partitions that are missing, of another stage, or do not fit the parameters.
    """
    try:
        return _read_zero(model_file, content, files)
    except CheckpointError:
        raise
    except DAMAGE as error:  # whatever has another form than DeepSpeed writes
        raise CheckpointError(
            f"{model_file.parent} is damaged, or its parts are not of one save; copy all of it again "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error


def _read_zero(model_file: Path, content: Mapping[Any, Any], files: Sequence[Path]) -> ZeroSource:
    folder = model_file.parent
    if (folder / SECOND_TENSOR_RANK).is_file():
        raise CheckpointError(f"{folder} is split over tensor-parallel ranks too; only data parallelism is read here")
    states = [load_pickle(path, STAND_INS).get("optimizer_state_dict") for path in files]
    for path, state in zip(files, states, strict=True):
        if not isinstance(state, Mapping) or "single_partition_of_fp32_groups" not in state:
            raise CheckpointError(f"{path} holds no float32 weights of ZeRO stage 1 or 2")
        if _number(state.get("zero_stage")) not in (1, 2):
            raise CheckpointError(f"{path} is of ZeRO stage {_number(state.get('zero_stage'))}; 1 and 2 are read here")
        count = state.get("partition_count", len(files))
        count = max(count) if isinstance(count, list) else count
        if count != len(files):
            raise CheckpointError(
                f"{path} is one of {count} partitions and {len(files)} are in {folder}; copy all of one save together"
            )
    groups = [{str(key): tuple(shape) for key, shape in group.items()} for group in content.get("param_shapes") or ()]
    partitions = [list(state["single_partition_of_fp32_groups"]) for state in states if state]
    if not groups or any(len(partition) != len(groups) for partition in partitions):
        raise CheckpointError(f"{model_file} names other parameter groups than the partitions beside it")
    for path, partition in zip(files, partitions, strict=True):
        if not all(isinstance(part, Tensor) and part.dtype == torch.float32 and part.ndim == 1 for part in partition):
            raise CheckpointError(f"{path} is damaged: its float32 weights are no vectors; copy it again")
    mappings = [state.get("param_slice_mappings") for state in states if state]
    fragments: dict[str, list[Fragment]] = {}
    for index, shapes in enumerate(groups):
        sizes = [partition[index].numel() for partition in partitions]
        if all(mappings):
            fragments |= _mapped(shapes, index, [mapping[index] for mapping in mappings if mapping])
        else:
            fragments |= _consecutive(folder, shapes, index, sizes)
        _check(folder, shapes, index, sizes, fragments)
    shapes = {key: shape for group in groups for key, shape in group.items()}
    other = [key for key, shape in shapes.items() if tuple(content["module"][key].shape) != shape]
    if other:
        raise CheckpointError(f"{model_file} is damaged: {other[0]} has two shapes; copy it again")
    return ZeroSource(content["module"], partitions, shapes, fragments)


def _mapped(
    shapes: Mapping[str, tuple[int, ...]], group: int, mappings: Sequence[Mapping[str, Any]]
) -> dict[str, list[Fragment]]:
    """Fragments as `param_slice_mappings` gives them: for each rank, name -> address(numel, start)."""
    fragments: dict[str, list[Fragment]] = {key: [] for key in shapes}
    for rank, mapping in enumerate(mappings):
        for key, address in mapping.items():
            fields = address.state if isinstance(address, Inert) else None
            if key in fragments and isinstance(fields, Mapping):
                fragments[key].append(Fragment(rank, group, int(fields["start"]), int(fields["numel"])))
    return fragments


def _consecutive(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], group: int, sizes: Sequence[int]
) -> dict[str, list[Fragment]]:
    """Fragments of parameters that follow one another through the partitions without gaps."""
    ends = [sum(sizes[: rank + 1]) for rank in range(len(sizes))]
    fragments: dict[str, list[Fragment]] = {}
    offset = 0
    for key, shape in shapes.items():
        left = math.prod(shape)
        fragments[key] = []
        for rank, end in enumerate(ends):
            begin = end - sizes[rank]
            taken = min(left, end - offset)
            if begin <= offset < end and taken > 0:
                fragments[key].append(Fragment(rank, group, offset - begin, taken))
                offset, left = offset + taken, left - taken
    spare = ends[-1] - offset
    if not 0 <= spare <= 2 * len(sizes) * 2:
        raise CheckpointError(
            f"{folder}: the parameters end {spare} values before the partitions do; they are not of one save"
        )
    return fragments


def _check(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    group: int,
    sizes: Sequence[int],
    fragments: Mapping[str, Sequence[Fragment]],
) -> None:
    for key, shape in shapes.items():
        length = sum(fragment.length for fragment in fragments[key])
        if length != math.prod(shape):
            raise CheckpointError(f"{folder}: the partitions hold {length} of the {math.prod(shape)} values of {key}")
        if any(f.start < 0 or f.start + f.length > sizes[f.rank] for f in fragments[key]):
            raise CheckpointError(f"{folder}: a fragment of {key} lies outside its partition of group {group}")


def _number(stage: Any) -> Any:
    """The value of DeepSpeed's enumeration, which is read as an `Inert`."""
    return stage.arguments[0] if isinstance(stage, Inert) and stage.arguments else stage
