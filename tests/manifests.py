"""The state dicts of the released checkpoints: every key with its shape, in order."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from torch import nn

GOLDEN = Path(__file__).parent / "golden"

Entries = list[tuple[str, tuple[int, ...]]]


def manifest(model: str, prefix: str = "") -> Entries:
    """(key, shape) of the released checkpoint `model` ("256", "512" or "1024") below `prefix`, which is cut off."""
    with gzip.open(GOLDEN / f"manifest_{model}.json.gz", "rt") as lines:
        entries = [json.loads(line) for line in lines]
    return [(e["key"].removeprefix(prefix), tuple(e["shape"])) for e in entries if e["key"].startswith(prefix)]


def entries(module: nn.Module) -> Entries:
    """(key, shape) of a module's state dict."""
    return [(key, tuple(value.shape)) for key, value in module.state_dict().items()]
