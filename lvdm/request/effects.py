"""Settings that cannot have an effect in a combination: they are said once and set to their neutral values.

So two requests that give the same pixels are equal, and no option is ignored without a word.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Container, Iterable, Mapping, Sequence

from lvdm.media.geometry import PaddedSize
from lvdm.model_card import ModelCard
from lvdm.plugins.method import Circumstances, Idle
from lvdm.plugins.registry import methods
from lvdm.plugins.settings import MethodSettings
from lvdm.request.layers import shown_name
from lvdm.request.settings import GenerationSettings

logger = logging.getLogger(__name__)


def _unguided(settings: MethodSettings, around: Circumstances) -> bool:
    return settings.num_branches == 1


UNGUIDED = "there is no guidance at guidance_scale 1"

OWN_RULES: tuple[Idle, ...] = (
    Idle("guidance_rescale", 0.0, _unguided, UNGUIDED),
    Idle("image_guidance_scale", None, _unguided, UNGUIDED),
    Idle(
        "image_guidance_scale",
        None,
        lambda s, _: s.image_guidance_scale == s.guidance_scale,
        "it equals guidance_scale, which guides text and image together",
    ),
    Idle("fix_final_step", False, lambda s, _: s.sampler != "ddim", "other samplers than ddim do so anyway"),
    Idle(
        "long_video",
        "plain",
        lambda s, a: (
            s.long_video in ("fifo", "freenoise", "freelong")
            and s.num_frames <= a.trained_frames
            and s.mode != "loop"  # where any of them leaves the ring
        ),
        "the video is no longer than those of the training",
    ),
    Idle(
        "image_token_policy",
        "linear",
        lambda s, a: s.num_frames == a.trained_frames or not a.reads_images or s.long_video == "fifo",
        "the network sees as many frames as in the training, or shares its image tokens among all",
    ),
    Idle("fit", "crop", lambda s, a: a.same_shape, "the image has the shape of the video"),
)


def rules() -> list[Idle]:
    """Those of plain sampling and of all methods."""
    return [*OWN_RULES, *(rule for method in methods().values() for rule in method.idle)]


def circumstances(
    card: ModelCard,
    size: PaddedSize,
    shapes: Iterable[tuple[int, int]],
    prompt: str | None,
    negative_prompt: str,
    *,
    reads_images: bool,
    timesteps: int,
) -> Circumstances:
    """Those of a video of `size`, made of images of `shapes` (height, width); the rest as in `Circumstances`."""
    height, width = size.inner.height, size.inner.width
    return Circumstances(
        trained_frames=card.num_frames,
        trained_size=(card.height, card.width),
        size=(size.height, size.width),
        prompt=prompt,
        negative_prompt=negative_prompt,
        same_shape=all(shape[0] * width == shape[1] * height for shape in shapes),
        reads_images=reads_images,
        timesteps=timesteps,
    )


def effective(settings: GenerationSettings, around: Circumstances) -> tuple[GenerationSettings, dict[str, str]]:
    """`settings` with neutral values for what has no effect, and by name why it has none; so of a negative prompt."""
    idle: dict[str, str] = {}
    for rule in rules():
        if getattr(settings, rule.name) != rule.neutral and rule.when(settings, around):
            settings = dataclasses.replace(settings, **{rule.name: rule.neutral, **dict(rule.along)})
            idle[rule.name] = rule.because
    if around.negative_prompt and _unguided(settings, around):
        idle["negative_prompt"] = UNGUIDED
    return settings, idle


def say_idle(idle: Sequence[Mapping[str, str]], for_all: Container[str]) -> None:
    """Log what has no effect: `idle` has of each video what was given for it, and why it has none.

    for_all: names of what was given for all videos, which is said if it has none on any
    """
    reasons: dict[str, list[str]] = {}
    for of_video in idle:
        for name, because in of_video.items():
            reasons.setdefault(name, []).append(because)
    for name, found in reasons.items():
        where = "" if len(found) == len(idle) else f" on {len(found)} of {len(idle)} videos"
        if not where or name not in for_all:
            logger.warning("%s has no effect%s: %s", shown_name(name), where, found[0])
