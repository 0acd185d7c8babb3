"""The state dicts of the released checkpoints: every key with its shape, in order."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lvdm.checkpoint.parts import CLIP_ENCODERS, Part, part_of
from lvdm.diffusion.schedule import ScheduleConfig, schedule_buffers

GOLDEN = Path(__file__).parent / "golden"

Entries = list[tuple[str, tuple[int, ...]]]


def manifest(model: str, prefix: str = "") -> Entries:
    """(key, shape) of the released checkpoint `model` ("256", "512", "1024", `MAKEYOURVIDEO` or one of `VIDEOCRAFTER`).

    Only those below `prefix`, which is cut off.
    """
    with gzip.open(GOLDEN / f"manifest_{model}.json.gz", "rt") as lines:
        entries = [json.loads(line) for line in lines]
    return [(e["key"].removeprefix(prefix), tuple(e["shape"])) for e in entries if e["key"].startswith(prefix)]


def entries(module: nn.Module) -> Entries:
    """(key, shape) of a module's state dict."""
    return [(key, tuple(value.shape)) for key, value in module.state_dict().items()]


SCHEDULES = {
    "256": ScheduleConfig(),
    "512": ScheduleConfig(parameterization="v", rescale_betas_zero_snr=True, use_dynamic_rescale=True, base_scale=0.7),
    "1024": ScheduleConfig(parameterization="v", rescale_betas_zero_snr=True, use_dynamic_rescale=True, base_scale=0.3),
    "crafter_t2v_512_v1": ScheduleConfig(),
    "crafter_t2v_512_v2": ScheduleConfig(use_dynamic_rescale=True, base_scale=0.7),
    "crafter_t2v_1024": ScheduleConfig(use_dynamic_rescale=True, base_scale=0.3, fix_scale_bug=True),
    "crafter_i2v_512": ScheduleConfig(use_dynamic_rescale=True, base_scale=0.7),
    "makeyourvideo_256": ScheduleConfig(),
}
MAKEYOURVIDEO = "makeyourvideo_256"

VIDEOCRAFTER = {
    "vc1": "crafter_t2v_512_v1",
    "vc2": "crafter_t2v_512_v2",
    "vc1024": "crafter_t2v_1024",
    "vc-i2v": "crafter_i2v_512",
}
"""Presets -> names of their manifests."""


def write_released(
    path: Path, model: str, with_schedule: bool = True, with_towers: bool = True, without: Sequence[Part] = ()
) -> Path:
    """A file with the keys and shapes of a released checkpoint, whose 10 GB of values are a hole in the file."""
    buffers = schedule_buffers(SCHEDULES[model]) if with_schedule else {}
    header, offset, head = {}, 0, b"".join(value.numpy().tobytes() for value in buffers.values())
    for key, shape in manifest(model):
        part = part_of(key)
        if (part.prefix == "" and not with_schedule) or (part in CLIP_ENCODERS and not with_towers) or part in without:
            continue
        size = 4 * torch.Size(shape).numel()
        header[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded + head)
        file.truncate(8 + len(encoded) + offset)
    return path
