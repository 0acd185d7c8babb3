"""One thread for NumPy's linear algebra: sums are split over threads, so that their number would change last digits."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CORES = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")
_SPELLINGS = ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}")

_Get = Callable[[], int]
_Set = Callable[[int], None]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy's OpenBLAS use one thread inside; the number before comes back. Not for several Python threads.

    It is also faster for the many small matrices of resamples: of two threads, one mostly waits for the other (16
    processor seconds instead of 103 to score two sets of 2048 x 400 on two busy cores). Where NumPy is built on another
    library, or on Windows, which does not tell of the library's functions, nothing changes.
    """
    found = openblas_threads()
    if found is None:
        yield
        return
    get, put = found
    before = get()
    put(1)
    try:
        yield
    finally:
        put(before)


def openblas_threads() -> tuple[_Get, _Set] | None:
    """The functions that get and set the threads of NumPy's OpenBLAS; None where they are not found."""
    for name in _CORES:
        try:
            library = ctypes.CDLL(str(importlib.import_module(name).__file__))  # finds what the module is linked to
        except (ImportError, OSError):
            continue
        for spelling in _SPELLINGS:
            get = getattr(library, spelling.format("get_num_threads"), None)
            put = getattr(library, spelling.format("set_num_threads"), None)
            if get is not None and put is not None:
                put.restype = None
                return get, put
    return None
