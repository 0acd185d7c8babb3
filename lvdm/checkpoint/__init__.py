"""Checkpoints in and out: every format read, loaded into meta-built modules, converted, described.

No code in a checkpoint is ever run: pickles are read with `weights_only` and nothing else, here and only here.
"""

from lvdm.checkpoint.converting import ConversionReport, convert
from lvdm.checkpoint.describing import CheckpointInfo, describe
from lvdm.checkpoint.hashing import checkpoint_hash
from lvdm.checkpoint.loading import LoadReport, check_same_unet, load_into, read_unet
from lvdm.checkpoint.parts import PARTS, Part, part_of
from lvdm.checkpoint.reading import CheckpointFile, read_checkpoint
from lvdm.errors import CheckpointError

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
    "read_unet",
]
