"""Makes the videos of `frozen_cases`, as small as they are stored, and compares them with those that are stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frozen_cases import FLOW, LATE, LORA, MODELS, STATISTICS, TOLERANCE, Case, ExtensionCase
from golden_vectors import GOLDEN, fill_value, rand
from safetensors.torch import load_file, save_file
from small_model import FRAMES, SIDE, write_model
from torch import Tensor
from torch.nn import functional as F

from lvdm.checkpoint import read_checkpoint
from lvdm.checkpoint.lora import LoraInfo, write_lora
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.extension import Extension, extend_video, segment_settings
from lvdm.plugins.latent_statistics import write_statistics
from lvdm.plugins.truncated_start import LatentStatistics

FROZEN = GOLDEN / "frozen"
VIDEOS = FROZEN / "videos.safetensors"
SMALL = 48
"""Sides up to which a video is stored as means of 4x4 pixels; of 8x8 if a side is longer."""


class FrozenPipelines:
    """The models of `frozen_cases` in a folder, each written and loaded when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[str, DynamiCrafterPipeline] = {}

    def __call__(self, name: str) -> DynamiCrafterPipeline:
        if name not in self._loaded:
            tree, how = MODELS[name]
            folder = write_model(self.folder / name, tree)
            self._loaded[name] = DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32", **how)
            if name == "small":
                write_inputs(self.folder, folder / "model.safetensors")
        return self._loaded[name]


def write_inputs(folder: Path, checkpoint: Path) -> None:
    """The files that cases of the model `checkpoint` name, into `folder`."""
    weights = load_file(checkpoint)
    save_file({key: 0.8 * value for key, value in weights.items()}, folder / LATE)
    statistics = LatentStatistics(rand("frozen statistics", (4, FRAMES, SIDE // 4, SIDE // 4)), 0.5)
    write_statistics(folder / STATISTICS, statistics, 3, "a rule")
    write_small_lora(folder / LORA, checkpoint)
    np.savez(folder / FLOW, flow=np.concatenate([np.zeros((1, 2, 2, 2)), np.full((FRAMES - 1, 2, 2, 2), 0.5)]))


def write_small_lora(path: Path, checkpoint: Path) -> Path:
    """A LoRA of rank 1 on the attention of one block."""
    weights = read_checkpoint(checkpoint)
    shapes = {key: weights.shape(key) for key in weights if key.startswith("model.") and key.endswith("to_q.weight")}
    layers = {
        key: (fill_value(key + "A", (1, shape[1])), fill_value(key + "B", (shape[0], 1)))
        for key, shape in shapes.items()
    }
    return write_lora(path, layers, LoraInfo(1, 0.5, "attn", checkpoint.name, "0" * 64))


def make(pipelines: FrozenPipelines, case: Case) -> dict[str, Tensor]:
    """The latents of the case and the means of its video's squares. Latents are left out where none are held."""
    pipe = pipelines(case.model)
    paths = {name: str(pipelines.folder / name) for name in (LATE, STATISTICS, FLOW)}
    asked: dict[str, Any] = dict(case.asked)
    asked |= {key: paths[value] for key, value in asked.items() if isinstance(value, str) and value in paths}
    for scale in case.loras:
        pipe.load_lora(pipelines.folder / LORA, scale)
    try:
        result = pipe(**asked)
    finally:
        pipe.unload_loras()
    made = {"video": block_means(result.video)}
    return made | ({"latents": result.latents} if result.latents.shape[2] else {})


def make_extension(pipelines: FrozenPipelines, case: ExtensionCase) -> dict[str, Tensor]:
    """The means of the squares of the frames that are new."""
    pipe = pipelines("small")
    settings = segment_settings(pipe.settings(**case.settings), SIDE, SIDE)
    video = rand("frozen video", (3, case.frames, SIDE, SIDE)).mul(0.3).clamp(-1, 1)
    segments = extend_video(pipe, video, "it goes on", Extension(*case.extension), settings, seed=4)
    return {"video": block_means(torch.cat([segment.frames for segment in segments], dim=1)[None])}


def block_means(video: Tensor) -> Tensor:
    """Means (b, 3, t, H / k, W / k) of the squares of a video (b, 3, t, H, W), whose sides k are 4 or 8."""
    side = 4 if max(video.shape[3:]) <= SMALL else 8
    return F.avg_pool3d(video, (1, side, side)).float().cpu()


def differences(made: Mapping[str, Tensor], frozen: Mapping[str, Tensor], tolerance: float = TOLERANCE) -> list[str]:
    """What is no longer as it was, one line each; none where everything is within `tolerance`."""
    lines = []
    if made.keys() != frozen.keys():
        lines.append(f"there were {', '.join(sorted(frozen))}, now {', '.join(sorted(made))}")
    for name in sorted(made.keys() & frozen.keys()):
        now, before = made[name], frozen[name]
        if now.shape != before.shape:
            lines.append(f"{name}: shape {tuple(now.shape)}, was {tuple(before.shape)}")
            continue
        moved = (now.double() - before.double()).abs().max().item()
        if not moved <= tolerance:  # NaN is no agreement
            lines.append(f"{name}: moved by {moved:.3g}, allowed {tolerance:g}")
    return lines


def read_frozen() -> dict[str, dict[str, Tensor]]:
    """Case -> what is stored of it."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(VIDEOS).items():
        name, _, what = key.rpartition("/")
        found.setdefault(name, {})[what] = value
    return found


def flat(made: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """As `read_frozen` finds it in the file."""
    return {f"{name}/{what}": value.contiguous() for name, case in made.items() for what, value in case.items()}
