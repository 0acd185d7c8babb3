"""PIC by a perceptual distance of images instead of features: LPIPS or DreamSim, from weights that the user has."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from lvdm.checkpoint.hashing import hash_of_tensors
from lvdm.device import choose_device
from lvdm.evaluation.features.i3d import full_precision
from lvdm.evaluation.features.protocol import LoadedClip, Record
from lvdm.evaluation.lpips import SHORTEST, Lpips
from lvdm.evaluation.metrics.reconstruction import PairedDistance


class InputConformity:
    """Distances of a clip's frames from its input image, as an extractor: PIC is 1 less their mean.

    Clips go through the network one at a time, so that a batch changes no digit. A clip without an image has none.
    """

    dim = 1
    min_frames = 1
    dtype = "fp32"

    def __init__(
        self, name: str, distance: PairedDistance, weights_sha256: str, device: torch.device, shortest: int = 1
    ) -> None:
        """name: names the distance in the metric, as in PIC[LPIPS-alex]; `distance` lies on `device`."""
        self.id = name
        self.distance = distance
        self.weights_sha256: str | None = weights_sha256
        self.device = device
        self.shortest = shortest

    def preprocess(self, clip: LoadedClip) -> Record:
        """`frames` uint8 (t, H, W, 3) and `image` (H, W, 3). Raises `ValueError` for frames that are too small."""
        if clip.image is None:
            return {}
        height, width = clip.frames.shape[1:3]
        if min(height, width) < self.shortest:
            raise ValueError(
                f"{self.id} needs frames of {self.shortest} pixels or more on each side, not {height}x{width}"
            )
        return {"frames": clip.frames, "image": clip.image}

    @torch.no_grad()
    def __call__(self, batch: Record) -> Record:
        """`distances` (b, t) float32, 0 for frames that are the image; nothing for clips without one."""
        if not batch:
            return {}
        with full_precision():
            pairs = zip(batch["frames"], batch["image"], strict=True)
            return {"distances": torch.stack([self._of_clip(*pair) for pair in pairs])}

    def _of_clip(self, frames: Tensor, image: Tensor) -> Tensor:
        """uint8 (t, H, W, 3), (H, W, 3) -> (t,) on the CPU."""
        generated, expected = (
            part.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1 for part in (frames, image[None])
        )
        return self.distance(generated, expected.expand_as(generated)).float().cpu()


def lpips_conformity(lpips: Lpips, device: str = "auto") -> InputConformity:
    """PIC[LPIPS-trunk], on a copy of the network that lies on `device`."""
    place = choose_device(device)
    moved = copy.deepcopy(lpips).to(place)
    weights = hash_of_tensors(sorted(lpips.state_dict().items()))
    return InputConformity(f"LPIPS-{lpips.trunk}", moved, weights, place, SHORTEST)
