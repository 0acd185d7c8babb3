"""More motion by beginning below the last time step (CIL): see `lvdm.plugins.early_start`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lvdm.declaration.options import FileName
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Method, Need, Place, When

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings


@declared
class EarlyStartParameters:
    """Where sampling begins, and with which noise."""

    start_time: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("Begin below the last time step, such as 0.94, for more motion.", GROUP),
    ] = 1.0
    start_statistics: Annotated[
        FileName | None, Parameter("A file of `stats analytic-init`, for that beginning.", GROUP)
    ] = None


def _check(settings: MethodSettings) -> None:
    if settings.start_time == 0:
        raise ValueError("start_time 0 leaves nothing to sample; use a number up to 1, such as 0.94")
    if settings.start_statistics is not None and settings.start_time == 1:
        raise ValueError("start_statistics are for an earlier start; give start_time below 1 as well, such as 0.94")


def _check_files(settings: MethodSettings) -> None:
    if settings.start_statistics is not None:
        from lvdm.plugins.latent_statistics import read_statistics

        read_statistics(settings.start_statistics)


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.early_start import EarlyStart
    from lvdm.plugins.latent_statistics import read_statistics

    path = context.settings.start_statistics
    return [EarlyStart(context.settings.start_time, None if path is None else read_statistics(path))]


METHOD = Method(
    name="early_start",
    label="start_time",
    place=Place.START,
    parameters=EarlyStartParameters,
    active=lambda settings: settings.start_time < 1,
    needs=(Need.WHOLE_CLIP,),
    holds=(
        Hold.START,
        When(Hold.INITIAL_NOISE, lambda settings: settings.start_statistics is not None, "start_statistics"),
    ),
    make=_make,
    check=_check,
    check_files=_check_files,
    files=("start_statistics",),
)
