"""Ranges of the numbers in configurations: a value outside is refused before anything is built, from YAML or not.

Upper bounds are far above what anybody has trained. They are there for typing mistakes, and for files of others whose
numbers only buy memory or time.
"""

from __future__ import annotations

import functools
import inspect
import typing
from typing import Annotated, Any, TypeVar

from annotated_types import Interval, Len

from lvdm.config import parse_value
from lvdm.declaration.values import MAX_FRAMES, MAX_SEED, MAX_SIDE

MAX_STEPS = 1_000_000_000
"""Optimizer steps, batches or clips of the longest training."""

Steps = Annotated[int, Interval(ge=1, le=MAX_STEPS)]
StepsOrNone = Annotated[int, Interval(ge=0, le=MAX_STEPS)]
"""0 for never, or for none."""
Count = Annotated[int, Interval(ge=1, le=1_000_000)]
"""Of what is small: samples, names, entries of a list."""
Frames = Annotated[int, Interval(ge=1, le=MAX_FRAMES)]
Side = Annotated[int, Interval(ge=1, le=MAX_SIDE)]
SideOrNone = Annotated[int, Interval(ge=0, le=MAX_SIDE)]
"""Pixels."""
FrameRate = Annotated[float, Interval(gt=0, le=100_000)]
"""Frames per second of a video."""
Stride = Annotated[int, Interval(ge=1, le=10_000)]
"""Frames from one frame of a clip to the next."""
TimeSteps = Annotated[int, Interval(ge=1, le=100_000)]
"""Of a noise schedule."""
BatchSize = Annotated[int, Interval(ge=1, le=65_536)]
"""Clips of one device."""
Workers = Annotated[int, Interval(ge=0, le=1024)]
"""Processes."""
Kept = Annotated[int, Interval(ge=-1, le=1_000_000)]
"""Files that are kept; -1 for all."""
Seed = Annotated[int, Interval(ge=-MAX_SEED, le=MAX_SEED)]

Channels = Annotated[int, Interval(ge=1, le=65_536)]
"""Widths of layers, and numbers of groups and heads."""
Depth = Annotated[int, Interval(ge=1, le=256)]
"""Layers or blocks, one after the other."""
BlockNumber = Annotated[int, Interval(ge=0, le=255)]
Multiplier = Annotated[int, Interval(ge=1, le=64)]
"""Of a width: the channels of a level, or of a feed-forward layer."""
Levels = Annotated[tuple[Multiplier, ...], Len(1, 10)]
"""Multipliers of the levels of a network; each level after the first halves the sides."""
Tokens = Annotated[int, Interval(ge=1, le=65_536)]

Probability = Annotated[float, Interval(ge=0, le=1)]
Share = Annotated[float, Interval(gt=0, le=1)]
Dropout = Annotated[float, Interval(ge=0, lt=1)]
Decay = Annotated[float, Interval(ge=0, lt=1)]
"""Of a running mean: the weight of the past."""
Weight = Annotated[float, Interval(ge=0, le=1_000_000)]
"""Of a term of the loss."""
PositiveWeight = Annotated[float, Interval(gt=0, le=1_000_000)]
LearningRate = Annotated[float, Interval(gt=0, le=10)]
Seconds = Annotated[float, Interval(gt=0, le=10_000_000)]

Class = TypeVar("Class", bound=type)


def with_ranges(cls: Class) -> Class:
    """`cls`, a dataclass, whose numbers keep their ranges when a program makes it, as when `lvdm.config` does.

    `ConfigError` names the class, the field and its range; it comes before the class looks at anything itself.
    """
    plain: Any = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(plain)

    @functools.wraps(plain)
    def checked(self: Any, *args: Any, **values: Any) -> None:
        ranged = _ranged_fields(cls)
        for name, value in signature.bind_partial(self, *args, **values).arguments.items():
            if name in ranged:
                parse_value(value, ranged[name], f"{cls.__qualname__}.{name}")
        plain(self, *args, **values)

    cls.__init__ = checked  # type: ignore[misc]
    return cls


@functools.cache
def _ranged_fields(cls: type) -> dict[str, Any]:
    """The types of the fields that hold numbers with ranges, alone or in lists, by name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: hint for name, hint in hints.items() if "Interval(" in repr(hint) or "Len(" in repr(hint)}
