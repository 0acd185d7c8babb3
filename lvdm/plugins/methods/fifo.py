"""Videos of any length, frame by frame (FIFO-Diffusion): `lvdm.plugins.fifo` samples in the place of the sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvdm.plugins.method import Hold, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.settings import MethodSettings


def _active(settings: MethodSettings) -> bool:
    return settings.long_video == "fifo"


def _check(settings: MethodSettings) -> None:
    if _active(settings) and settings.sampler != "ddim":
        raise ValueError(f"long_video fifo takes its steps with sampler 'ddim', not {settings.sampler!r}")


METHOD = Method(
    name="fifo",
    label="long_video fifo",
    place=Place.FRAMES,
    active=_active,
    needs=(Need.OPEN_END,),
    denies=(Need.WHOLE_CLIP,),
    holds=(Hold.SAMPLER,),
    check=_check,
)
