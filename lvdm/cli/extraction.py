"""Features of clips on several devices at once: Lightning's predict loop shares the clips among processes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lvdm.device import device_of_rank
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_files import FrameScaling
from lvdm.evaluation.extraction import ClipReader, ExtractionJob, FeatureWriter, Prepared, as_it_is

_NOT_OURS = (r".*does not have many workers.*", r".*predict returned None.*", r".*isinstance\(treespec, LeafSpec\).*")
"""Warnings of Lightning about what is meant so here, or about itself."""


class ClipFeatures(pl.LightningModule):
    """Writes the features of each clip that this process is given; predicts nothing that Lightning would collect."""

    def __init__(self, jobs: Sequence[ExtractionJob], writer: FeatureWriter) -> None:
        super().__init__()
        self.jobs = jobs
        self.writer = writer

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave clips where they are: extractors take them to their device."""
        return batch

    def predict_step(self, batch: Sequence[Prepared], batch_idx: int) -> None:
        """Take a few clips."""
        for prepared in batch:
            self.writer.add(self.jobs[prepared.index], prepared)

    def on_predict_epoch_end(self) -> None:
        """Write what waited for a full batch, and wait until the other processes have."""
        self.writer.flush()
        self.trainer.strategy.barrier()


def local_device(device: str, devices: int) -> str:
    """The device of this process: the one that was named, or of several GPUs that of its rank."""
    if device != "auto" or devices == 1 or torch.cuda.device_count() < 2:
        return device
    return str(device_of_rank(int(os.environ.get("LOCAL_RANK", 0))))


def extract_on_devices(
    jobs: Sequence[ExtractionJob],
    cache: FeatureCache,
    scaling: FrameScaling,
    devices: int,
    workers: int,
    batch_size: int,
) -> bool:
    """Do the jobs in `devices` processes, each of which was started with the same command by Lightning.

    Every process has to come here, with the same jobs. Returns whether this is the process that reports.
    """
    running_on = {
        getattr(record.extractor, "device", torch.device("cpu")).type for job in jobs for record in job.wanted
    }
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    trainer = pl.Trainer(
        accelerator="cpu" if running_on == {"cpu"} else "auto",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    loader: DataLoader[Any] = DataLoader(
        ClipReader(jobs, scaling), batch_size=batch_size, num_workers=workers, collate_fn=as_it_is
    )
    with warnings.catch_warnings():
        for message in _NOT_OURS:
            warnings.filterwarnings("ignore", message=message)
        trainer.predict(ClipFeatures(jobs, FeatureWriter(cache, batch_size)), loader, return_predictions=False)
    return trainer.is_global_zero
