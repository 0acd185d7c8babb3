"""Captioned clips made from nothing: what the embedded model is trained and measured on.

`sample_scene` draws a scene, `caption` describes it, `render` draws its frames. `ProceduralClips` is the same as a
dataset that a YAML can name, with the batch dictionary of `lvdm.data.webvid.WebVid`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from lvdm.data.clips import Clip, ClipSize
from lvdm.data.procedural_captions import caption
from lvdm.data.procedural_depth import render_depth
from lvdm.data.procedural_render import moving_mask, render, render_flow, render_mask
from lvdm.data.procedural_scene import ProceduralConfig, Scene, displacement, sample_scene
from lvdm.declaration.ranges import Seed, Steps, with_ranges

__all__ = [
    "ProceduralClips",
    "ProceduralClipsConfig",
    "ProceduralConfig",
    "Scene",
    "caption",
    "displacement",
    "moving_mask",
    "render",
    "render_depth",
    "render_flow",
    "render_mask",
    "sample_scene",
]

BASE_FPS = 24
"""Frames per second of the imagined source video, of which every `frame_stride`-th frame is shown."""


@with_ranges
@dataclass(frozen=True)
class ProceduralClipsConfig(ProceduralConfig):
    """A space of clips, how many of them an epoch has, and the seed they are drawn from.

    motion_targets  clips hold what a frame carrier learns from as well: `flow` (2, t, H, W), see `render_flow`, and
                    `mask` (1, t, H, W), see `moving_mask`
    depth           clips hold `depth` (1, t, H, W), see `render_depth`, which a model of structure follows
    """

    length: Steps = 100_000
    seed: Seed = 0
    motion_targets: bool = False
    depth: bool = False


class ProceduralClips(Dataset[Clip]):
    """`length` clips; clip i depends on (seed, i) only, not on the order of access or the number of workers.

    Both a dataset by index and a clip source of `lvdm.data.clips`, which leaves the generator it is handed alone.
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

    def caption(self, index: int) -> str:
        """What clip `index` shows, in words."""
        return caption(self.scene(index))

    def native_size(self, index: int) -> ClipSize:
        """The configured size: clips of another are drawn, not scaled."""
        return ClipSize(self.config.num_frames, self.config.height, self.config.width)

    def clip(self, index: int, rng: random.Random, size: ClipSize | None = None) -> Clip:
        """Clip `index`, drawn at `size`."""
        return self.clips([index], [rng], size)[0]

    def clips(self, indices: Sequence[int], rngs: Sequence[random.Random], size: ClipSize | None = None) -> list[Clip]:
        """Several clips drawn together, at `size`."""
        size = size or self.native_size(indices[0])
        canvas = dataclasses.replace(self.config, num_frames=size.num_frames, height=size.height, width=size.width)
        scenes = [self.scene(index) for index in indices]
        videos = render(scenes, canvas)
        targets: list[Clip] = [{} for _ in scenes]
        if self.config.motion_targets:
            flows, masks = render_flow(scenes, canvas), moving_mask(scenes, canvas)[:, None]
            targets = [{"flow": flow, "mask": mask} for flow, mask in zip(flows, masks, strict=True)]
        if self.config.depth:
            depths = render_depth(scenes, canvas)
            targets = [{**target, "depth": depth} for target, depth in zip(targets, depths, strict=True)]
        return [
            {
                "video": video,
                "caption": caption(scene),
                "fps": BASE_FPS // scene.frame_stride,
                "frame_stride": scene.frame_stride,
                "path": f"procedural/{self.config.seed}/{index}",
                "failures": "",
                **target,
            }
            for index, scene, video, target in zip(indices, scenes, videos, targets, strict=True)
        ]

    def __getitem__(self, index: int) -> Clip:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Clip]:
        """Several clips drawn together; a `DataLoader` calls this with the indices of a batch."""
        return self.clips(indices, [])
