"""Camera moves on real photographs: which move a video shows, by registration of its first frame.

The photographs are sample images of scikit-image and scikit-learn (`pip install -e ".[benchmark]"`), or those of a
folder. None of them is kept here, but for two sheets in `checkpoints/tiny`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor

from lvdm.data.procedural_scene import CAMERA_MOTIONS, GROWTH, PANS, PROGRESS_PER_FRAME, TRAVEL
from lvdm.media.images import FORMATS

SAMPLES = {
    "skimage": ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
    "sklearn": ("china.jpg", "flower.jpg"),
}
FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
PROMPTS = {
    **{motion: f"the camera pans to the {motion.removeprefix('pan ')}" for motion in ("pan left", "pan right")},
    "pan up": "the camera pans up",
    "pan down": "the camera pans down",
    "zoom in": "the camera zooms in",
    "zoom out": "the camera zooms out",
    "still": "the camera stays still",
}
SPEEDS = tuple(0.2 * i for i in range(2, 11))
"""Parts of the normal speed at which each move is compared with the video."""
NOISE = 1e-3
"""Mean squared error that is taken for noise."""
MARGIN = 0.1
"""A move explains a video better than none when its error is less by this part: blur favours small moves a little."""


@dataclass(frozen=True)
class CameraMove:
    """What registration found: the class, and its speed over the normal one."""

    motion: str
    speed: float


def find_photographs(folder: Path | None) -> list[Path]:
    """Images of `folder`, or the samples of the installed packages. Raises `ValueError` if there are none."""
    if folder is not None:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not found:
            raise ValueError(f"{folder} holds no .jpg or .png file; name a folder of photographs")
        return found
    found = []
    for package, names in SAMPLES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ValueError(f'{package} is not installed: pip install -e ".[benchmark]", or name a folder')
        found += [Path(spec.origin).parent / FOLDERS[package] / name for name in names]
    return found


def read_photograph(path: Path, height: int, width: int) -> Tensor:
    """(3, H, W) in [-1, 1]: the largest middle part of the right shape, scaled down."""
    image = Image.open(path, formats=FORMATS).convert("RGB")
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    return pil_to_tensor(image.resize((width, height), Image.Resampling.LANCZOS, box=box)).float() / 127.5 - 1


def move_camera(image: Tensor, motion: str, speed: float, stride: int, num_frames: int) -> tuple[Tensor, Tensor]:
    """What the camera would see of `image` (3, H, W): video (3, t, H, W), and where that lies inside it, (t, H, W)."""
    _, height, width = image.shape
    side = min(height, width)
    progress = PROGRESS_PER_FRAME * speed * stride * torch.arange(num_frames)
    sign = float(motion == "zoom in") - float(motion == "zoom out")
    extent = torch.exp(-GROWTH * sign * progress)[:, None, None]
    pan_x, pan_y = (TRAVEL * progress[:, None, None] * part for part in PANS.get(motion, (0.0, 0.0)))
    x = ((torch.arange(width) + 0.5) * 2 / width - 1) * extent + pan_x * (2 * side / width)  # (t, 1, W)
    y = ((torch.arange(height) + 0.5) * 2 / height - 1)[:, None] * extent + pan_y * (2 * side / height)  # (t, H, 1)
    shape = (num_frames, height, width)
    grid = torch.stack((x.expand(shape), y.expand(shape)), dim=-1)
    frames = F.grid_sample(image.expand(num_frames, -1, -1, -1), grid, padding_mode="border", align_corners=False)
    return frames.transpose(0, 1), (grid.abs() <= 1).all(-1)


def register(video: Tensor, image: Tensor, stride: int) -> CameraMove:
    """The move of the camera over `image` that explains `video` (3, t, H, W) best, on the pixels that it predicts.

    The mean squared error of a move is taken relative to that of the still image on the same pixels: moves that predict
    few pixels, or flat ones, are at no advantage, and a video that no move explains better than none is still.
    """
    best, found = 1 - MARGIN, CameraMove("still", 0.0)
    unmoved = (image[:, None] - video).square().mean(0)  # (t, H, W)
    for motion in CAMERA_MOTIONS:
        for speed in SPEEDS:
            moved, inside = move_camera(image, motion, speed, stride, video.shape[1])
            error = ((moved - video).square().mean(0) * inside).sum() / inside.sum()
            ratio = ((error + NOISE) / ((unmoved * inside).sum() / inside.sum() + NOISE)).item()
            if ratio < best:
                best, found = ratio, CameraMove(motion, speed)
    return found
