"""Released keys and those of files: prefixes, old names, layers that lie elsewhere; and shapes read from headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lvdm.errors import CheckpointError

DEEPSPEED_PREFIX = "_forward_module."
OLD_NAME, NEW_NAME = "framestride_embed", "fps_embedding"
"""The name of a layer in the published 256 checkpoint, and in the released code."""

IMAGE_MODEL_LAYER = "model.diffusion_model.middle_block.2.in_layers.0.weight"
"""Marks a text-to-image model such as Stable Diffusion: in a video model a temporal transformer has this place."""

AFTER_TEMPORAL = re.compile(r"(?<=^model\.diffusion_model\.)(middle_block|output_blocks\.\d+)\.2\.")
"""Layers that come one place later in a video model: the last of the middle, and upsampling after attention."""

DIFFUSERS_INDEX = "model_index.json"
"""Marks a folder in the layout of diffusers, see `lvdm.checkpoint.diffusers_folder`."""

SAFETENSORS_DTYPES = ("BOOL", "U8", "I8", "I16", "I32", "I64", "F16", "BF16", "F32", "F64")
"""The names of dtypes in safetensors files that can be read."""


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by released key. Of safetensors files the header is read, without torch.

    Raises `CheckpointError` as `lvdm.checkpoint.read_checkpoint` does.
    """
    path = Path(path)
    shapes = _shapes_in_header(path)
    if shapes is not None:
        return {released: shapes[key] for released, key in released_keys(path, {key: key for key in shapes}).items()}
    from lvdm.checkpoint.reading import read_checkpoint  # other formats, and what is wrong with this one

    checkpoint = read_checkpoint(path)
    return {key: checkpoint.shape(key) for key in checkpoint}


def _shapes_in_header(path: Path) -> dict[str, tuple[int, ...]] | None:
    """Those of a whole safetensors file by its own keys; None for anything else."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:9] != b"{":
            return None
        with safe_open(path, framework="np") as tensors:
            slices = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118  # it is no mapping
            if any(found.get_dtype() not in SAFETENSORS_DTYPES for found in slices.values()):
                return None
            return {key: tuple(found.get_shape()) for key, found in slices.items()}
    except (SafetensorError, OSError):
        return None


def released_keys(path: Path, names: Mapping[str, str], deepspeed: bool = False) -> dict[str, str]:
    """Released key -> key in the file, of `names`: key as the model had it -> key in the file.

    Raises `CheckpointError` where two keys are the same layer, or a prefix of DeepSpeed is on some keys only.
    """
    prefix = ""
    if deepspeed and any(name.startswith(DEEPSPEED_PREFIX) for name in names):
        without = [name for name in names if not name.startswith(DEEPSPEED_PREFIX)]
        if without:
            raise CheckpointError(
                f"{path}: {len(without)} of {len(names)} keys lack the prefix {DEEPSPEED_PREFIX!r}, such as "
                f"{without[0]}; a DeepSpeed file has it on all or none"
            )
        prefix = DEEPSPEED_PREFIX
    of_images = any(name.endswith(IMAGE_MODEL_LAYER) for name in names)
    stored: dict[str, str] = {}
    for name, key in names.items():
        released = name.removeprefix(prefix).replace(f".{OLD_NAME}.", f".{NEW_NAME}.")
        if of_images:
            released = AFTER_TEMPORAL.sub(r"\1.3.", released)
        if released in stored:
            raise CheckpointError(f"{path} holds both {stored[released]} and {key}, which are the same layer")
        stored[released] = key
    return stored


def examples(names: list[str], count: int = 4) -> str:
    """The first few of a list, for an error."""
    return ", ".join(names[:count]) + (" ..." if len(names) > count else "")
