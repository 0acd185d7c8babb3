"""The callbacks that every training has, named in its YAML or not."""

from __future__ import annotations

from collections.abc import Sequence

import pytorch_lightning as pl

from lvdm.fit.callbacks.failures import DataFailures, DataFailuresConfig
from lvdm.fit.callbacks.guard import StepGuard, StepGuardConfig
from lvdm.fit.callbacks.meters import TrainingMeters, TrainingMetersConfig
from lvdm.fit.callbacks.progress import TrainingProgress, TrainingProgressConfig
from lvdm.fit.callbacks.samples import SampleLogger, SampleLoggerConfig
from lvdm.fit.callbacks.timestep_loss import LossByTimestep, LossByTimestepConfig
from lvdm.model_card import ModelCard


def default_callbacks(
    named: Sequence[pl.Callback], card: ModelCard | None = None, progress: bool = True
) -> list[pl.Callback]:
    """`named` callbacks of a YAML and, around them, those of the default set that it does not name.

    `card` is the YAML's `sampling:` block, if it has one: what samples are drawn with.

    In this order they see each step: meters (before the guard takes gradients away), losses by time step, failures,
    guard, the others as named, samples, and the progress bar, which a trainer without one (`progress` False) refuses.
    """
    defaults: list[pl.Callback] = [
        TrainingMeters(TrainingMetersConfig()),
        LossByTimestep(LossByTimestepConfig()),
        DataFailures(DataFailuresConfig()),
        StepGuard(StepGuardConfig()),
    ]
    first = [next((own for own in named if isinstance(own, type(default))), default) for default in defaults]
    rest = [callback for callback in named if not any(callback is other for other in first)]
    if not any(isinstance(callback, SampleLogger) for callback in rest):
        rest.append(SampleLogger(SampleLoggerConfig()))
    for callback in rest:
        if isinstance(callback, SampleLogger):
            callback.card = callback.card or card
    if progress and not any(isinstance(callback, pl.callbacks.ProgressBar) for callback in rest):
        rest.append(TrainingProgress(TrainingProgressConfig()))
    return [*first, *rest]
