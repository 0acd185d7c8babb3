"""What becomes of the image tokens that a model has for each frame when a video has another number of frames."""

from __future__ import annotations

from typing import get_args

from lvdm.declaration.values import TokenPolicy
from lvdm.suggestions import suggest

IMAGE_TOKEN_POLICIES = get_args(TokenPolicy)
"""What to do when a clip has another number of frames than the query transformer has blocks of image tokens.

exact16    refuse (the released models have 16 blocks, hence the name)
nearest    every frame takes the block of the trained frame nearest in relative time
linear     every frame takes a blend of the two trained blocks around it in relative time
broadcast  every frame attends to the tokens of all trained frames: what the original does without saying so
"""


def check_image_token_policy(policy: str, trained_frames: int, num_frames: int) -> None:
    """Raise `ValueError` for an unknown policy, or when `exact16` meets another number of frames."""
    if policy not in IMAGE_TOKEN_POLICIES:
        raise ValueError(f"image token policy {policy!r} is not known; {suggest(policy, IMAGE_TOKEN_POLICIES)}")
    if policy == "exact16" and num_frames != trained_frames:
        raise ValueError(
            f"the model has image tokens for exactly {trained_frames} frames and image token policy 'exact16' allows "
            f"no others, {num_frames} were asked for; choose 'nearest', 'linear' or 'broadcast'"
        )
