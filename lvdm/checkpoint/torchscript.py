"""The tensors of a TorchScript archive, read as data: the program in it is neither compiled nor run.

`torch.jit.load` would compile whatever program the archive holds, and is being removed from torch. An archive is a zip
of a pickle of modules (`data.pkl`), of storages (`data/`), and of the program as text (`code/`). The first two have the
format of `torch.save`, so that torch's own reader for weights takes them once the entry is left out by which it knows
a program.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lvdm.checkpoint.pickles import MAX_COMPRESSED, Inert, damaged, load_object
from lvdm.errors import CheckpointError
from lvdm.regular_files import check_regular, check_unpacked_sizes

PROGRAM_MARK = "constants.pkl"
MODULE_CLASSES = ("__torch__", "torch.jit._pickle")
"""Packages whose names occur in the pickle beside those of tensors: the archive's own classes, and lists of numbers."""

MAX_CODE = 16 << 20
"""Bytes of program text that are looked at: it is compressed, and could be made to unpack without end."""

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
)


@dataclass(frozen=True)
class TorchScriptFile:
    """What is in an archive.

    tensors  parameters and buffers by the key they would have in the state dict of the module
    code     the text of each source file, by its name in the archive
    """

    tensors: Mapping[str, Tensor]
    code: Mapping[str, str]


def is_torchscript(path: str | Path) -> bool:
    """Whether the file is an archive of `torch.jit.save`; False for files that are not there."""
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return any(name.endswith(f"/{PROGRAM_MARK}") and name.count("/") == 1 for name in names)


def read_torchscript(path: str | Path) -> TorchScriptFile:
    """Read an archive of `torch.jit.save`. Takes the memory of its tensors twice.

    Raises `CheckpointError` for another file, a damaged one, and one whose pickle holds more than modules and tensors.
    """
    path = Path(path)
    if not is_torchscript(path):
        raise CheckpointError(f"{path} is not a TorchScript archive")
    try:
        check_unpacked_sizes(path, MAX_COMPRESSED)
        with zipfile.ZipFile(path) as archive:
            top = archive.namelist()[0].split("/")[0]
            classes = _classes(archive.read(f"{top}/data.pkl"))
            weights, code = _weights_alone(path, archive, top), _code(path, archive, top)
    except _DAMAGE as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(damaged(path, error)) from error
    return TorchScriptFile(dict(_tensors(load_object(path, weights, classes), "", set())), code)


def _classes(data: bytes) -> list[str]:
    """Dotted names of the archive's own classes in its pickle, which is looked at and not loaded."""
    names = {str(argument) for opcode, argument, _ in pickletools.genops(data) if opcode.name == "GLOBAL"}
    dotted = {name.replace(" ", ".") for name in names}
    return sorted(name for name in dotted if name.startswith(tuple(f"{package}." for package in MODULE_CLASSES)))


def _weights_alone(path: Path, archive: zipfile.ZipFile, top: str) -> io.BytesIO:
    """The pickle and the storages as a file that `torch.save` could have written."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as copy:
        for entry in archive.infolist():
            name = entry.filename.removeprefix(f"{top}/")
            if name in ("data.pkl", "version", "byteorder") or name.startswith("data/"):
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise CheckpointError(
                        f"{path}: {entry.filename} is compressed, which torch never does; fetch it again"
                    )
                copy.writestr(f"archive/{name}", archive.read(entry))
    stream.seek(0)
    return stream


def _code(path: Path, archive: zipfile.ZipFile, top: str) -> dict[str, str]:
    entries = [entry for entry in archive.infolist() if entry.filename.startswith(f"{top}/code/")]
    sources = [entry for entry in entries if entry.filename.endswith(".py")]
    if sum(entry.file_size for entry in sources) > MAX_CODE:
        raise CheckpointError(f"{path} holds more than {MAX_CODE >> 20} MB of program text; it is no model's archive")
    return {entry.filename: archive.read(entry).decode("utf-8") for entry in sources}


def _tensors(module: Inert, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a module and of those inside it, each module once, in the order of the pickle."""
    seen.add(id(module))
    state = module.state if isinstance(module.state, Mapping) else {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Inert) and id(value) not in seen:
            yield from _tensors(value, f"{prefix}{name}.", seen)
