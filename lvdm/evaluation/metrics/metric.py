"""What every metric says of itself, whatever it is measured from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.quality.flow import Flow, following_pairs

Better = Literal["higher", "lower", "neither"]

Values = Mapping[str, NDArray[np.float64]]
"""One record of an extractor: its tensors as float64 arrays."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric as it is named, ranked and explained.

    better   which direction is better; `neither` as of motion, which is good or bad only beside other numbers
    meaning  what it means, for readers of a report
    unit     what it is counted in, as its title has it; "" for plain numbers
    """

    name: str
    better: Better
    meaning: str
    unit: str = ""

    def title(self, source: str = "") -> str:
        """The name in files and tables: `source`, such as an extractor, and the unit in brackets behind the name."""
        detail = ", ".join(filter(None, (source, self.unit)))
        return f"{self.name}[{detail}]" if detail else self.name

    @property
    def higher_is_better(self) -> bool | None:
        """None where neither direction is better."""
        return {"higher": True, "lower": False, "neither": None}[self.better]


class MeasuredClip:
    """A clip as metrics of frames want it: pixels in both forms, and its optical flows, found once.

    Raises `ValueError` for fewer than two frames, without a frame rate, and for frames that are not uint8 (t, H, W, 3).
    """

    def __init__(self, clip: LoadedClip, flow: Flow) -> None:
        frames = clip.frames
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
            raise ValueError(f"frames should be uint8 (t, H, W, 3), they are {frames.dtype} {tuple(frames.shape)}")
        if len(frames) < 2:
            raise ValueError(f"motion needs two frames or more, there are {len(frames)}")
        if clip.fps is None:
            raise ValueError(
                "there is no frame rate, which motion needs; give `fps` in the manifest, or leave out motion"
            )
        self.frames, self.fps, self.flow = frames, clip.fps, flow
        self.image, self.last_image = clip.image, clip.last_image

    @cached_property
    def video(self) -> Tensor:
        """(3, t, H, W) in [-1, 1]."""
        return self.frames.permute(3, 0, 1, 2).float() / 127.5 - 1

    @cached_property
    def _flows(self) -> Tensor:
        frames = self.video.transpose(0, 1)
        first, second = following_pairs(frames)
        return self.flow(torch.cat([first, second, frames[-1:]]), torch.cat([second, first, frames[:1]]))

    @property
    def forward(self) -> Tensor:
        """Flows from each frame to the next, (t - 1, 2, H, W)."""
        return self._flows[: len(self.frames) - 1]

    @property
    def backward(self) -> Tensor:
        """Flows from each frame to the one before, (t - 1, 2, H, W)."""
        return self._flows[len(self.frames) - 1 : -1]

    @property
    def seam(self) -> Tensor:
        """The flow from the last frame to the first, (1, 2, H, W)."""
        return self._flows[-1:]

    def flows_apart(self, step: int) -> Tensor:
        """The flows of frames that are `step` apart."""
        return self.forward if step == 1 else self.flow(*following_pairs(self.video.transpose(0, 1), step))


@dataclass(frozen=True, kw_only=True)
class FrameMetric(Metric):
    """A metric of one clip out of its frames; NaN for a clip that cannot have it.

    by_flow  whether its number depends on the optical flow, which its title then names
    """

    measure: Callable[[MeasuredClip], float]
    by_flow: bool = False


@dataclass(frozen=True, kw_only=True)
class FeatureMetric(Metric):
    """A metric of one clip out of a record of features.

    needs       the tensors that a record must have
    min_frames  minimum of frames of features that it takes
    detail      what its title has behind the extractor
    """

    measure: Callable[[Values], float]
    needs: tuple[str, ...] = ("frames",)
    min_frames: int = 1
    detail: str = ""

    def can_take(self, values: Values) -> bool:
        """Whether the record has all that the metric needs."""
        return all(name in values and len(values[name]) >= self._minimum(name) for name in self.needs)

    def title_of(self, extractor: str) -> str:
        """The title for features of this extractor."""
        return self.title(" ".join(filter(None, (extractor, self.detail))))

    def _minimum(self, name: str) -> int:
        return self.min_frames if name == "frames" else 0


@dataclass(frozen=True, kw_only=True)
class PairMetric(Metric):
    """A metric of generated frames against real ones: uint8 (t, H, W, 3) and (t, H, W, 3) -> (t,), one a frame."""

    measure: Callable[[Tensor, Tensor], Tensor]


NOT_DEFINED = math.nan
"""What a `FrameMetric` gives for a clip that cannot have it."""
