"""Checkpoints in and out: every format read, loaded into meta-built modules, converted, described.

No code in a checkpoint is ever run: pickles are read with `weights_only` and nothing else, here and only here.

Parts are imported when they are first asked for: hashes and names need no torch.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvdm.checkpoint.converting import ConversionReport, convert
    from lvdm.checkpoint.describing import CheckpointInfo, describe
    from lvdm.checkpoint.hashing import checkpoint_hash
    from lvdm.checkpoint.keys import read_shapes
    from lvdm.checkpoint.loading import LoadReport, check_same_unet, load_into, read_unet
    from lvdm.checkpoint.parts import PARTS, Part, part_of
    from lvdm.checkpoint.reading import CheckpointFile, read_checkpoint
    from lvdm.errors import CheckpointError

_PLACES = MappingProxyType(
    {
        "CheckpointError": "lvdm.errors",
        "CheckpointFile": "lvdm.checkpoint.reading",
        "CheckpointInfo": "lvdm.checkpoint.describing",
        "ConversionReport": "lvdm.checkpoint.converting",
        "LoadReport": "lvdm.checkpoint.loading",
        "PARTS": "lvdm.checkpoint.parts",
        "Part": "lvdm.checkpoint.parts",
        "check_same_unet": "lvdm.checkpoint.loading",
        "checkpoint_hash": "lvdm.checkpoint.hashing",
        "convert": "lvdm.checkpoint.converting",
        "describe": "lvdm.checkpoint.describing",
        "load_into": "lvdm.checkpoint.loading",
        "part_of": "lvdm.checkpoint.parts",
        "read_checkpoint": "lvdm.checkpoint.reading",
        "read_shapes": "lvdm.checkpoint.keys",
        "read_unet": "lvdm.checkpoint.loading",
    }
)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


__all__ = [
    "PARTS",
    "CheckpointError",
    "CheckpointFile",
    "CheckpointInfo",
    "ConversionReport",
    "LoadReport",
    "Part",
    "check_same_unet",
    "checkpoint_hash",
    "convert",
    "describe",
    "load_into",
    "part_of",
    "read_checkpoint",
    "read_shapes",
    "read_unet",
]
