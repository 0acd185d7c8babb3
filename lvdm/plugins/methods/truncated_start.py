"""More motion by beginning below the last time step (CIL): see `lvdm.plugins.truncated_start`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lvdm.declaration.options import FileName
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Circumstances, Hold, Idle, Method, Need, Place, When

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings


@declared
class TruncatedStartParameters:
    """Where sampling begins, and with which noise."""

    truncated_start: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("Begin below the last time step, such as 0.94, for more motion.", GROUP, former=("start_time",)),
    ] = 1.0
    start_statistics: Annotated[
        FileName | None, Parameter("A file of `stats analytic-init`, for that beginning.", GROUP)
    ] = None


def _check(settings: MethodSettings) -> None:
    if settings.truncated_start == 0:
        raise ValueError("truncated_start 0 leaves nothing to sample; use a number up to 1, such as 0.94")
    if settings.start_statistics is not None and settings.truncated_start == 1:
        raise ValueError("start_statistics are for a truncated start; give truncated_start below 1, such as 0.94")


def _is_last(settings: MethodSettings, around: Circumstances) -> bool:
    """Whether sampling begins at the last time step all the same."""
    begins_there = settings.timestep_spacing == "uniform_trailing" and settings.start_statistics is None
    return begins_there and round(settings.truncated_start * around.timesteps) == around.timesteps


def _check_files(settings: MethodSettings) -> None:
    if settings.start_statistics is not None:
        from lvdm.plugins.latent_statistics import read_statistics

        read_statistics(settings.start_statistics)


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.latent_statistics import read_statistics
    from lvdm.plugins.truncated_start import TruncatedStart

    path = context.settings.start_statistics
    return [TruncatedStart(context.settings.truncated_start, None if path is None else read_statistics(path))]


METHOD = Method(
    name="truncated_start",
    label="truncated_start",
    place=Place.START,
    parameters=TruncatedStartParameters,
    active=lambda settings: settings.truncated_start < 1,
    needs=(Need.WHOLE_CLIP,),
    holds=(
        Hold.START,
        When(Hold.INITIAL_NOISE, lambda settings: settings.start_statistics is not None, "start_statistics"),
    ),
    make=_make,
    check=_check,
    check_files=_check_files,
    files=("start_statistics",),
    idle=(Idle("truncated_start", 1.0, _is_last, "it rounds to the last time step"),),
)
