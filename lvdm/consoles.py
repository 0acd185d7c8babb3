"""What is printed is no reason to fail: consoles that cannot show a letter, readers that have ended, full disks."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

logger = logging.getLogger(__name__)


class LastingStream:
    """A stream of text that outlives its reader: `dynamicrafter batch ... | head` goes on when head has ended.

    What is printed after that goes nowhere, as it does when the terminal has hung up or the disk of a log is full;
    stderr says so once. A video that is finished, and those that follow, are not its affair.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def write(self, text: str) -> int:
        """Write, or leave it; returns the number of characters as if they had been written."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._leave(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or leave it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what the stream still holds goes there too, when Python ends
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError) and self is not sys.stderr:
            logger.warning("what is printed from here on is lost (%s)", error.strerror)


def last_on_any_console() -> None:
    """Let nothing that is printed be a reason to fail after the work: neither its letters nor a reader that has gone.

    A letter that the console cannot show (cp1252, ASCII) is written as its code.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, LastingStream(stream))
