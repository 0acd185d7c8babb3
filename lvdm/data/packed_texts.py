"""Millions of short texts without millions of Python objects.

A list of strings is copied page by page into every `DataLoader` worker, because reading an object changes its reference
count: 10 million captions then cost gigabytes for each worker. Here they lie in one array that workers share.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class PackedTexts(Sequence["str | None"]):
    """An immutable sequence of texts; None stands for a text that is not there."""

    def __init__(self, texts: Iterable[str | None]) -> None:
        content, ends, absent = bytearray(), array("q", [0]), array("b")
        for text in texts:
            content += b"" if text is None else text.encode("utf-8", "surrogateescape")
            ends.append(len(content))
            absent.append(text is None)
        self._content = np.frombuffer(bytes(content), np.uint8)
        self._ends = np.frombuffer(ends, np.int64)
        self._absent = np.frombuffer(absent, np.bool_) if absent else np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self._absent)

    @overload
    def __getitem__(self, index: int) -> str | None: ...

    @overload
    def __getitem__(self, index: slice) -> list[str | None]: ...

    def __getitem__(self, index: int | slice) -> str | list[str | None] | None:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} is outside 0..{len(self) - 1}")
        index %= len(self)
        if self._absent[index]:
            return None
        return self._content[self._ends[index] : self._ends[index + 1]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str | None]:
        return (self[index] for index in range(len(self)))
