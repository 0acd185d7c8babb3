"""Callbacks that training YAMLs name, one subject a file."""

from main.callbacks.checkpointing import ModelCheckpoint, ModelCheckpointConfig
from main.callbacks.defaults import default_callbacks
from main.callbacks.failures import DataFailures
from main.callbacks.guard import StepGuard, TrainingStoppedError
from main.callbacks.images import ImageLogger, ImageLoggerConfig
from main.callbacks.meters import TrainingMeters
from main.callbacks.progress import TrainingProgress
from main.callbacks.samples import SampleLogger
from main.callbacks.timestep_loss import LossByTimestep
from main.callbacks.weights import AveragedWeights, AveragedWeightsConfig, WeightExport, WeightExportConfig

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
