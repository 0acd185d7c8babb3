"""What one request may ask for beside the settings: prompts, key frames and masks, checked before loading."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from lvdm.model_card import ModelCard
from lvdm.plugins.conflicts import check_methods
from lvdm.plugins.methods.prompt_travel import check_starts
from lvdm.request.settings import GenerationSettings

MAX_PROMPT = 2000
"""Characters of the longest prompt; the text encoder reads 77 tokens, so that more is taken for a mistake."""


def check_prompt(prompt: str, name: str = "prompt") -> None:
    """Raise `ValueError` for a prompt that is no text, or longer than any the model can read."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the {name} is no UTF-8 text, at its character {error.start + 1}; write that character again"
        ) from error
    if len(prompt) > MAX_PROMPT:
        raise ValueError(
            f"the {name} has {len(prompt)} characters and the model reads about 70 words; shorten it to {MAX_PROMPT} "
            "characters or fewer"
        )


def check_prompts_at(prompts_at: Sequence[tuple[int, str]], settings: GenerationSettings) -> None:
    """Raise `ValueError` unless the prompts of later frames can be used in a video of `settings`."""
    if prompts_at:
        check_starts([0, *(frame for frame, _ in prompts_at)], settings.num_frames)
        check_methods(settings, settings.mode, {"prompts_at"})
    for frame, prompt in prompts_at:
        check_prompt(prompt, f"prompt at frame {frame}")


def check_keyframes(frames: Sequence[int], settings: GenerationSettings) -> None:
    """Raise `ValueError` unless images can be shown at these frames besides 0, in the mode for that only."""
    if bool(frames) != (settings.mode == "keyframes"):
        raise ValueError(f"mode {settings.mode} takes {'no key frames' if frames else 'key frames: give one or more'}")
    last = settings.num_frames - 1
    for frame in frames:
        if not 1 <= frame <= last:
            raise ValueError(
                f"key frame {frame} is not among frames 1 to {last} that follow the first; choose another, or more "
                "frames (num_frames, --frames)"
            )
    if len(set(frames)) < len(frames):
        raise ValueError(f"key frames {list(frames)} name a frame twice; give one image for each")


def check_keep_mask(
    masks: Sequence[Image.Image], image: Image.Image | None, settings: GenerationSettings, card: ModelCard
) -> None:
    """Raise `ValueError` unless `masks` (none, one, or one for each frame) can keep regions of `image`."""
    if not masks:
        if settings.keep_feather:
            raise ValueError("keep_feather is for the edge of a mask; give a mask too (keep_mask, --keep-mask)")
        return
    if image is None:
        raise ValueError("there is no image of which a region could be kept; leave out the mask")
    check_methods(settings, settings.mode, {"keep_mask"})
    if not card.keeps_image:
        raise ValueError(f"checkpoint {card.name} does not show the image itself; leave out the mask, or use another")
    if len(masks) not in (1, settings.num_frames):
        raise ValueError(f"there are {len(masks)} masks for {settings.num_frames} frames; give one, or one for each")
    for mask in masks:
        if mask.size != image.size:
            raise ValueError(
                f"the mask is {mask.width}x{mask.height} and its image {image.width}x{image.height}; "
                "make the mask as large as the image"
            )
