"""Pickles of torch, read as data only: the one `torch.load` in the tree, always with `weights_only`."""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from lvdm.errors import CheckpointError
from lvdm.regular_files import check_unpacked_sizes, open_regular

MAX_COMPRESSED = 50_000_000
"""Bytes that a compressed part of an archive may unpack to; torch compresses none."""

DAMAGE = (OSError, EOFError, RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError, struct.error)
"""What torch raises for damaged archives depends on where the damage is."""


class Inert:
    """Stands for a class of another library in a pickle: takes what it is given and does nothing.

    `arguments` are those of its construction, `state` is what was set on it afterwards.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __new__(cls, *arguments: Any) -> Inert:
        """An instance whose constructor may never be called, as pickles do."""
        made = super().__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __hash__(self) -> int:
        return id(self)


TENSOR_CLASSES = ("torchao.optim.subclass_8bit.OptimState8bit",)
"""Of optimizer moments in 8 bits, which checkpoints of a training may hold."""


class InertTensor(torch.Tensor):
    """Stands for another library's class of tensors in a pickle: has their shape, but no values."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Nothing can be computed with it."""
        raise TypeError(f"{func} of a tensor whose class is left out")


def load_pickle(path: Path, stand_ins: Sequence[str] = ()) -> Mapping[Any, Any]:
    """The dictionary in a file of `torch.save`, memory-mapped where the file is a zip archive.

    `stand_ins` are dotted names of classes that may occur and become `Inert`, as `TENSOR_CLASSES` become
    `InertTensor`; any other class is refused.
    Raises `CheckpointError` in one line.
    """
    try:
        check_unpacked_sizes(path, MAX_COMPRESSED)
        with open_regular(path) as file:
            is_zip = file.read(2) == b"PK"
        inert: list[Any] = [*((Inert, name) for name in stand_ins), *((InertTensor, name) for name in TENSOR_CLASSES)]
        with torch.serialization.safe_globals(inert):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        if not is_zip and _ends_early(path):
            raise CheckpointError(damaged(path, EOFError("it ends within a record"))) from error
        raise CheckpointError(refusal(path, str(error))) from error
    except DAMAGE as error:
        raise CheckpointError(damaged(path, error)) from error
    except MemoryError as error:  # a record of the old format may name any length
        raise CheckpointError(
            f"{path} asks for more memory than there is; it is damaged, or too large for this machine"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    return content


LEGACY_PICKLES = 5
"""Pickles, one after the other, that a file of torch's old format begins with; its values follow."""


def _ends_early(path: Path) -> bool:
    """Whether a file ends within its pickles, which are looked at and not run."""
    with open_regular(path) as file:
        for _ in range(LEGACY_PICKLES):
            if not file.peek(1):  # type: ignore[attr-defined]  # it is buffered
                return False
            try:
                for _ in pickletools.genops(file):
                    pass
            except ValueError:
                return not file.read(1)
    return False


def load_tensor(path: Path, stream: IO[bytes]) -> torch.Tensor:
    """The tensor that `torch.save` wrote into `stream`, a part of the file `path`."""
    try:
        value = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(refusal(path, str(error))) from error
    except DAMAGE as error:
        raise CheckpointError(damaged(path, error)) from error
    if not isinstance(value, torch.Tensor):
        raise CheckpointError(f"{path} holds a {type(value).__name__} where a tensor should be; copy it again")
    return value


def load_object(path: Path, stream: IO[bytes], stand_ins: Sequence[str]) -> Inert:
    """The root object in `stream`, made from the file `path`, whose classes are `stand_ins` and become `Inert`.

    Raises `CheckpointError` in one line.
    """
    try:
        with torch.serialization.safe_globals([(Inert, name) for name in stand_ins]):
            value = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(refusal(path, str(error))) from error
    except DAMAGE as error:
        raise CheckpointError(damaged(path, error)) from error
    if not isinstance(value, Inert):
        raise CheckpointError(f"{path} holds a {type(value).__name__} where a module should be")
    return value


def refusal(path: Path, message: str) -> str:
    """One line for what torch said in many."""
    found = re.search(r"GLOBAL ([\w.]+)", message)
    if found:
        return (
            f"{path} was refused: besides tensors it holds {found[1]}, and reading that could run code; ask its author "
            "for a .safetensors file, or re-save its state_dict where you trust it, in a sandbox without network"
        )
    return f"{path} is not a checkpoint, or it is damaged; fetch or copy it again"


def damaged(path: Path, error: BaseException) -> str:
    """One line for a file that ends early or holds rubbish, or whose name safetensors does not take."""
    if "not valid UTF-8" in str(error):
        return f"{path} has a name that is no UTF-8, which safetensors does not open; rename it"
    return f"{path} is truncated or damaged, fetch or copy it again ({first_line(error)})"


def first_line(error: BaseException) -> str:
    """The text up to the first full stop, or the first line if that is shorter."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (said.strip() or type(error).__name__).splitlines()[0].split(". ")[0][:200]
