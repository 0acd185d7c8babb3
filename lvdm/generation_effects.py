"""Settings that cannot have an effect in a combination: they are said once and set to their neutral values.

So two requests that give the same pixels are equal, and no option is ignored without a word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lvdm.generation import GenerationSettings


@dataclass(frozen=True)
class Circumstances:
    """What decides on an effect besides the settings.

    trained_frames  of the model
    prompt          of the video
    same_shape      whether every image has the shape of the video already
    reads_images    whether the model reads image tokens of its own for each frame
    """

    trained_frames: int
    prompt: str = ""
    same_shape: bool = False
    reads_images: bool = True


@dataclass(frozen=True)
class Idle:
    """A setting that is as good as `neutral` while `when` holds, and why."""

    name: str
    neutral: Any
    when: Callable[[GenerationSettings, Circumstances], bool]
    because: str


def _unguided(settings: GenerationSettings, around: Circumstances) -> bool:
    return settings.num_branches == 1


RULES: tuple[Idle, ...] = (
    Idle("guidance_rescale", 0.0, _unguided, "there is no guidance at guidance_scale 1"),
    Idle("image_guidance_scale", None, _unguided, "there is no guidance at guidance_scale 1"),
    Idle(
        "image_guidance_scale",
        None,
        lambda s, _: s.image_guidance_scale == s.guidance_scale,
        "it equals guidance_scale, which guides text and image together",
    ),
    Idle("low_pass_until", 0.1, lambda s, _: s.low_pass == 0, "low_pass is 0"),
    Idle("low_pass", 0.0, lambda s, _: s.low_pass_until == 0, "low_pass_until is 0"),
    Idle("late_below", 0.5, lambda s, _: s.late_weights is None, "there are no late_weights"),
    Idle("late_weights", None, lambda s, _: s.late_below == 0, "late_below is 0"),
    Idle("fix_final_step", False, lambda s, _: s.sampler != "ddim", "other samplers than ddim do so anyway"),
    Idle(
        "long_video",
        "plain",
        lambda s, a: s.long_video in ("fifo", "freenoise", "freelong") and s.num_frames <= a.trained_frames,
        "the video is no longer than those of the training",
    ),
    Idle(
        "image_token_policy",
        "linear",
        lambda s, a: s.num_frames == a.trained_frames or not a.reads_images or s.long_video == "fifo",
        "the network sees as many frames as in the training, or shares its image tokens among all",
    ),
    Idle("fit", "crop", lambda s, a: a.same_shape, "the image has the shape of the video"),
    Idle("between_prompt", None, lambda s, a: s.between_prompt == a.prompt, "it is the prompt"),
)


def effective(settings: GenerationSettings, around: Circumstances) -> tuple[GenerationSettings, dict[str, str]]:
    """`settings` with neutral values for what has no effect, and by name why it has none."""
    idle: dict[str, str] = {}
    for rule in RULES:
        if getattr(settings, rule.name) != rule.neutral and rule.when(settings, around):
            settings = dataclasses.replace(settings, **{rule.name: rule.neutral})
            idle[rule.name] = rule.because
    return settings, idle


def notes(idle: dict[str, str], given: Sequence[str], flags: Callable[[str], str]) -> list[str]:
    """A line for each of the settings `given` that has no effect."""
    return [f"{flags(name)} has no effect: {idle[name]}" for name in given if name in idle]
