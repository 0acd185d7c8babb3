"""Captioned clips made from nothing: what the embedded model is trained and measured on.

`sample_scene` draws a scene, `caption` describes it, `render` draws its frames. `ProceduralClips` is the same as a
dataset that a YAML can name, with the batch dictionary of `lvdm.data.webvid.WebVid`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from lvdm.data.procedural_captions import caption
from lvdm.data.procedural_render import render, render_mask
from lvdm.data.procedural_scene import ProceduralConfig, Scene, displacement, sample_scene

__all__ = [
    "ProceduralClips",
    "ProceduralClipsConfig",
    "ProceduralConfig",
    "Scene",
    "caption",
    "displacement",
    "render",
    "render_mask",
    "sample_scene",
]

BASE_FPS = 24
"""Frames per second of the imagined source video, of which every `frame_stride`-th frame is shown."""


@dataclass(frozen=True)
class ProceduralClipsConfig(ProceduralConfig):
    """A space of clips, how many of them an epoch has, and the seed they are drawn from."""

    length: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` for a length below 1, or for what `ProceduralConfig` refuses."""
        super().__post_init__()
        if self.length < 1:
            raise ValueError(f"length = {self.length} should be at least 1")


class ProceduralClips(Dataset[dict[str, Any]]):
    """`length` clips; clip i depends on (seed, i) only, not on the order of access or the number of workers.

    An item holds `video` (3, t, H, W) float32 in [-1, 1], `caption`, `fps`, `frame_stride` and `path` (a name).
    """

    Config = ProceduralClipsConfig

    def __init__(self, config: ProceduralClipsConfig) -> None:
        self.config = config

    def __len__(self) -> int:
        return self.config.length

    def scene(self, index: int) -> Scene:
        """The attributes of clip `index`."""
        if not 0 <= index < self.config.length:
            raise IndexError(f"clip {index} is outside 0..{self.config.length - 1}")
        return sample_scene(self.config, random.Random(f"{self.config.seed}/{index}"))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several clips rendered together; a `DataLoader` calls this with the indices of a batch."""
        scenes = [self.scene(index) for index in indices]
        videos = render(scenes, self.config)
        return [
            {
                "video": video,
                "caption": caption(scene),
                "fps": BASE_FPS // scene.frame_stride,
                "frame_stride": scene.frame_stride,
                "path": f"procedural/{self.config.seed}/{index}",
            }
            for index, scene, video in zip(indices, scenes, videos, strict=True)
        ]
