"""Arrays of NumPy in files of others, .npy and .npz: never pickles, and never far more than the file holds."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from lvdm.errors import UserError
from lvdm.regular_files import check_unpacked_sizes, unreadable_reason

MAX_BYTES = 1_000_000_000
"""What a small compressed array may unpack to."""

DAMAGED = (
    *(OSError, ValueError, TypeError, AttributeError, KeyError, EOFError, OverflowError, MemoryError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What NumPy raises on damaged headers, which are Python literals, and `zipfile` on parts that it cannot unpack."""


class ArrayFileError(UserError):
    """An array that cannot be read; the message names the file and the reason."""


def read_array(path: Path, name: str, *, alone: bool = False) -> np.ndarray:
    """The array `name` of an .npz, or with `alone` the only one that is there; an .npy is not read but mapped.

    Raises `ArrayFileError`.
    """
    reason = unreadable_reason(path)
    if reason is not None:
        raise ArrayFileError(f"{path}: {reason}")
    try:
        check_unpacked_sizes(path, MAX_BYTES)
        if not zipfile.is_zipfile(path):
            return np.lib.format.open_memmap(path, mode="r")
        with np.load(path, allow_pickle=False) as arrays:
            array = arrays[_name_in(path, arrays.files, name, alone)]
        if not isinstance(array, np.ndarray):  # bytes, of a part that is no array
            raise ValueError("a part of it is no array")
    except ArrayFileError:
        raise
    except DAMAGED as error:
        known = isinstance(error, OSError) and error.strerror
        raise ArrayFileError(
            f"{path}: {known or 'not a readable array, or one of Python objects, which are not read'}"
        ) from error
    return array


def _name_in(path: Path, there: list[str], name: str, alone: bool) -> str:
    if name in there:
        return name
    if alone and len(there) == 1:
        return there[0]
    held = ", ".join(there) or "nothing"
    hint = "rename it" if len(there) == 1 else "it should hold one"
    raise ArrayFileError(f"{path}: holds no array `{name}` but {held[:200]}; {hint}")
