"""What the denoiser reads besides the noisy latents, and the builders that make it from images and prompts.

Training, sampling, logging and the applications build their conditions here, so that they cannot drift apart:
the latents concatenated to the noise (`repeat_frame`, `place_keyframes` and what is made of it), depth in their place
(`depth_condition`), and the image tokens for clips that are not as long as those of the training (`fit_image_tokens`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from lvdm.declaration.token_policy import IMAGE_TOKEN_POLICIES as IMAGE_TOKEN_POLICIES
from lvdm.declaration.token_policy import check_image_token_policy as check_image_token_policy
from lvdm.modules.attention import Context

FLAT = 1e-4
"""Depth whose range is a smaller share of its maximum than this is the same everywhere."""


@dataclass(frozen=True)
class Conditioning:
    """One condition for a batch of videos.

    text    (b, n, d)        prompt tokens; n is 77 in the released models
    image   (b, m, d)        image tokens from the query transformer, frame-major: m = tokens per frame x frames
    concat  (b, 4, t, h, w)  latents concatenated to the noise, channel-wise; one channel of depth for structure
    fps     (b,) int64       the `fs` input: frames per second, or frame stride for the 256 model

    A model that reads no image has m = 0, and one that reads none of its latents has 0 channels in `concat`. `tokens`,
    if any, makes of the condition what the UNet reads in the place of `context`, such as other text for each frame.
    """

    text: Tensor
    image: Tensor
    concat: Tensor
    fps: Tensor
    tokens: Callable[[Conditioning], Context] | None = None

    @property
    def context(self) -> Tensor:
        """Text and image tokens on one axis, (b, n + m, d), as the UNet takes them."""
        return torch.cat([self.text, self.image], dim=1)

    def with_text(self, text: Tensor) -> Conditioning:
        """The same condition under other prompt tokens, e.g. those of the empty prompt."""
        return replace(self, text=text.expand_as(self.text))

    def with_image(self, image: Tensor) -> Conditioning:
        """The same condition under other image tokens, e.g. those of a grey image."""
        return replace(self, image=image.expand_as(self.image))


def repeat_frame(latent: Tensor, num_frames: int) -> Tensor:
    """Image to video: the latent (b, c, h, w) of the image at every frame, (b, c, t, h, w)."""
    return repeat(latent, "b c h w -> b c t h w", t=num_frames)


def place_keyframes(keyframes: Mapping[int, Tensor], num_frames: int) -> Tensor:
    """Latents (b, c, h, w) at the frames that key them, zeros between: (b, c, t, h, w).

    Raises `ValueError` for an empty mapping and for a frame outside [0, num_frames).
    """
    if not keyframes:
        raise ValueError("at least one key frame is needed")
    outside = sorted(index for index in keyframes if not 0 <= index < num_frames)
    if outside:
        raise ValueError(f"key frames {outside} are outside a clip of {num_frames} frames (0 to {num_frames - 1})")
    first = next(iter(keyframes.values()))
    concat = first.new_zeros(*first.shape[:2], num_frames, *first.shape[2:])
    for index, latent in keyframes.items():
        concat[:, :, index] = latent
    return concat


def interpolation(first: Tensor, last: Tensor, num_frames: int) -> Tensor:
    """Generative interpolation: latents (b, c, h, w) at the first and last frame only, (b, c, t, h, w)."""
    if num_frames < 2:
        raise ValueError(f"interpolation and loops need at least 2 frames, not {num_frames}")
    return place_keyframes({0: first, num_frames - 1: last}, num_frames)


def loop(latent: Tensor, num_frames: int) -> Tensor:
    """A loop: the same latent (b, c, h, w) at the first and last frame, (b, c, t, h, w)."""
    return interpolation(latent, latent, num_frames)


def depth_condition(depth: Tensor, size: tuple[int, int], over_clip: bool = True) -> Tensor:
    """Structure: depth (b, 1, t, H, W) of any unit, near is large, as the network reads it: (b, 1, t, h, w) in [-1, 1].

    Resized by bicubic interpolation without antialiasing, and stretched from its minimum to its maximum: those of the
    whole clip, or without `over_clip` of each frame, as Make-Your-Video's script does; then the range flickers where
    depth changes. What is flat is -1; the original amplifies its rounding.
    """
    frames = rearrange(depth.float(), "b c t h w -> (b t) c h w")
    resized = F.interpolate(frames, size, mode="bicubic", align_corners=False)
    resized = rearrange(resized, "(b t) c h w -> b c t h w", b=depth.shape[0])
    axes = (2, 3, 4) if over_clip else (3, 4)
    low, high = resized.amin(axes, keepdim=True), resized.amax(axes, keepdim=True)
    stretched = 2 * (resized - low) / (high - low + 1e-7) - 1
    return torch.where(high - low < FLAT * torch.maximum(low.abs(), high.abs()), -1.0, stretched)


def fit_image_tokens(tokens: Tensor, trained_frames: int, num_frames: int, policy: str = "linear") -> Tensor:
    """Image tokens for `num_frames` frames from the (b, trained_frames x l, d) of the query transformer.

    The layout is frame-major, token index = frame x l + place. The result is (b, num_frames x l, d), or `tokens`
    itself for `broadcast`, where the network shows all of them to every frame. See `IMAGE_TOKEN_POLICIES`.
    """
    check_image_token_policy(policy, trained_frames, num_frames)
    if num_frames == trained_frames or policy == "broadcast":
        return tokens
    blocks = rearrange(tokens, "b (t l) d -> b t l d", t=trained_frames)
    # both ends of the clip keep the blocks of both ends of the training clips
    position = torch.linspace(0, trained_frames - 1, num_frames, dtype=torch.float64)
    if policy == "nearest":
        fitted = blocks[:, (position + 0.5).long().to(tokens.device)]
    else:
        low = position.long()
        high = (low + 1).clamp(max=trained_frames - 1)
        weight = (position - low).to(tokens.device, tokens.dtype)[:, None, None]
        fitted = torch.lerp(blocks[:, low.to(tokens.device)], blocks[:, high.to(tokens.device)], weight)
    return rearrange(fitted, "b t l d -> b (t l) d")
