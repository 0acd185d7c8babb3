"""Camera moves, and a held camera (FrameInit): see `lvdm.plugins.camera`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_spec
from lvdm.declaration.parameter import WITH_IMAGE, Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Method, Need, Place, When

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings


@dataclass(frozen=True)
class Move:
    """A move in one direction, from the first frame to the last.

    amount    how far: share of the image's width or height for pans and tilts, growth of the image for zooms
    """

    amount: float = 0.25

    def __post_init__(self) -> None:
        check_within("amount", self.amount, 0, 2)


@dataclass(frozen=True)
class Way:
    """A way from point to point, in equal times and straight between them.

    points    `x y zoom; x y zoom; ...` after the beginning, which is 0 0 1: where the camera has gone, as shares of
              width (to the right) and height (downwards), and how many times larger it sees the image
    """

    points: str = ""

    def __post_init__(self) -> None:
        self.way_points()

    def way_points(self) -> tuple[tuple[float, float, float], ...]:
        """The points with the beginning. Raises `ValueError` for what is no point and for one outside the image."""
        found = [(0.0, 0.0, 1.0)]
        for text in filter(None, (part.strip() for part in self.points.split(";"))):
            try:
                x, y, zoom = (float(number) for number in text.split())
            except ValueError as error:
                raise ValueError(f"point {text!r} should be three numbers, x y zoom, such as 0.2 0 1.5") from error
            check_within(f"zoom of point {text!r}", zoom, 0.1, 10)
            if not max(abs(x), abs(y)) <= 0.5:
                raise ValueError(
                    f"point {text!r} is outside the image, whose borders are 0.5 from its middle; bring it nearer"
                )
            found.append((x, y, zoom))
        if len(found) == 1:
            raise ValueError("a path needs points, such as path:points=0.2 0 1; 0.2 0.1 1.5")
        return tuple(found)


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
            check_within(name, getattr(self, name), 0, 1)


@dataclass(frozen=True)
class Camera(Move, Layout):
    """A move whose layout goes into the noise."""

    def __post_init__(self) -> None:
        Layout.__post_init__(self)
        Move.__post_init__(self)


@dataclass(frozen=True)
class CameraPath(Way, Layout):
    """A way whose layout goes into the noise."""

    def __post_init__(self) -> None:
        Layout.__post_init__(self)
        Way.__post_init__(self)


DIRECTIONS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "hold": (0, 0, 0),
        "pan_left": (-1, 0, 0),
        "pan_right": (1, 0, 0),
        "tilt_up": (0, -1, 0),
        "tilt_down": (0, 1, 0),
        "zoom_in": (0, 0, 1),
        "zoom_out": (0, 0, -1),
    }
)
"""Moves by name: where the camera goes (x to the right, y downwards) and whether it comes nearer."""


def parse_camera(text: str) -> Spec[Camera | CameraPath]:
    """A name in `DIRECTIONS` or `path`, with options of `Camera` or `CameraPath` as in zoom_in:amount=0.5.

    Raises `ValueError`.
    """
    return parse_spec(text, {**dict.fromkeys(DIRECTIONS, Camera), "path": CameraPath}, "camera")


@declared
class CameraParameters:
    """Where the camera goes."""

    camera: Annotated[
        Annotated[Spec[Camera | CameraPath], FromText(parse_camera, "zoom_in:amount=0.5")] | None,
        Parameter(
            "hold, pan_left, pan_right, tilt_up, tilt_down, zoom_in or zoom_out, as in zoom_in:amount=0.5; or a path, "
            "as in 'path:points=0.2 0 1; 0.2 0.1 1.5'.",
            GROUP,
            modes=WITH_IMAGE,
        ),
    ] = None


def _begins(settings: MethodSettings) -> bool:
    return settings.camera is not None and settings.camera.options.begin


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.camera import FrameInit, frames_of_camera, views

    camera = context.settings.camera
    assert camera is not None
    seen = views(camera.name, camera.options, context.conditions[0].concat.shape[2])
    return [FrameInit(context.encode_video(frames_of_camera(context.images_by_frame[0], seen)), camera.options)]


def check_within(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} {value:g} is not possible; use a number from {low:g} to {high:g}")


METHOD = Method(
    name="camera",
    label="camera",
    place=Place.NOISE,
    parameters=CameraParameters,
    active=lambda settings: settings.camera is not None,
    needs=(Need.IMAGE, Need.OPEN_END, Need.WHOLE_CLIP),
    holds=(Hold.INITIAL_NOISE, When(Hold.START, _begins, "begin=yes of camera")),
    make=_make,
)
