"""What a launcher has started: torchrun or SLURM decide how many processes there are, and which of them this is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lvdm.config import ConfigError


@dataclass(frozen=True)
class Launch:
    """What torchrun or srun has started: `devices` processes on each of `nodes` machines."""

    launcher: str
    devices: int
    nodes: int


def launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What a launcher has decided, from its variables; None where Lightning starts the processes."""
    if "TORCHELASTIC_RUN_ID" in environment:
        local = int(environment["LOCAL_WORLD_SIZE"])
        return Launch("torchrun", local, int(environment["WORLD_SIZE"]) // local)
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        tasks, nodes = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_NNODES", 1))
        if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in environment:
            raise ConfigError(
                "SLURM was asked for --ntasks; ask for --nodes and --ntasks-per-node, one task for each GPU"
            )
        return Launch("SLURM", int(environment.get("SLURM_NTASKS_PER_NODE", tasks)), nodes)
    return None


def torchrun_processes(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes torchrun has started, this one among them; 1 where it started none."""
    launched = launch(environment)
    return launched.devices * launched.nodes if launched is not None and launched.launcher == "torchrun" else 1


def process_number(environment: Mapping[str, str] = os.environ) -> int:
    """Which of the launched processes this is, from 0; 0 where nothing was launched."""
    launched = launch(environment)
    if launched is None:
        return 0
    return int(environment["RANK" if launched.launcher == "torchrun" else "SLURM_PROCID"])


def local_process_number(environment: Mapping[str, str] = os.environ) -> int:
    """Which of torchrun's processes on this machine this is, from 0; 0 where it started none."""
    return int(environment.get("LOCAL_RANK", 0))
