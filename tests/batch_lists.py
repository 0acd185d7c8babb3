"""A list of six videos for tests of batches, and what keeps the lines that a batch says."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext


class Silent:
    """A reporter that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self) -> None:
        """Nothing to begin."""

    def progress(self, title: str) -> AbstractContextManager[None]:
        return nullcontext()

    def show(self, lines: Iterable[str]) -> None:
        self.lines += lines


LIST = "image,prompt,seed,mode\n" + "".join(
    f"{image}.png,x,{seed},{mode}\n" for seed, image in enumerate("abc") for mode in ("animate", "loop")
)
"""Six videos."""
