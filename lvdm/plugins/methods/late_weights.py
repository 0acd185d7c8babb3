"""The network of another checkpoint takes the late steps (EDG): see `lvdm.plugins.late_weights`."""

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
class LateWeightsParameters:
    """Which weights, and from where on."""

    late_weights: Annotated[
        FileName | None,
        Parameter("A checkpoint of the same architecture whose network takes the late steps.", GROUP),
    ] = None
    late_below: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("0 to 1: from which time step on it does, as a share of all.", GROUP),
    ] = 0.5


def _check_files(settings: MethodSettings) -> None:
    """Open the file: whether it is a checkpoint shows before others are loaded."""
    if settings.late_weights is not None:
        from lvdm.checkpoint import read_checkpoint

        read_checkpoint(settings.late_weights)


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.late_weights import LateWeights

    path, share = context.settings.late_weights, context.settings.late_below
    if path is None or share == 0:
        return []
    below = share * context.model.schedule.num_train_timesteps
    return [LateWeights(context.unet_weights(path), below, alone=context.moves)]


METHOD = Method(
    name="late_weights",
    label="late_weights",
    place=Place.WEIGHTS,
    parameters=LateWeightsParameters,
    active=lambda settings: settings.late_weights is not None,
    needs=(Need.WHOLE_CLIP,),
    holds=(Hold.WEIGHTS,),
    make=_make,
    check_files=_check_files,
    files=("late_weights",),
    idle=(
        Idle("late_below", 0.5, lambda settings, _: settings.late_weights is None, "there are no late_weights"),
        Idle("late_weights", None, lambda settings, _: settings.late_below == 0, "late_below is 0"),
    ),
)
