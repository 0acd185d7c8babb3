"""Callbacks that training YAMLs name, one subject a file."""

from lvdm.fit.callbacks.checkpointing import ModelCheckpoint, ModelCheckpointConfig
from lvdm.fit.callbacks.defaults import default_callbacks
from lvdm.fit.callbacks.failures import DataFailures
from lvdm.fit.callbacks.guard import StepGuard, TrainingStoppedError
from lvdm.fit.callbacks.images import ImageLogger, ImageLoggerConfig
from lvdm.fit.callbacks.meters import TrainingMeters
from lvdm.fit.callbacks.progress import TrainingProgress
from lvdm.fit.callbacks.samples import SampleLogger
from lvdm.fit.callbacks.timestep_loss import LossByTimestep
from lvdm.fit.callbacks.weights import AveragedWeights, AveragedWeightsConfig, WeightExport, WeightExportConfig

__all__ = [
    "AveragedWeights",
    "AveragedWeightsConfig",
    "DataFailures",
    "ImageLogger",
    "ImageLoggerConfig",
    "LossByTimestep",
    "ModelCheckpoint",
    "ModelCheckpointConfig",
    "SampleLogger",
    "StepGuard",
    "TrainingMeters",
    "TrainingProgress",
    "TrainingStoppedError",
    "WeightExport",
    "WeightExportConfig",
    "default_callbacks",
]
