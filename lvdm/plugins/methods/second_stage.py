"""The network of another checkpoint takes the late steps (EDG): see `lvdm.plugins.second_stage`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lvdm.declaration.options import FileName
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Idle, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings


@declared
class SecondStageParameters:
    """Which weights, and from where on."""

    second_stage_unet: Annotated[
        FileName | None,
        Parameter(
            "A checkpoint of the same architecture whose network takes the late steps.", GROUP, former=("late_weights",)
        ),
    ] = None
    second_stage_below: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("0 to 1: from which time step on it does, as a share of all.", GROUP, former=("late_below",)),
    ] = 0.5


def _check_files(settings: MethodSettings) -> None:
    """Open the file: whether it is a checkpoint shows before others are loaded."""
    if settings.second_stage_unet is not None:
        from lvdm.checkpoint import read_shapes

        read_shapes(settings.second_stage_unet)


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.second_stage import SecondStage

    path, share = context.settings.second_stage_unet, context.settings.second_stage_below
    if path is None or share == 0:
        return []
    below = share * context.model.schedule.num_train_timesteps
    return [SecondStage(context.unet_weights(path), below, alone=context.moves)]


METHOD = Method(
    name="second_stage",
    label="second_stage_unet",
    place=Place.WEIGHTS,
    parameters=SecondStageParameters,
    active=lambda settings: settings.second_stage_unet is not None,
    needs=(Need.WHOLE_CLIP,),
    holds=(Hold.WEIGHTS,),
    make=_make,
    check_files=_check_files,
    files=("second_stage_unet",),
    idle=(
        Idle(
            "second_stage_below",
            0.5,
            lambda settings, _: settings.second_stage_unet is None,
            "there is no second_stage_unet",
        ),
        Idle(
            "second_stage_unet",
            None,
            lambda settings, _: settings.second_stage_below == 0,
            "second_stage_below is 0",
            along=(("second_stage_below", 0.5),),
        ),
    ),
)
