"""Options that take several values after each other: `--keyframe 0=a.png 15=b.png` for two of `--keyframe`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

OPTION = "--keyframe"
VALUE = re.compile(r"\d+=.+")


class RepeatedKeyframes(TyperCommand):
    """A command whose words of the form FRAME=FILE that follow `--keyframe` or each other all belong to it."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of `args` with the option repeated before each of its values."""
        return super().make_context(info_name, repeat_option(args), parent, **extra)


def repeat_option(args: Sequence[str]) -> list[str]:
    """`args` with `--keyframe` before every value that follows a value of it."""
    repeated: list[str] = []
    for word in args:
        if len(repeated) > 1 and repeated[-2] == OPTION and VALUE.fullmatch(word):
            repeated.append(OPTION)
        repeated.append(word)
    return repeated
