"""A batch in Lightning's predict loop: one device, several of one machine, or what torchrun and SLURM have started."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader

from lvdm.batch.page import LivePage
from lvdm.batch.plan import BatchPlan, Bundle
from lvdm.batch.worker import BatchWorker, Reporter
from lvdm.errors import UserError
from lvdm.launched import launch

_NOT_OURS = (r".*does not have many workers.*", r".*predict returned None.*", r".*isinstance\(treespec, LeafSpec\).*")
"""Warnings of Lightning about what is meant so here, or about itself."""

_PATIENCE = timedelta(days=30)
"""How long a process waits at the end for one that has longer videos."""


class BatchModule(pl.LightningModule):
    """Makes the bundles that this process is given; predicts nothing that Lightning would collect."""

    def __init__(self, plan: BatchPlan, bundles: Sequence[Bundle], reporter: Reporter, threads: int) -> None:
        super().__init__()
        self._plan, self._bundles, self._reporter, self._threads = plan, bundles, reporter, threads
        self._worker: BatchWorker | None = None
        self._page = LivePage(plan)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a process that Lightning has started: show what is logged, but not by Lightning."""
        super().__setstate__(state)
        _quieten()
        self._reporter.start()

    def setup(self, stage: str) -> None:
        """Let SIGTERM end the process; Lightning's handler would remember it and go on with the next video."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)

    def predict_dataloader(self) -> DataLoader[Bundle]:
        """What the first process found unfinished, the same for all: each takes its share of it.

        Raises `UserError` where this process has another list or other models.
        """
        mine = self._plan.fingerprint
        first, bundles = self.trainer.strategy.broadcast((mine, list(self._bundles)))
        if first != mine:
            raise UserError(
                f"process {self.global_rank} on {socket.gethostname()} has another list, other settings or another "
                "model than the first one; all need the same command and the same files"
            )
        count = self.trainer.world_size
        bundles += [()] * (-len(bundles) % count)  # all take as many, so that all come to the end of the loop
        share = [number for bundle in bundles[self.global_rank :: count] for number in bundle]
        device = str(self.trainer.strategy.root_device)
        self._worker = BatchWorker(self._plan, self._reporter, device, share, self._threads)
        return DataLoader(bundles, batch_size=1, collate_fn=_alone)  # type: ignore[arg-type]  # a list is a data set

    def transfer_batch_to_device(self, batch: Bundle, device: torch.device, dataloader_idx: int) -> Bundle:
        """Numbers stay where they are."""
        return batch

    def predict_step(self, batch: Bundle, batch_idx: int) -> None:
        """Make one bundle."""
        assert self._worker is not None
        self._worker.make(batch)
        if self.global_rank == 0:
            self._page.refresh()

    def on_predict_epoch_end(self) -> None:
        """Wait until the other processes are done as well."""
        self.trainer.strategy.barrier()


def predict(plan: BatchPlan, bundles: Sequence[Bundle], reporter: Reporter) -> None:
    """Make the bundles, see `build_trainer` for where. Raises `ValueError`; KeyboardInterrupt as it comes."""
    with warnings.catch_warnings():
        _quieten()
        trainer = build_trainer(plan, len(bundles))
    threads = torch.get_num_threads()
    if plan.plans[0].model.device.type != "cpu":  # which computes nothing then whose rounding could differ
        threads = max(1, min(threads, (os.cpu_count() or 1) // trainer.num_devices))
    with _processes_alike(threads), _signals_restored(), warnings.catch_warnings():
        _quieten()
        try:
            trainer.predict(BatchModule(plan, bundles, reporter, threads), return_predictions=False)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            _end_processes(trainer)
            raise KeyboardInterrupt from stop
        except ProcessRaisedException as error:
            raise UserError(str(error).strip().splitlines()[-1].partition(": ")[2] or str(error)) from error
        except ProcessExitedException as error:
            _end_processes(trainer)
            how = f"by {error.signal_name}" if error.signal_name else f"with code {error.exit_code}"
            raise UserError(
                f"process {error.error_index} of the batch was ended {how}; the same command goes on with what is left"
            ) from error


def _end_processes(trainer: pl.Trainer) -> None:
    """Ask the processes that Lightning has started to end, and wait until they have."""
    processes = getattr(trainer.strategy.launcher, "procs", [])
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def build_trainer(plan: BatchPlan, count: int) -> pl.Trainer:
    """The trainer for `count` bundles. Raises `UserError` where `--devices` and `--device` or a launcher disagree."""
    model, launched, wanted = plan.plans[0].model, launch(), plan.how.devices
    device, chosen = model.device, model.machine.device != "auto" and model.device.index is not None
    if chosen and (launched or (wanted or 1) > 1):
        raise UserError(f"--device {model.machine.device} is a single device; leave it out, or --devices")
    there = torch.cuda.device_count() if device.type == torch.device(0).type else None
    devices: int | list[int]
    if launched is not None:
        if wanted not in (None, launched.devices):
            raise UserError(
                f"{launched.launcher} started {launched.devices} processes on each machine, and --devices says "
                f"{wanted}; leave it out"
            )
        devices = launched.devices
    elif chosen:
        devices = [device.index]
    else:
        devices = min(wanted or there or 1, max(1, count))  # no process without work
    if there is not None and isinstance(devices, int) and devices > there:
        raise UserError(f"--devices {devices}: this machine has {there}")
    nodes = 1 if launched is None else launched.nodes
    several = nodes > 1 or (isinstance(devices, int) and devices > 1)
    strategy: Any = "auto"
    if several:  # processes of our own get the plan as it is, and end with this one
        strategy = DDPStrategy(start_method="popen" if launched else "spawn", timeout=_PATIENCE)
    slurm = launched is not None and launched.launcher == "SLURM"
    return pl.Trainer(
        plugins=[SLURMEnvironment(auto_requeue=False)] if slurm else None,
        accelerator=device.type,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def _quieten() -> None:
    """Leave what is said to us."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    for message in _NOT_OURS:
        warnings.filterwarnings("ignore", message=message)


def _alone(batch: Sequence[Bundle]) -> Bundle:
    (bundle,) = batch
    return bundle


@contextmanager
def _processes_alike(threads: int) -> Iterator[None]:
    """Let processes that are started in the block have as many threads as this one.

    Lightning would divide the cores among them, and sums are rounded in an order that depends on the number of threads.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _signals_restored() -> Iterator[None]:
    """Put the handlers of Ctrl-C and SIGTERM back at the end; SIGTERM ends the block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
