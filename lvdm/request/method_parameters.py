"""The parameters of the methods on top of the sampler (plug-ins). Neutral values change no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from lvdm.request.declaration import WITH_IMAGE, Parameter, declared
from lvdm.request.parameters import Prompt

METHODS = "Plug-ins"
MAX_FEATHER = 256
"""Pixels; a wider edge is a mask of its own."""
STILL = tuple(mode for mode in WITH_IMAGE if mode != "extend")
BETWEEN = ("interpolate", "loop", "keyframes")
Anchor = Literal["free", "soft", "exact"]


def _text(value: object) -> object:
    """A path as text, from the root on: it is to mean the same in a record."""
    return str(Path(value).resolve()) if isinstance(value, str | Path) else value


FileName = Annotated[str, BeforeValidator(_text)]


@declared
class MethodParameters:
    """What the methods are asked for."""

    scale: Annotated[
        str,
        Parameter(
            "Beyond the trained size: auto, off, scalecrafter or freescale, or freescale:level=0.7 and so on.", METHODS
        ),
    ] = "auto"
    anchor: Annotated[
        Anchor,
        Parameter("Is frame 0 the image? free, soft (its latents) or exact (its pixels).", METHODS, modes=WITH_IMAGE),
    ] = "free"
    color_lock: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("0 to 1: hold all frames to the colours of the image.", METHODS, modes=WITH_IMAGE),
    ] = 0.0
    keep_feather: Annotated[
        int,
        Field(ge=0, le=MAX_FEATHER),
        Parameter(
            "What --keep-mask keeps is the image pixel by pixel, from this many pixels to its edge on.",
            METHODS,
            "pixels",
            modes=("animate", "loop"),
        ),
    ] = 0
    camera: Annotated[
        str | None,
        Parameter(
            "hold, pan_left, pan_right, tilt_up, tilt_down, zoom_in or zoom_out, as in zoom_in:amount=0.5; or a path, "
            "as in 'path:points=0.2 0 1; 0.2 0.1 1.5'.",
            METHODS,
            modes=WITH_IMAGE,
        ),
    ] = None
    low_pass: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("0 to 1: blur the image in the first steps, for more motion.", METHODS, modes=WITH_IMAGE),
    ] = 0.0
    low_pass_until: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("The share of the steps that see it blurred.", METHODS, modes=WITH_IMAGE),
    ] = 0.1
    start_time: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("Begin below the last time step, such as 0.94, for more motion.", METHODS),
    ] = 1.0
    start_statistics: Annotated[
        FileName | None, Parameter("A file of `stats analytic-init`, for that beginning.", METHODS)
    ] = None
    free_init: Annotated[
        str | None, Parameter("Sample again from the low frequencies: iterations=2,level=0.9.", METHODS)
    ] = None
    free_u: Annotated[str | None, Parameter("Weigh features against skips: b1=1.1,b2=1.2,s1=0.9,s2=0.9.", METHODS)] = (
        None
    )
    late_weights: Annotated[
        FileName | None,
        Parameter("A checkpoint of the same architecture whose network takes the late steps.", METHODS),
    ] = None
    late_below: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("0 to 1: from which time step on it does, as a share of all.", METHODS),
    ] = 0.5
    weak: Annotated[
        str | None,
        Parameter(
            "Guide away from the network with layers switched off: stg or pag, as in "
            "stg:scale=1,blocks=middle+output.3.",
            METHODS,
        ),
    ] = None
    between: Annotated[
        str | None,
        Parameter("From image to image with a model for one: vibid or trf.", METHODS, modes=BETWEEN),
    ] = None
    between_prompt: Annotated[
        Prompt | None,
        Parameter("The prompt for --between on its way back, seen in reverse.", METHODS, modes=BETWEEN),
    ] = None
