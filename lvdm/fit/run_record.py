"""`run.json` beside a training's logs: how each start of it was made, so that it can be made again."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lvdm.checkpoint import checkpoint_hash
from lvdm.documents import read_json
from lvdm.fit.checkpoints import CheckpointStore
from lvdm.media.atomic import OutputError, write_json
from lvdm.versions import installed_version

FORMAT = "dynamicrafter-training/1"
RECORD_FILE, CHECKPOINTS = "run.json", "checkpoints"
OWN_FOLDERS = ("dry_run", "tensorboard", "csv", "wandb")
"""What may be in the folder of a run before its record: a dry run, and what loggers make when they are built."""

PACKAGES = ("dynamicrafter", "torch", "pytorch-lightning", "open_clip_torch", "av", "peft")


def record_start(
    run_dir: Path, seed: int, configuration: str, pretrained: Sequence[Path], resumed: Path | None, world_size: int
) -> None:
    """Append this start to `run.json`: command, seed, configuration, hashes of what it begins from, versions."""
    path = run_dir / RECORD_FILE
    start = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "seed": seed,
        "configuration": configuration,
        "pretrained": {str(file): checkpoint_hash(file) for file in pretrained},
        "resumed": None if resumed is None else {str(resumed): checkpoint_hash(resumed)},
        "devices": world_size,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **{name: installed_version(name) for name in PACKAGES}},
    }
    write_json(path, {"format": FORMAT, "starts": [*earlier_starts(path), start]})


def check_run_folder(run_dir: Path, overwrite: bool = False) -> None:
    """Raise `OutputError` if `run_dir` holds anything but a training that was started here, unless `overwrite`.

    A training writes its configuration, keeps a few checkpoints and removes older ones. Its checkpoints, which have
    records of their own, may have come from elsewhere without the rest.
    """
    if overwrite or not run_dir.exists() or earlier_starts(run_dir / RECORD_FILE):
        return
    if not run_dir.is_dir():
        raise OutputError(f"{run_dir}: is a file, give another --name or --logdir")
    store = CheckpointStore(run_dir / CHECKPOINTS)
    others = [path for path in sorted(run_dir.iterdir()) if path.name not in (*OWN_FOLDERS, CHECKPOINTS)]
    others += [path for path in store.existing() if not store.has_record(path)]
    other = next(iter(others), None)
    if other is not None:
        raise OutputError(
            f"{run_dir} holds {other.name} and no {RECORD_FILE} of a training: it was not made here; give another "
            "--name, or allow it by --overwrite"
        )


def earlier_starts(path: Path) -> list[Any]:
    """The starts that `path` holds; none when there is no such file or it is not a record."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return []
    return list(found["starts"]) if isinstance(found, dict) and found.get("format") == FORMAT else []
