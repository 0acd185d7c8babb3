"""A motion that is given carries the image along: see `lvdm.plugins.carry`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FileName, FromText, Spec, parse_spec
from lvdm.declaration.parameter import WITH_IMAGE, Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Method, Need, Place
from lvdm.plugins.methods.camera import DIRECTIONS, Move, Way, check_within

if TYPE_CHECKING:
    from lvdm.plugins.settings import MethodSettings


@dataclass(frozen=True)
class Drag:
    """A disc of the image that goes somewhere, over what is behind it; what it leaves is filled from around it.

    x, y      its middle, as shares of width (from the left) and height (from the top)
    radius    as a share of the shorter side
    right, down  how far it has gone at the last frame, as shares of width and height
    """

    x: float = 0.5
    y: float = 0.5
    radius: float = 0.15
    right: float = 0.0
    down: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (("x", 0, 1), ("y", 0, 1), ("radius", 0.01, 1), ("right", -1, 1), ("down", -1, 1)):
            check_within(name, getattr(self, name), low, high)


KINDS: Mapping[str, type] = MappingProxyType({**dict.fromkeys(DIRECTIONS, Move), "path": Way, "drag": Drag})


def parse_carry(text: str) -> Spec[Move | Way | Drag]:
    """A name in `KINDS` with its options, as in pan_left:amount=0.3. Raises `ValueError`."""
    return parse_spec(text, KINDS, "carry")


@declared
class CarryParameters:
    """A given motion."""

    carry: Annotated[
        Annotated[Spec[Move | Way | Drag], FromText(parse_carry, "pan_left:amount=0.3")] | None,
        Parameter(
            "Show the network the image carried along: by a camera, such as pan_left:amount=0.3, or with a region that "
            "is dragged, such as drag:x=0.5,y=0.6,radius=0.2,right=0.3.",
            GROUP,
            modes=WITH_IMAGE,
            later=True,
        ),
    ] = None
    carry_flow: Annotated[
        FileName | None,
        Parameter(
            "The same by an NPZ file with flow (frames, height, width, 2): from each pixel to where the image shows "
            "it, in pixels to the right and down, NaN where it does not; 0 in frame 0.",
            GROUP,
            modes=WITH_IMAGE,
            later=True,
        ),
    ] = None


def _check(settings: MethodSettings) -> None:
    if settings.carry is not None and settings.carry_flow is not None:
        raise ValueError("carry and carry_flow both say how the image moves; give one of them")


def _check_files(settings: MethodSettings) -> None:
    if settings.carry_flow is not None:
        from lvdm.plugins.carry import read_flow

        read_flow(settings.carry_flow, settings.num_frames)


METHOD = Method(
    name="carry",
    label="carry",
    place=Place.IMAGES,
    parameters=CarryParameters,
    active=lambda settings: settings.carry is not None or settings.carry_flow is not None,
    needs=(Need.IMAGE, Need.OPEN_END, Need.WHOLE_CLIP),
    holds=(Hold.IMAGE_LATENTS,),
    denies=(Need.RETURN,),
    check=_check,
    check_files=_check_files,
    files=("carry_flow",),
)
