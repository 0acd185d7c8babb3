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
from lvdm.data.atomic import write_json
from lvdm.documents import read_json
from lvdm.provenance import installed_version

FORMAT = "dynamicrafter-training/1"
PACKAGES = ("dynamicrafter", "torch", "pytorch-lightning", "open_clip_torch", "av", "peft")


def record_start(
    run_dir: Path, seed: int, configuration: str, pretrained: Sequence[Path], resumed: Path | None, world_size: int
) -> None:
    """Append this start to `run.json`: command, seed, configuration, hashes of what it begins from, versions."""
    path = run_dir / "run.json"
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


def earlier_starts(path: Path) -> list[Any]:
    """The starts that `path` holds; none when there is no such file or it is not a record."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return []
    return list(found["starts"]) if isinstance(found, dict) and found.get("format") == FORMAT else []
