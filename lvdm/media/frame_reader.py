"""What every reader of videos offers, and what those have in common that leave the decoding to another library.

A reader has facts (how many frames there are, at which rate, of which size) and gives frames by their number. The facts
come from the packets of the file, by `VideoReader`, whoever decodes: libraries differ in what they take from a header.
A library that would give other frames than these refuses the file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import numpy as np

from lvdm.errors import UserError, counted
from lvdm.media.video_reader import VideoError, VideoReader

if TYPE_CHECKING:
    from torch import Tensor

INSTEAD = "or choose reader: pyav"
"""What helps in any case: the end of a message about a reader."""


class BackendError(UserError):
    """A reader that is not installed or does not run here; the message says what to do."""


class FrameReader(Protocol):
    """One open video; a context manager.

    num_frames     as the packets say
    fps            the average over the whole file
    height, width  of the frames as shown: upright, with square pixels
    lost_frames    those that the header announces and that are not there
    """

    path: Path
    num_frames: int
    fps: float
    height: int
    width: int
    lost_frames: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def __len__(self) -> int: ...

    def close(self) -> None:
        """Let go of the file."""

    def read(self, indices: Sequence[int], height: int | None = None, width: int | None = None) -> Tensor:
        """Frames `indices`, in the order asked for, as uint8 (n, H, W, 3), scaled where the reader scales.

        Raises `VideoError` for a frame that cannot be decoded, IndexError where there is no such frame.
        """


def check_indices(path: Path, indices: Iterable[int], num_frames: int) -> None:
    """Raise IndexError for a frame that is not there."""
    for index in indices:
        if not 0 <= index < num_frames:
            raise IndexError(f"{path}: there is no frame {index}, the video has {counted(num_frames, 'frame')}")


class ForeignReader(ABC):
    """A `FrameReader` whose frames another library decodes.

    `facts` come from the packets; a frame that comes in another size than they say, as it does where the library knows
    nothing of turned frames, is an error and never shown. Raises `VideoError` for files that are not read.
    """

    name: ClassVar[str]

    def __init__(self, path: str | Path, data: bytes | None = None) -> None:
        self.path = Path(path)
        with VideoReader(self.path, data, "fast") as facts:  # also: nothing is opened that leads to other files
            self.num_frames, self.fps = facts.num_frames, facts.fps
            self.height, self.width, self.lost_frames = facts.height, facts.width, facts.lost_frames
            if facts.transfer is not None:
                raise self.refused(f"it is HDR ({facts.transfer})")
            if facts.is_converted:
                raise self.refused("it is an animated WebP")
            self.check(facts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_frames

    def read(self, indices: Sequence[int], height: int | None = None, width: int | None = None) -> Tensor:
        """Frames `indices`, in the order asked for, as uint8 (n, H, W, 3). Scaling is not offered: it would differ."""
        import torch

        if height is not None or width is not None:
            raise ValueError(f"{self.name} does not scale as PyAV does; read whole frames, {INSTEAD}")
        check_indices(self.path, indices, self.num_frames)
        if not indices:
            return torch.empty((0, self.height, self.width, 3), dtype=torch.uint8)
        wanted = sorted(set(indices))
        frames = dict(zip(wanted, self.decode(wanted), strict=True))
        for frame in frames.values():
            if frame.shape != (self.height, self.width, 3):
                shown, given = f"{self.width}x{self.height}", "x".join(map(str, reversed(frame.shape[:2])))
                raise self.refused(f"its frames are {shown} as shown, and it gives {given}")
        return torch.from_numpy(np.stack([frames[index] for index in indices]))

    def refused(self, reason: str) -> VideoError:
        """The error of a file that this reader does not read."""
        return VideoError(f"{self.path}: not read by {self.name}, {reason}; choose reader: pyav")

    @abstractmethod
    def check(self, facts: VideoReader) -> None:
        """Raise `VideoError` for a file of which the library would give other frames."""

    @abstractmethod
    def decode(self, numbers: Sequence[int]) -> Iterable[np.ndarray]:
        """The frames with these ascending numbers, uint8 (H, W, 3) each. Raises `VideoError`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""
