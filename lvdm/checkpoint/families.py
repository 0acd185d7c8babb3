"""Which published model a file can be, known by its keys and shapes alone."""

from __future__ import annotations

from typing import Literal

from lvdm.checkpoint.parts import IMAGE_ENCODER, QUERY_TRANSFORMER, UNET, part_of
from lvdm.checkpoint.reading import CheckpointFile

Family = Literal[
    "dynamicrafter", "dynamicrafter, small", "videocrafter i2v", "videocrafter t2v", "makeyourvideo", "unknown"
]

FIRST_LAYER = f"{UNET.prefix}input_blocks.0.0.weight"
QUERIES = f"{QUERY_TRANSFORMER.prefix}latents"
RELEASED_CHANNELS = 320
STAGED_CONVOLUTION = ".temopral_conv.conv_last."
"""In the keys of Make-Your-Video's temporal convolutions, and of no others."""
SHARED_QUERIES = 16
"""Image tokens of VideoCrafter, which all frames share; DynamiCrafter has as many for each of 16 frames."""


def family_of(checkpoint: CheckpointFile) -> Family:
    """The family: by the channels that the UNet reads, whether it reads images, and how it convolves over frames."""
    if FIRST_LAYER not in checkpoint or len(checkpoint.shape(FIRST_LAYER)) != 4:
        return "unknown"
    width, in_channels = checkpoint.shape(FIRST_LAYER)[:2]
    image_stream = any(".attn2.to_k_ip." in key for key in checkpoint)
    if in_channels == 5 and any(STAGED_CONVOLUTION in key for key in checkpoint):
        return "makeyourvideo"
    if in_channels == 4:
        images = image_stream or any(part_of(key) in (QUERY_TRANSFORMER, IMAGE_ENCODER) for key in checkpoint)
        return "videocrafter i2v" if images else "videocrafter t2v"
    if in_channels != 8 or not image_stream:
        return "unknown"
    return "dynamicrafter" if width == RELEASED_CHANNELS else "dynamicrafter, small"


def videocrafter_model(checkpoint: CheckpointFile) -> str | None:
    """The one of VideoCrafter's checkpoints that has this layout, by its name in `lvdm.model_card.VIDEOCRAFTER`.

    Temporal convolutions mark version 2, relative positions version 1, of which only the 1024 model reads a frame
    rate; None for other layouts and sizes.
    """
    family = family_of(checkpoint)
    if not family.startswith("videocrafter") or checkpoint.shape(FIRST_LAYER)[0] != RELEASED_CHANNELS:
        return None
    convolutions, positions, frame_rate = (
        any(word in key for key in checkpoint) for word in (".temopral_conv.", ".embeddings_table", ".fps_embedding.")
    )
    if family == "videocrafter i2v":
        shared = QUERIES not in checkpoint or checkpoint.shape(QUERIES)[1] == SHARED_QUERIES
        return "vc-i2v" if convolutions and frame_rate and not positions and shared else None
    layouts = {(True, False, True): "vc2", (False, True, True): "vc1024", (False, True, False): "vc1"}
    return layouts.get((convolutions, positions, frame_rate))
