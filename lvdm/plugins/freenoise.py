"""FreeNoise / LongerCrafter (arXiv 2310.15169): videos longer than the trained clips, with the weights as they are.

Frames beyond the first `window` repeat its noise in another order, so that every window of frames holds the same noise;
temporal attention runs in overlapping windows of the trained length, whose results are blended with triangular weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.diffusion.noise import StepNoise, sample_generator
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, NoiseInitializer, Samples, Start
from lvdm.plugins.windows import attend_windowed, sliding_windows


@dataclass(frozen=True)
class FreeNoise:
    """The method as a plug-in. Videos of at most `window` frames are the plain ones, to the bit.

    window  frames that attention sees at once: as many as the model was trained on
    stride  frames from one window to the next; also the size of the blocks in which noise is shuffled
    """

    window: int = 16
    stride: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"stride {self.stride} is not possible; use 1 to window ({self.window})")

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Window the temporal attention of `unet`, and give each window the same noise; see `Plugin`."""
        return self.with_noise(hooks, samples).with_attention(unet, "temporal", self.windowed)

    def with_noise(self, hooks: Hooks, samples: Samples) -> Hooks:
        """`hooks` with the noise alone."""
        return replace(
            hooks,
            initial_noise=self._initial_noise(hooks.initial_noise),
            step_noise=self._step_noise(hooks.step_noise, samples),
        )

    def windowed(self, inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
        """`inner` in windows; q, k, v (b, nh, t, d) -> (b, nh, t, d)."""
        num_frames = q.shape[2]
        if num_frames <= self.window:
            return inner(q, k, v, meta)
        return attend_windowed(inner, q, k, v, meta, sliding_windows(num_frames, self.window, self.stride))

    def _initial_noise(self, inner: NoiseInitializer) -> NoiseInitializer:
        def start(
            shape: tuple[int, ...], samples: Samples, conditioning: Conditioning, schedule: NoiseSchedule
        ) -> Start:
            short = (shape[0], min(shape[1], self.window), *shape[2:])
            begin = inner(short, samples, conditioning, schedule)
            noise = None if begin.noise is None else self.repeat_noise(begin.noise, shape[1], samples)
            return replace(begin, latents=self.repeat_noise(begin.latents, shape[1], samples), noise=noise)

        return start

    def _step_noise(self, inner: StepNoise, samples: Samples) -> StepNoise:
        def noise(step: int, shape: tuple[int, ...]) -> Tensor:
            short = (*shape[:2], min(shape[2], self.window), *shape[3:])
            return self.repeat_noise(inner(step, short), shape[2], samples)

        return noise

    def repeat_noise(self, noise: Tensor, num_frames: int, samples: Samples) -> Tensor:
        """Noise (b, c, window, h, w) for `num_frames` frames: the same order at every step of a sampling."""
        if noise.shape[2] == num_frames:
            return noise
        clips = []
        for clip, seed, index in zip(noise, samples.seeds, samples.indices, strict=True):
            blocks = shuffled_blocks(num_frames, self.window, self.stride, sample_generator(seed, index, "frame order"))
            clips.append(clip[:, noise_sources(blocks, self.window)])
        return torch.stack(clips)


def shuffled_blocks(num_frames: int, window: int, stride: int, generator: torch.Generator) -> list[list[int]]:
    """For each block of `stride` frames after the first window, the frames whose noise it takes, in order.

    They are those `window` frames before, shuffled. A last block that is shorter shuffles as many.
    """
    blocks = []
    for begin in range(window, num_frames, stride):
        size = min(stride, num_frames - begin)
        order = torch.randperm(size, generator=generator).tolist()
        blocks.append([begin - window + place for place in order])
    return blocks


def noise_sources(blocks: Sequence[Sequence[int]], window: int) -> list[int]:
    """For every frame the frame of the first window whose noise it has: blocks may name frames that repeat others."""
    sources = list(range(window))
    for block in blocks:
        sources += [sources[frame] for frame in block]
    return sources
