"""What one training step is made of before conditions are put together: from pixels and captions, or from a cache.

Both give the same numbers for the same draws, up to rounding; the rest of the step does not know which it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn

from lvdm.models.training_draws import TrainingDraws
from lvdm.modules.distributions import DiagonalGaussian


@dataclass(frozen=True)
class TrainingInputs:
    """What the frozen encoders make of a batch, with the conditions dropped that are to be dropped.

    latents      (b, c, t, h, w), times the scale factor
    text         (b, n, d) caption tokens
    clip_tokens  (b, m, e) tokens of the image encoder for the conditioning frame
    """

    latents: Tensor
    text: Tensor
    clip_tokens: Tensor


@dataclass(frozen=True)
class Dropped:
    """Which clips lose their caption and which their image, two (b,) bool tensors."""

    text: Tensor
    image: Tensor


class Encoders(Protocol):
    """What encodes pixels and captions: a whole video model."""

    def encode_first_stage(self, video: Tensor, noise: Tensor | None = None) -> Tensor:
        """video (b, 3, t, H, W) in [-1, 1] and noise like the latents -> latents (b, c, t, h, w)."""

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Captions -> (b, n, d)."""

    def embedder(self, image: Tensor) -> Tensor:
        """Images (b, 3, H, W) in [-1, 1] -> (b, m, e)."""


class LeftOut(nn.Module):
    """In the place of an encoder that a model does without, as in a training from cached latents: no keys.

    `hint` ends the message of whoever runs it all the same.
    """

    def __init__(self, name: str, hint: str = "set model.params.drop_encoders: false") -> None:
        super().__init__()
        self.name = name
        self.hint = hint

    def forward(self, *inputs: object) -> NoReturn:
        """Raise `ValueError`: there is nothing to run."""
        raise ValueError(f"the model was built without its {self.name}; {self.hint}")


def is_cached(batch: Mapping[str, Any]) -> bool:
    """Whether a batch holds cached latents instead of pixels."""
    return "moments" in batch


def inputs_from_pixels(
    encoders: Encoders, batch: Mapping[str, Any], draws: TrainingDraws, dropped: Dropped
) -> TrainingInputs:
    """Encode `video` (b, 3, t, H, W) and `caption`. A dropped image is grey, a dropped caption empty."""
    with torch.no_grad():
        latents = encoders.encode_first_stage(batch["video"], draws.posterior)
        image = pick_frames(batch["video"], draws.cond_frame).masked_fill(dropped.image[:, None, None, None], 0.0)
        clip_tokens = encoders.embedder(image).to(latents.dtype)
    captions = ["" if drop else text for drop, text in zip(dropped.text.tolist(), batch["caption"], strict=True)]
    return TrainingInputs(latents, encoders.embed_text(captions).to(latents.dtype), clip_tokens)


def inputs_from_cache(
    batch: Mapping[str, Any], draws: TrainingDraws, dropped: Dropped, scale_factor: float
) -> TrainingInputs:
    """The same from `moments` (b, 2c, t, h, w), `text_emb` (b, n, d) and `clip_tokens` (b, t or 1, m, e),

    `null_text` and `null_tokens` in the place of what is dropped. All computing is in float32.
    """
    posterior = DiagonalGaussian.from_moments(batch["moments"].float())
    latents = posterior.sample(draws.posterior) * scale_factor
    text = torch.where(dropped.text[:, None, None], batch["null_text"].float(), batch["text_emb"].float())
    stored = batch["clip_tokens"]
    frames = torch.zeros_like(draws.cond_frame) if stored.shape[1] == 1 else draws.cond_frame
    tokens = stored[torch.arange(len(stored), device=stored.device), frames]  # (b, m, e)
    tokens = torch.where(dropped.image[:, None, None], batch["null_tokens"].float(), tokens.float())
    return TrainingInputs(latents, text, tokens)


def pick_frames(video: Tensor, frames: Tensor) -> Tensor:
    """One frame of each clip: (b, c, t, h, w) and indices (b,) -> (b, c, h, w)."""
    return video[torch.arange(len(video), device=video.device), :, frames]
