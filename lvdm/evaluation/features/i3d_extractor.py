"""`i3d-logits`: the features of FVD and KVD, from weights that the user has."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.checkpoint import CheckpointError
from lvdm.device import choose_device
from lvdm.evaluation.features.i3d import CLASSES, INPUT_SIDE, MIN_FRAMES, full_precision
from lvdm.evaluation.features.i3d_convert import load_i3d
from lvdm.evaluation.features.protocol import LoadedClip, Record

FrameResize = Literal["direct", "center-crop"]
"""How frames come to 224 x 224, bilinear and without antialias, pixels at their centres.

direct       at once, whatever the aspect, as google-research, StyleGAN-V and LVDM do
center-crop  the shorter side to 224, then the centre, as VideoGPT does
"""


class I3DLogits:
    """The extractor: 400 logits averaged over time, before the softmax.

    Clips go through the network one at a time, so that a batch changes no digit of them.
    """

    dim = CLASSES
    min_frames = MIN_FRAMES
    dtype = "fp32"

    def __init__(self, weights: str | Path | None, device: str = "auto", resize: FrameResize = "direct") -> None:
        """weights: a file of `convert_i3d`. Raises `CheckpointError` for none or another one."""
        if weights is None:
            raise CheckpointError(
                "i3d-logits needs the weights of I3D, which do not come with this package: get i3d_pretrained_400.pt "
                "(VideoGPT, TATS) or i3d_torchscript.pt (StyleGAN-V), and convert it with "
                "`dynamicrafter evaluate convert-i3d FILE i3d.safetensors`"
            )
        self.resize = resize
        self.id = "i3d-logits" if resize == "direct" else f"i3d-logits[{resize}]"
        self.device = choose_device(device)
        network, digest = load_i3d(weights)
        self.weights_sha256: str | None = digest
        self.network = network.to(self.device)

    def preprocess(self, clip: LoadedClip) -> Record:
        """`video` (3, t, 224, 224) float32 in [-1, 1]. Raises `ValueError` for fewer than `min_frames` frames."""
        if len(clip.frames) < self.min_frames:
            raise ValueError(f"{self.id} needs {self.min_frames} frames or more, the clip has {len(clip.frames)}")
        return {"video": network_input(clip.frames, self.resize)}

    @torch.no_grad()
    def __call__(self, batch: Record) -> Record:
        """video (b, 3, t, 224, 224) -> features (b, 400) float32 on the CPU."""
        with full_precision():
            logits = [self.network(video[None].to(self.device)) for video in batch["video"]]
        return {"features": torch.cat(logits).float().cpu()}


def network_input(frames: Tensor, resize: FrameResize) -> Tensor:
    """frames uint8 (t, H, W, 3) -> (3, t, 224, 224) in [-1, 1]: 2 x / 255 - 1 of the resized values."""
    height, width = frames.shape[1:3]
    size = (INPUT_SIDE, INPUT_SIDE)
    if resize == "center-crop":
        scale = INPUT_SIDE / min(height, width)
        size = (INPUT_SIDE, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), INPUT_SIDE)
    scaled = F.interpolate(frames.permute(0, 3, 1, 2).float(), size, mode="bilinear", align_corners=False)  # t 3 h w
    top, left = ((side - INPUT_SIDE) // 2 for side in size)
    cut = scaled[:, :, top : top + INPUT_SIDE, left : left + INPUT_SIDE]  # t 3 224 224
    return (2 * cut / 255 - 1).transpose(0, 1).contiguous()
