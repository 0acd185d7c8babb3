"""Videos by decord, an optional dependency: `pip install decord2`, the maintained one, which imports as decord."""

from __future__ import annotations

import functools
import importlib
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from lvdm.errors import counted
from lvdm.media.frame_reader import INSTEAD, BackendError, ForeignReader
from lvdm.media.video_reader import VideoReader

_NO_LOST_FRAMES = 1e-9
"""decord shows the frame before in the place of a damaged one, unless these are more than this part of all."""


class DecordReader(ForeignReader):
    """Frames of one video file by their number, decoded by decord.

    Refused are files in which it finds other frames: those not shown as they are stored (turned, mirrored, oblong
    pixels, transparent), those with open GOPs, where it seeks to a neighbour (both found with 3.4), and
    those without times.
    """

    name = "decord"

    def __init__(self, path: str | Path, data: bytes | None = None) -> None:
        decord = load_decord()
        super().__init__(path, data)
        errors = decord._ffi.base
        self._failures: tuple[type[Exception], ...] = (
            *(RuntimeError, AssertionError, IndexError),
            *(errors.DECORDError, errors.DECORDLimitReachedError),
        )
        source = str(self.path.absolute()) if data is None else io.BytesIO(data)
        try:
            self._decoder = decord.VideoReader(source, num_threads=1, fault_tol=_NO_LOST_FRAMES)
        except self._failures as error:
            raise self.refused(_reason(error)) from error
        if len(self._decoder) != self.num_frames:
            raise self.refused(f"it counts {counted(len(self._decoder), 'frame')} where the file has {self.num_frames}")

    def check(self, facts: VideoReader) -> None:
        """Raise `VideoError` for what decord reads wrong, see above."""
        if not facts.presentation.is_plain or facts.has_opacity:
            raise self.refused(f"it does not show it as a player does ({str(facts.presentation) or 'transparent'})")
        if facts.has_open_groups or not facts.has_times:
            raise self.refused("it has " + ("open GOPs" if facts.has_times else "no times of frames"))

    def decode(self, numbers: Sequence[int]) -> Iterable[np.ndarray]:
        """The frames with these numbers, uint8 (H, W, 3) each."""
        try:
            return self._decoder.get_batch(list(numbers)).asnumpy()
        except self._failures as error:
            raise self.refused(f"damaged, or of a width that it does not take ({_reason(error)})") from error

    def close(self) -> None:
        """Let go of the file."""
        self._decoder = None


@functools.cache
def load_decord() -> ModuleType:
    """The module. Raises `BackendError` where it is not installed or its library cannot be loaded."""
    try:
        with _no_cuda_libraries():
            module = importlib.import_module("decord")
        module._ffi.base.DECORDLimitReachedError  # noqa: B018 - old ones do not refuse damaged frames
    except ModuleNotFoundError as error:
        raise BackendError(f"decord is not installed: pip install decord2, {INSTEAD}") from error
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackendError(
            f"decord is installed but does not run here ({reason}): install decord2, {INSTEAD}"
        ) from error
    return module


@contextmanager
def _no_cuda_libraries() -> Iterator[None]:
    """Hide NVIDIA's packages from the import in the block, which decodes on the CPU.

    decord2 3.4 loads every library in them for all of the process, NVBLAS among them: it takes the place of torch's
    matrix products, and the process crashes at the next one where it is not configured.
    """
    before = sys.modules.pop("nvidia", None)
    sys.modules["nvidia"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["nvidia"]
        if before is not None:
            sys.modules["nvidia"] = before


def _reason(error: Exception) -> str:
    """The first line, without the place in decord's sources."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.rpartition(".cc:")[2].partition(": ")[2] or line
