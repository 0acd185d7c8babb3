"""The image carried along by a given motion, in the place of the image at every frame, or of what a carrier makes.

The network is shown the latents of frame 0 as a camera would see it, with a region dragged along, or moved by a flow
field. A model with a frame carrier (`lvdm.modules.carrier`) begins with them, and adds their details, as with its own;
the released ones, which have learned from repeated latents, take them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.media.arrays import read_array
from lvdm.modules.carrying import carry, fill_holes, inside, points, sample
from lvdm.plugins.camera import views
from lvdm.plugins.methods.carry import Drag
from lvdm.plugins.settings import MethodSettings


@dataclass(frozen=True, eq=False)
class GivenFrames:
    """Frame 0 as it was carried along.

    pixels   (3, t, H, W) in [-1, 1]
    visible  (1, t, H, W) in [0, 1]: how far frame 0 shows what stands there
    """

    pixels: Tensor
    visible: Tensor

    def mapped(self, change: Callable[[Tensor], Tensor]) -> GivenFrames:
        """With `change` of images (t, c, H, W), such as padding."""
        pixels, visible = (change(part.transpose(0, 1)).transpose(0, 1) for part in (self.pixels, self.visible))
        return GivenFrames(pixels, visible)


def given_frames(image: Tensor, settings: MethodSettings) -> GivenFrames | None:
    """An image (3, H, W) in [-1, 1], carried as `settings` say; None where they do not. Raises `ValueError`."""
    count, (height, width) = settings.num_frames, image.shape[1:]
    if settings.carry_flow is not None:
        return by_flow(image, read_flow(settings.carry_flow, count))
    if settings.carry is None:
        return None
    side, options = min(height, width), settings.carry.options
    mask = torch.zeros(1, 1, height, width)
    still = torch.eye(2, 3).expand(1, count, 2, 3)
    if isinstance(options, Drag):
        x, y = points(height, width, image.device)
        away = torch.hypot(x - (options.x - 0.5) * width / side, y - (options.y - 0.5) * height / side)
        mask[0, 0] = ((options.radius - away) * side + 0.5).clamp(0, 1)
        gone = torch.tensor([options.right * width, options.down * height]) / side
        camera, thing = still, still.clone()
        thing[0, :, :, 2] = -torch.linspace(0, 1, count)[:, None] * gone
    else:
        seen = torch.tensor(views(settings.carry.name, options, count))  # x, y and scale of each frame
        camera = still * seen[:, 2, None, None]
        camera[0, :, :, 2] = seen[:, :2] * torch.tensor([width, height]) / side
        thing = camera
    pixels, visible = carry(image[None], mask, camera, thing)
    return GivenFrames(pixels[0], visible[0])


def by_flow(image: Tensor, flow: Tensor) -> GivenFrames:
    """An image (3, H, W) moved by a backward flow (t, h, w, 2) in pixels of its own size; NaN is filled from around."""
    height, width = image.shape[1:]
    field = flow.permute(0, 3, 1, 2)  # t 2 h w
    hidden = field.isnan().any(1, keepdim=True).float()
    scale = torch.tensor([width / field.shape[3], height / field.shape[2]])[:, None, None]
    if field.shape[2:] != image.shape[1:]:
        field = F.interpolate(field.nan_to_num(), (height, width), mode="bilinear")
        hidden = F.interpolate(hidden, (height, width), mode="bilinear")
    where = (points(height, width, image.device) + field.nan_to_num() * scale / min(height, width))[None]
    moved = sample(image[None].float(), where)[0].transpose(0, 1)  # t 3 H W
    visible = inside(where, height, width)[0] * (1 - hidden.transpose(0, 1))
    return GivenFrames(fill_holes(moved, hidden).transpose(0, 1).to(image), visible)


def read_flow(path: str | Path, num_frames: int) -> Tensor:
    """The flow (t, h, w, 2) of `num_frames` frames in an NPZ file, float32 in its pixels. Raises `ValueError`."""
    flow = read_array(Path(path), "flow")
    if flow.dtype.kind not in "fiu" or flow.ndim != 4 or flow.shape[3] != 2 or not flow.size:
        raise ValueError(
            f"{path}: `flow` should be numbers (frames, height, width, 2), it is {flow.dtype} {flow.shape}"
        )
    if len(flow) != num_frames:
        raise ValueError(f"{path}: is the flow of {len(flow)} frames and the video has {num_frames}; give one for each")
    if np.isinf(flow).any():
        raise ValueError(f"{path}: `flow` holds infinite values; use NaN where the image does not show a pixel")
    if flow[0].any():
        raise ValueError(f"{path}: `flow` of frame 0 should be 0, it is the image; is this from frame to frame?")
    return torch.from_numpy(flow.astype(np.float32))
