"""Camera moves, and a held camera, from the still image alone: FrameInit (ConsistI2V, arXiv 2402.04324, section 4.3).

The image is warped as the camera would see it from frame to frame. The low frequencies of the noise that sampling
begins with are taken from the noised latents of that video, so that the layout follows the camera; everything else is
left to the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.frequencies import low_pass_filter, mix_frequencies
from lvdm.plugins.hooks import Hooks, Samples, Start, begun_otherwise
from lvdm.plugins.methods.camera import DIRECTIONS, Layout, Move, Way
from lvdm.plugins.truncated_start import start_step

View = tuple[float, float, float]
"""Where a camera has gone (x, y) as shares of width and height, and the share of the sides that it sees."""


def views(move: str, camera: Move | Way, num_frames: int) -> list[View]:
    """What the camera sees in each frame; all of the image in frame 0."""
    found = []
    for i in range(num_frames):
        way = i / max(num_frames - 1, 1)
        if isinstance(camera, Way):
            points = camera.way_points()
            place = way * (len(points) - 1)
            before = min(int(place), len(points) - 2)
            x, y, zoom = (
                a + (b - a) * (place - before) for a, b in zip(points[before], points[before + 1], strict=True)
            )
            found.append((x, y, 1 / zoom))
        else:
            right, down, nearer = DIRECTIONS[move]
            way *= camera.amount
            found.append((way * right, way * down, (1 + way) ** -nearer))
    return found


def frames_of_camera(images: Tensor, seen: Sequence[View]) -> Iterator[Tensor]:
    """Images (b, 3, H, W) as a moving camera sees them, frame by frame (b, 3, 1, H, W).

    Frame 0 is the image; borders are mirrored.
    """
    yield images[:, :, None]
    for x, y, scale in seen[1:]:
        # affine_grid counts from -1 to 1, twice the image's side
        matrix = images.new_tensor([[scale, 0.0, 2 * x], [0.0, scale, 2 * y]])
        grid = F.affine_grid(matrix.expand(len(images), -1, -1), list(images.shape), align_corners=False)
        yield F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)[:, :, None]


@dataclass(frozen=True, eq=False)
class FrameInit:
    """The method as a plug-in; `layout` (b, c, t, h, w) are latents of the video whose low frequencies are taken."""

    layout: Tensor
    camera: Layout

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Put the layout into the noise; see `Plugin`."""

        def shaped(begin: Start, schedule: NoiseSchedule) -> Start:
            first = start_step(self.camera.level, schedule) if self.camera.begin else begin.timestep
            return Start(self.shape_noise(begin.latents, schedule), first, begin.latents)

        return begun_otherwise(hooks, shaped)

    def shape_noise(self, noise: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Noise (b, c, t, h, w) whose low frequencies are those of the noised layout, dynamic rescale included."""
        schedule, layout = schedule.to(noise.device), self.layout.to(noise)
        t = torch.full((noise.shape[0],), start_step(self.camera.level, schedule), device=noise.device)
        noisy = q_sample(scale_x0(layout, t, schedule), noise, t, schedule)
        weights = low_pass_filter(tuple(noise.shape[2:]), self.camera.spatial, self.camera.temporal)  # type: ignore[arg-type]
        return mix_frequencies(noisy, noise, weights)
