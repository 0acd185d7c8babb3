"""Over which devices a training runs, and how: what `--devices`, `--strategy` and the launcher's variables mean.

Processes are started by Lightning itself on one machine, or by torchrun or srun on one or many. A launcher has already
decided how many processes there are; then that is what counts, and flags that say otherwise are an error.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy, Strategy, StrategyRegistry
from torch import distributed, nn

from lvdm.checkpoint.parts import TEXT_ENCODER
from lvdm.config import ConfigError
from lvdm.declaration.values import MAX_DEVICES
from lvdm.fit.arguments import OURS
from lvdm.fit.sharding import ShardedModel
from lvdm.fit.trainer_options import TrainerOptions
from lvdm.launched import Launch
from lvdm.media.file_names import check_name
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.suggestions import suggest

REMOVED = {"ddp_sharded": "fsdp", "ddp_sharded_spawn": "fsdp", "dp": "ddp", "ddp2": "ddp", "fairscale": "fsdp"}
"""Strategies of the Lightning that the original used, and what took their place."""

RUN_NAME_VARIABLE = "DYNAMICRAFTER_RUN_NAME"
"""Names, for the processes that Lightning starts what the first one called the run."""


@dataclass(frozen=True)
class Machines:
    """What a training runs on: kind of device, devices of each machine (a count, or which), machines."""

    accelerator: str
    devices: int | list[int]
    nodes: int = 1

    @property
    def processes(self) -> int:
        """One for each device of every machine."""
        return (self.devices if isinstance(self.devices, int) else len(self.devices)) * self.nodes


def find_machines(devices: str, trainer: TrainerOptions, launched: Launch | None = None) -> Machines:
    """What to run on: `--devices`, the YAML's trainer options, and what a launcher has started.

    Raises `ConfigError` where they contradict each other or this machine.
    """
    accelerator = _accelerator(trainer.accelerator or "auto")
    present = {"cuda": torch.cuda.device_count, "cpu": lambda: os.cpu_count() or 1}.get(accelerator, lambda: 1)()
    wanted = _wanted_devices(str(devices if devices != "auto" or trainer.devices is None else trainer.devices))
    nodes = trainer.num_nodes or 1
    if launched is not None:
        count = len(wanted) if isinstance(wanted, list) else wanted
        if count not in (None, -1, launched.devices) or nodes not in (1, launched.nodes):
            raise ConfigError(
                f"{launched.launcher} started {launched.devices} processes on each of {launched.nodes} machines, and "
                f"--devices or lightning.trainer say {count} on {nodes}; leave them out"
            )
        if accelerator == "cuda" and present < launched.devices:
            raise ConfigError(
                f"{launched.launcher} started {launched.devices} processes here and each sees {present} GPUs; under "
                "SLURM ask for --gpus-per-node, not for GPUs of each task"
            )
        return Machines(accelerator, launched.devices, launched.nodes)
    if wanted in (None, -1):
        return Machines(accelerator, present if accelerator == "cuda" else 1, nodes)
    largest = max(wanted, default=0) if isinstance(wanted, list) else (wanted or 1) - 1
    if accelerator != "cpu" and largest >= present:
        raise ConfigError(f"--devices {devices}: this machine has {present} device(s) of the kind {accelerator}")
    return Machines(accelerator, wanted or 1, nodes)


def check_strategy(name: str, machines: Machines, *, averages: bool = False) -> None:
    """Raise `ConfigError`, before anything is loaded, for a strategy that is unknown or cannot run here.

    averages  whether the run keeps averaged weights, which need the whole model on each device
    """
    if name in REMOVED:
        raise ConfigError(f"strategy {name} is gone from Lightning; use {REMOVED[name]}")
    if name not in OURS and name not in StrategyRegistry.available_strategies():
        raise ConfigError(f"strategy {name!r} is not known; {suggest(name, OURS)}")
    family = "fsdp" if name.startswith("fsdp") else "deepspeed" if name.startswith("deepspeed") else "ddp"
    if name.startswith("ddp_spawn") or name.startswith("ddp_fork") or name.startswith("ddp_notebook"):
        raise ConfigError(f"strategy {name} starts processes that cannot be stopped in time to save; use ddp")
    if family == "ddp":
        return
    if name in ("fsdp", "fsdp_sharded"):
        if averages and name == "fsdp_sharded":
            raise ConfigError("strategy fsdp_sharded keeps no averaged weights; use fsdp, or leave AveragedWeights out")
        return
    if family == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(
            "strategy deepspeed needs DeepSpeed: pip install deepspeed (Linux and NVIDIA GPUs), or use fsdp"
        )
    if machines.accelerator != "cuda":
        raise ConfigError(f"strategy {name} runs on GPUs only, and this run is on {machines.accelerator}; use ddp")
    if averages:
        raise ConfigError(
            f"strategy {name} splits what lvdm.fit.callbacks.AveragedWeights averages; use ddp, or leave it out"
        )


def build_strategy(name: str, model: nn.Module, machines: Machines) -> str | Strategy:
    """What `pytorch_lightning.Trainer` takes as `strategy`, for a model whose trained parts have been chosen."""
    if name == "auto" and machines.processes == 1:
        return "auto"
    if name in ("auto", "ddp"):
        return DDPStrategy(find_unused_parameters=has_unused_parameters(model))
    if name in ("fsdp", "fsdp_sharded"):
        return ShardedModel(machines.processes, sharded_checkpoints=name == "fsdp_sharded")
    return "deepspeed_stage_2" if name == "deepspeed" else name


def has_unused_parameters(model: nn.Module) -> bool:
    """Whether some trained parameters take no part in the loss, which DDP must then look for in every step.

    That is so for a text encoder whose last layers the tokens do not pass, and for nothing else in these models.
    """
    if not isinstance(model, LatentVisualDiffusion):
        return True
    return any(p.requires_grad for name, p in model.named_parameters() if name.startswith(TEXT_ENCODER.prefix))


def agree_on_errors(problem: str | None) -> None:
    """Raise `ConfigError` on every process if any of them has a `problem`; all of them must call this.

    So a folder that is missing on one machine stops all, and the message says on which.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        if problem:
            raise ConfigError(problem)
        return
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, (socket.gethostname(), problem) if problem else None)
    found = [f"process {rank} on {item[0]}: {item[1]}" for rank, item in enumerate(gathered) if item]
    if found:
        raise ConfigError("; ".join(dict.fromkeys(found)))


def run_name(name: str, machines: Machines, launched: Launch | None) -> str:
    """The folder of the run inside --logdir, the same in all processes; the time without `--name`.

    Raises `ConfigError` for a name that leads to another place.
    """
    if name:
        return check_name(name, "--name", ConfigError)
    if launched is not None and machines.processes > 1:
        raise ConfigError(f"{launched.launcher} starts several processes, which need --name to agree on a folder")
    chosen = os.environ.setdefault(RUN_NAME_VARIABLE, time.strftime("%Y-%m-%dT%H-%M-%S"))
    return check_name(chosen, RUN_NAME_VARIABLE, ConfigError)


def _accelerator(name: str) -> str:
    if name in ("auto", "gpu"):
        if torch.cuda.is_available():
            return "cuda"
        if torch.backends.mps.is_available():
            return "mps"
        if name == "gpu":
            raise ConfigError("lightning.trainer.accelerator is gpu, and torch finds no GPU here")
        return "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("lightning.trainer.accelerator is cuda, and torch finds no GPU here")
    return name


def _wanted_devices(text: str) -> int | list[int] | None:
    """`auto` -> None, `-1` -> all of them, `2` -> two, `0,3` -> these."""
    if text == "auto":
        return None
    try:
        numbers = [int(item) for item in text.strip("()[] ").split(",") if item.strip()]
    except ValueError:
        raise ConfigError(f"--devices {text[:40]}: should be a number, a list such as 0,1 or auto") from None
    if "," in text or text.startswith(("[", "(")):
        return numbers
    if not numbers or not (1 <= numbers[0] <= MAX_DEVICES or numbers[0] == -1):
        raise ConfigError(f"--devices {text[:40]}: should be 1 to {MAX_DEVICES}, or -1 for all")
    return numbers[0]
