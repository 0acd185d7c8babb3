"""Camera moves, and a held camera, from the still picture alone: FrameInit (ConsistI2V, arXiv 2402.04324, section 4.3).

The picture is warped as the camera would see it from frame to frame. The low frequencies of the noise that sampling
begins with are taken from the noised latents of that video, so that the layout follows the camera; everything else is
left to the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.early_start import start_step
from lvdm.plugins.frequencies import low_pass_filter, mix_frequencies
from lvdm.plugins.hooks import Hooks, Samples, Start, begun_otherwise
from lvdm.plugins.specs import parse_spec


@dataclass(frozen=True)
class Layout:
    """How much of what a camera sees goes into the noise.

    level     noise of the latents that the layout is taken from, 0 (none) to 1 (nothing but noise)
    spatial, temporal  how much of the frequencies is taken, 0 (none: the plain noise) to 1
    begin     start sampling at that level, where the layout is as strong as it should be, instead of at the last step
    """

    level: float = 0.85
    spatial: float = 0.25
    temporal: float = 0.25
    begin: bool = False

    def __post_init__(self) -> None:
        for name in ("level", "spatial", "temporal"):
            _check_within(name, getattr(self, name), 0, 1)


@dataclass(frozen=True)
class Camera(Layout):
    """A move in one direction, from the first frame to the last.

    amount    how far: share of the picture's width or height for pans and tilts, growth of the picture for zooms
    """

    amount: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_within("amount", self.amount, 0, 2)


@dataclass(frozen=True)
class CameraPath(Layout):
    """A way from point to point, in equal times and straight between them.

    points    `x y zoom; x y zoom; ...` after the beginning, which is 0 0 1: where the camera has gone, as shares of
              width (to the right) and height (downwards), and how many times larger it sees the picture
    """

    points: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.way_points()

    def way_points(self) -> tuple[tuple[float, float, float], ...]:
        """The points with the beginning. Raises `ValueError` for what is no point and for a way out of the picture."""
        found = [(0.0, 0.0, 1.0)]
        for text in filter(None, (part.strip() for part in self.points.split(";"))):
            try:
                x, y, zoom = (float(number) for number in text.split())
            except ValueError as error:
                raise ValueError(f"point {text!r} should be three numbers, x y zoom, such as 0.2 0 1.5") from error
            _check_within(f"zoom of point {text!r}", zoom, 0.1, 10)
            if not max(abs(x), abs(y)) <= 0.5:
                raise ValueError(
                    f"point {text!r} is outside the picture, whose borders are 0.5 from its middle; bring it nearer"
                )
            found.append((x, y, zoom))
        if len(found) == 1:
            raise ValueError("a path needs points, such as path:points=0.2 0 1; 0.2 0.1 1.5")
        return tuple(found)


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


def parse_camera(text: str) -> tuple[str, Camera | CameraPath]:
    """A name in `DIRECTIONS` or `path`, with options of `Camera` or `CameraPath` as in zoom_in:amount=0.5.

    Raises `ValueError`.
    """
    kinds = {**dict.fromkeys(DIRECTIONS, Camera), "path": CameraPath}
    camera: Camera | CameraPath = parse_spec(text, kinds, "camera")
    return text.strip().partition(":")[0], camera


View = tuple[float, float, float]
"""Where a camera has gone (x, y) as shares of width and height, and the share of the sides that it sees."""


def views(move: str, camera: Camera | CameraPath, num_frames: int) -> list[View]:
    """What the camera sees in each frame; all of the picture in frame 0."""
    found = []
    for i in range(num_frames):
        way = i / max(num_frames - 1, 1)
        if isinstance(camera, CameraPath):
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


def seen_by_camera(images: Tensor, seen: Sequence[View]) -> Tensor:
    """Images (b, 3, H, W) as a moving camera sees them: (b, 3, t, H, W). Frame 0 is the image; borders are mirrored."""
    return torch.cat(list(frames_of_camera(images, seen)), dim=2)


def frames_of_camera(images: Tensor, seen: Sequence[View]) -> Iterator[Tensor]:
    """The frames of `seen_by_camera` one by one, (b, 3, 1, H, W) each."""
    yield images[:, :, None]
    for x, y, scale in seen[1:]:
        # affine_grid counts from -1 to 1, twice the picture's side
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


def _check_within(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} {value:g} is not possible; use a number from {low:g} to {high:g}")
