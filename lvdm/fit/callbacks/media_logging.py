"""Images and videos of a run: to files, and small ones to its loggers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.nn import functional as F

from lvdm.media.video_writer import write_video

LOGGED_SIDE = 160
"""Loggers get videos reduced to about this many pixels on the shorter side: they keep every one."""


def log_video(trainer: pl.Trainer, tag: str, video: Tensor, fps: float) -> None:
    """Show `video` (3, t, H, W) in [-1, 1] in TensorBoard or wandb, as an animation under `tag`."""
    receivers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger | WandbLogger)]
    if not receivers:
        return
    small = _reduced(video.float().cpu())
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(small, Path(folder) / "clip.gif", fps).path
        for logger in receivers:
            if isinstance(logger, WandbLogger):
                logger.log_video(tag, [str(path)], step=trainer.global_step, format=["gif"])
            else:
                height, width = small.shape[-2:]
                image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
                summary = Summary(value=[Summary.Value(tag=tag, image=image)])
                logger.experiment.file_writer.add_summary(summary, trainer.global_step)


def log_text(trainer: pl.Trainer, tag: str, text: str) -> None:
    """Show `text` in TensorBoard or wandb."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, text, trainer.global_step)
        elif isinstance(logger, WandbLogger):
            logger.log_text(tag, columns=["text"], data=[[text]], step=trainer.global_step)


def step_folder(trainer: pl.Trainer, kind: str) -> Path:
    """The folder for what is written after this step: RUN/kind/step-000123."""
    return Path(trainer.default_root_dir) / kind / f"step-{trainer.global_step:06d}"


def _reduced(video: Tensor) -> Tensor:
    factor = max(1, min(video.shape[-2:]) // LOGGED_SIDE)
    return F.avg_pool2d(video.transpose(0, 1), factor).transpose(0, 1)  # 3 t H' W'
