"""CLIP features from the two encoders that a DynamiCrafter checkpoint contains: no further download is needed.

The released checkpoints hold OpenCLIP's ViT-H/14, the embedded model a small CLIP of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.checkpoint import CheckpointError, CheckpointFile, read_checkpoint
from lvdm.checkpoint.filling import fill
from lvdm.checkpoint.hashing import hash_of_tensors
from lvdm.checkpoint.parts import CLIP_ENCODERS
from lvdm.config import ConfigError, load_model_config, load_yaml
from lvdm.deprecation import renamed_names
from lvdm.device import choose_device
from lvdm.evaluation.features.i3d import full_precision
from lvdm.evaluation.features.protocol import LoadedClip, Record
from lvdm.model_files import ModelFiles, find_model
from lvdm.models.video_config import LatentVisualDiffusionConfig
from lvdm.modules.encoders.condition import FrozenOpenCLIPEmbedder, FrozenOpenCLIPImageEmbedderV2


class ClipEncoders(nn.Module):
    """Both encoders under the keys of a whole model, on the meta device until they are loaded."""

    def __init__(self, config: LatentVisualDiffusionConfig) -> None:
        super().__init__()
        with torch.device("meta"):
            text, image = config.cond_stage_config.build(), config.img_cond_stage_config.build()
        if not isinstance(text, FrozenOpenCLIPEmbedder) or not isinstance(image, FrozenOpenCLIPImageEmbedderV2):
            raise ConfigError(
                f"{type(text).__name__} and {type(image).__name__} are not the text and image encoders of a CLIP"
            )
        self.cond_stage_model, self.embedder = text, image
        self.requires_grad_(False).eval()

    @property
    def dim(self) -> int:
        """Length of the features of both encoders."""
        return self.embedder.model.visual.proj.shape[1]


class OpenClipFeatures:
    """The extractor, frame by frame. Clips go through the encoders one at a time, so that a batch changes no digit."""

    min_frames = 1
    dtype = "fp32"

    def __init__(self, model: str | Path, checkpoint: str | Path | None = None, device: str = "auto") -> None:
        """model, checkpoint: as `find_model` takes them. Only the encoders are read, not the denoiser.

        Raises `ConfigError`, and `CheckpointError` for a checkpoint without these encoders.
        """
        files = find_model(model, checkpoint)
        config = load_model_config(files.config).params
        if not isinstance(config, LatentVisualDiffusionConfig):
            raise ConfigError(f"{files.config} does not describe a video model, so it has no CLIP encoders")
        self.encoders = ClipEncoders(config)
        self.id = _name(files, config)
        self.dim = self.encoders.dim
        self.device = choose_device(device)
        tensors = encoder_tensors(self.encoders, read_checkpoint(files.checkpoint))
        self.weights_sha256: str | None = hash_of_tensors(sorted(tensors.items()))
        fill(self.encoders, tensors, self.device)

    def preprocess(self, clip: LoadedClip) -> Record:
        """`frames` uint8 (t, H, W, 3), and where there are such `tokens` (n,), `image` and `last_image` (H, W, 3)."""
        record = {"frames": clip.frames, "image": clip.image, "last_image": clip.last_image}
        if clip.prompt:
            record["tokens"] = self.encoders.cond_stage_model.tokenize([clip.prompt])[0]
        return {name: value for name, value in record.items() if value is not None}

    @torch.no_grad()
    def __call__(self, batch: Record) -> Record:
        """`frames` (b, t, dim), and `image`, `last_image` and `text` (b, dim) where there were such, of unit length."""
        features: dict[str, list[Tensor]] = {}
        with full_precision():
            for index in range(len(batch["frames"])):
                for name, value in self._of_clip({name: value[index] for name, value in batch.items()}).items():
                    features.setdefault(name, []).append(value)
        return {name: torch.stack(values) for name, values in features.items()}

    def _of_clip(self, clip: Record) -> Record:
        record = {"frames": self._images(clip["frames"])}
        for name in ("image", "last_image"):
            if name in clip:
                record[name] = self._images(clip[name][None])[0]
        if "tokens" in clip:
            record["text"] = _unit(self.encoders.cond_stage_model.pooled_tokens(clip["tokens"][None]))[0]
        return record

    def _images(self, images: Tensor) -> Tensor:
        """uint8 (n, H, W, 3) -> (n, dim); the encoder scales and standardises them as the model's image condition."""
        values = images.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1  # n 3 H W in [-1, 1]
        return _unit(self.encoders.embedder.pooled(values))


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=-1).cpu()


def _name(files: ModelFiles, config: LatentVisualDiffusionConfig) -> str:
    """clip-ViT-H-14 for encoders of a known architecture, else the model's name: tiny-clip."""
    encoders: Any = config.img_cond_stage_config.params
    if encoders.model_cfg is None:
        return f"clip-{encoders.arch}"
    card = load_yaml(files.config).get("sampling")
    name = card.get("name") if isinstance(card, dict) else None
    return f"{name or files.config.resolve().parent.name}-clip"


def encoder_tensors(encoders: ClipEncoders, checkpoint: CheckpointFile) -> dict[str, Tensor]:
    """The encoders' tensors in float32, on the CPU."""
    targets = encoders.state_dict()
    absent = [part.name for part in CLIP_ENCODERS if not any(k.startswith(part.prefix) for k in checkpoint)]
    if absent:
        raise CheckpointError(
            f"{checkpoint.path} is pruned: it lacks the {' and the '.join(absent)}; name a full checkpoint of the model"
        )
    for key, value in targets.items():
        shape = checkpoint.shape(key) if key in checkpoint else None
        if shape != tuple(value.shape):
            problem = "the file lacks it" if shape is None else f"in the file it is {shape}"
            raise CheckpointError(
                f"{checkpoint.path} does not fit its configuration: {key} should be {tuple(value.shape)}, {problem}"
            )
    return {key: checkpoint[key].to(torch.float32, copy=True) for key in targets}


__getattr__ = renamed_names(
    __name__, {"ClipFeatures": "OpenClipFeatures", "ClipTowers": "ClipEncoders", "tower_tensors": "encoder_tensors"}
)
