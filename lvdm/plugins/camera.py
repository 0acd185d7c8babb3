"""Camera moves, and a held camera, from the still picture alone: FrameInit (ConsistI2V, arXiv 2402.04324, section 4.3).

The picture is warped as the camera would see it from frame to frame. The low frequencies of the noise that sampling
begins with are taken from the noised latents of that video, so that the layout follows the camera; everything else is
left to the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.conditioning import Conditioning
from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.early_start import start_step
from lvdm.plugins.frequencies import low_pass_filter, mix_frequencies
from lvdm.plugins.seams import Samples, Seams, Start
from lvdm.plugins.specs import parse_spec


@dataclass(frozen=True)
class Camera:
    """What a camera does from the first frame to the last.

    amount    how far: share of the picture's width or height for pans and tilts, growth of the picture for zooms
    level     noise of the latents that the layout is taken from, 0 (none) to 1 (nothing but noise)
    spatial, temporal  how much of the frequencies is taken, 0 (none: the plain noise) to 1
    begin     start sampling at that level, where the layout is as strong as it should be, instead of at the last step
    """

    amount: float = 0.25
    level: float = 0.85
    spatial: float = 0.25
    temporal: float = 0.25
    begin: bool = False

    def __post_init__(self) -> None:
        for name, highest in (("amount", 2.0), ("level", 1.0), ("spatial", 1.0), ("temporal", 1.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= highest):
                raise ValueError(f"{name} {value:g} is not possible; use a number from 0 to {highest:g}")


DIRECTIONS = {
    "hold": (0, 0, 0),
    "pan_left": (-1, 0, 0),
    "pan_right": (1, 0, 0),
    "tilt_up": (0, -1, 0),
    "tilt_down": (0, 1, 0),
    "zoom_in": (0, 0, 1),
    "zoom_out": (0, 0, -1),
}
"""Moves by name: where the camera goes (x to the right, y downwards) and whether it comes nearer."""


def parse_camera(text: str) -> tuple[str, Camera]:
    """A name in `DIRECTIONS`, alone or with options of `Camera` as in zoom_in:amount=0.5. Raises `ValueError`."""
    camera: Camera = parse_spec(text, dict.fromkeys(DIRECTIONS, Camera), "camera")
    return text.strip().partition(":")[0], camera


def seen_by_camera(images: Tensor, move: str, amount: float, num_frames: int) -> Tensor:
    """Images (b, 3, H, W) as a moving camera sees them: (b, 3, t, H, W). Frame 0 is the image; borders are mirrored."""
    return torch.cat(list(frames_of_camera(images, move, amount, num_frames)), dim=2)


def frames_of_camera(images: Tensor, move: str, amount: float, num_frames: int) -> Iterator[Tensor]:
    """The frames of `seen_by_camera` one by one, (b, 3, 1, H, W) each."""
    x, y, nearer = DIRECTIONS[move]
    yield images[:, :, None]
    for i in range(1, num_frames):
        way = amount * i / (num_frames - 1)
        scale = (1 + way) ** -nearer  # of the part that is seen
        # affine_grid counts from -1 to 1, twice the picture's side
        matrix = images.new_tensor([[scale, 0.0, 2 * way * x], [0.0, scale, 2 * way * y]])
        grid = F.affine_grid(matrix.expand(len(images), -1, -1), list(images.shape), align_corners=False)
        yield F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)[:, :, None]


@dataclass(frozen=True, eq=False)
class FrameInit:
    """The method as a plug-in; `layout` (b, c, t, h, w) are latents of the video whose low frequencies are taken."""

    layout: Tensor
    camera: Camera

    @contextmanager
    def attach(self, unet: UNetModel, seams: Seams, samples: Samples) -> Iterator[Seams]:
        """Put the layout into the noise; see `Plugin`."""

        def start(
            shape: tuple[int, ...], samples: Samples, conditioning: Conditioning, schedule: NoiseSchedule
        ) -> Start:
            begin = seams.initial_noise(shape, samples, conditioning, schedule)
            latents = self.shape_noise(begin.latents, schedule)
            first = start_step(self.camera.level, schedule)
            return Start(latents, first) if self.camera.begin else replace(begin, latents=latents)

        yield replace(seams, initial_noise=start)

    def shape_noise(self, noise: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Noise (b, c, t, h, w) whose low frequencies are those of the noised layout, dynamic rescale included."""
        schedule, layout = schedule.to(noise.device), self.layout.to(noise)
        t = torch.full((noise.shape[0],), start_step(self.camera.level, schedule), device=noise.device)
        noisy = q_sample(scale_x0(layout, t, schedule), noise, t, schedule)
        weights = low_pass_filter(tuple(noise.shape[2:]), self.camera.spatial, self.camera.temporal)  # type: ignore[arg-type]
        return mix_frequencies(noisy, noise, weights)
