"""What a generation is asked to do: every setting in one frozen record, checked before anything heavy is loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lvdm.declaration.options import as_text
from lvdm.declaration.parameter import IMAGELESS, current_names, declared, known_name, parameters_of
from lvdm.declaration.parameters import SizeParameters
from lvdm.declaration.token_policy import check_image_token_policy
from lvdm.declaration.values import MAX_FRAMES
from lvdm.model_card import MODES, Capability, ModelCard
from lvdm.plugins.conflicts import check_alone, check_methods
from lvdm.plugins.registry import active_methods
from lvdm.plugins.settings import MethodSettings
from lvdm.request.layers import SPEED

logger = logging.getLogger(__name__)


@declared
class GenerationSettings(MethodSettings):
    """The settings of one generation, which all have a value; those of a checkpoint's card replace the defaults.

    Each is declared, with its range and meaning, in `lvdm.declaration` and `lvdm.plugins.methods`. At most one of
    `fps`, `frame_stride`, `fs` and `motion` is given. Raises `ValueError` for values that are not possible, alone or
    together.
    """

    def __post_init__(self) -> None:
        self._check_length()
        if self.mode in IMAGELESS and self.image_guidance_scale is not None:
            raise ValueError("there is no image to guide by; leave out image_guidance_scale (--image-guidance-scale)")
        if self.sampler != "ddim" and self.eta != 0:
            raise ValueError(f"sampler {self.sampler!r} adds no noise: use eta 0, or sampler 'ddim' for eta {self.eta}")
        self._check_speed()
        check_alone(self)
        check_methods(self, self.mode)

    def _check_length(self) -> None:
        shortest = 2 if MODES[self.mode] == "interpolation" else 1
        most = parameters_of(SizeParameters)["num_frames"].bounds[1] if self.long_video == "fifo" else MAX_FRAMES
        if not shortest <= self.num_frames <= most:
            longer = self.num_frames > MAX_FRAMES and self.long_video != "fifo"
            raise ValueError(
                f"num_frames {self.num_frames} is not possible; use a whole number from {shortest} to {most:.0f}"
                + (", or long_video fifo (--long-video fifo) for more" if longer else "")
            )

    def _check_speed(self) -> None:
        several = [name for name in SPEED if getattr(self, name) is not None]
        if len(several) > 1:
            raise ValueError(f"{' and '.join(several)} set the same thing; give only one of them")

    @classmethod
    def from_card(cls, card: ModelCard, **values: Any) -> GenerationSettings:
        """Settings with the values of `card`, under those `values` that are not None.

        Raises `ValueError` for an unknown name, a value that is not possible, and what the checkpoint cannot do; warns
        of an `fs` outside the trained range.
        """
        values = current_names(cls, values, warn=True)
        for name in values:
            known_name(name, parameters_of(cls), "setting")
        chosen = {name: value for name, value in values.items() if value is not None}
        values = {name: getattr(card, name) for name in from_card()}
        if chosen.get("sampler", "ddim") != "ddim":
            values["eta"] = 0.0  # a card's eta is meant for DDIM
        values |= _long_video(card, {**values, **chosen})
        values |= _beyond_fs(card, chosen)
        settings = cls(**{**values, **chosen})
        check_capability(card, "animate" if settings.is_cyclic else settings.mode, settings.between is not None)
        problem = card.check_fs(choose_fs(card, settings))
        if problem:
            logger.warning("%s", problem)
        check_image_token_policy(settings.image_token_policy, card.num_frames, settings.num_frames)
        for method in active_methods(settings):
            if method.check_files is not None:
                method.check_files(settings)
        return settings

    @property
    def is_cyclic(self) -> bool:
        """Whether the video is a clip on a cycle, of one frame less, whose first frame is repeated at its end."""
        return self.long_video == "cyclic" and self.mode == "loop"

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        return {name: as_text(getattr(self, name)) for name in parameters_of(type(self))}


def from_card() -> list[str]:
    """The settings that a checkpoint's card has a value for."""
    return [name for name, declared in parameters_of(GenerationSettings).items() if declared.parameter.card]


def _long_video(card: ModelCard, values: Mapping[str, Any]) -> dict[str, Any]:
    """`long_video` and `chunk_frames` for clips longer than those of the training, where `values` leave them open.

    Clips between two images stay plain: windows in their middle would see neither of them. Loops of models that animate
    an image are made on a cycle, of any length.
    """
    num_frames, method = values["num_frames"], values.get("long_video")
    looped = values.get("mode") == "loop" and method is None and values.get("between") is None
    if looped and card.can("i2v") and card.keeps_image:
        method = "cyclic"
        logger.info("making a cyclic loop; long_video plain (--long-video plain) goes from the image to itself")
    if not isinstance(num_frames, int) or num_frames <= card.num_frames:
        return {"long_video": method} if looped and method else {}
    one_image = values.get("mode", "animate") in ("animate", "text-to-video") or values.get("between") is not None
    if method is None and one_image:
        method = "freenoise"
        logger.info(
            "%d frames are more than the %d that %s was trained on: using FreeNoise; long_video plain (--long plain) "
            "leaves it",
            *(num_frames, card.num_frames, card.name),
        )
    if method in ("fifo", "freelong"):  # the one has short windows, the other looks at whole clips
        return {"long_video": method}
    if method in (None, "plain"):
        return {}
    if values.get("deep_cache") is not None:  # it keeps what blocks make of whole clips
        return {"long_video": method}
    return {"long_video": method, "chunk_frames": card.num_frames}


def _beyond_fs(card: ModelCard, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What the level of `motion` sets besides `fs`, unless something else that is `chosen` decides on it.

    Levels are measured on clips that one image begins.
    """
    motion = chosen.get("motion")
    if motion is None or chosen.get("mode", "animate") != "animate" or chosen.get("long_video") == "fifo":
        return {}
    if {"truncated_start", "start_statistics", "low_pass", "free_init", "camera", "between", "scale"} & chosen.keys():
        return {}
    level = card.level_for_motion(motion)
    return {"truncated_start": level.truncated_start, "low_pass": level.low_pass}


ADVISED: Mapping[Capability, str] = MappingProxyType(
    {"i2v": "512", "interpolation": "interp", "t2v": "vc2", "structure": "tiny-structure"}
)
"""A model that can do it, for messages about one that cannot."""


def _such_as(needed: Capability) -> str:
    return f", such as preset {ADVISED[needed]}"


def check_capability(card: ModelCard, mode: str, between: bool = False) -> None:
    """Raise `ValueError` if the checkpoint was not trained for `mode`, or cannot do it with the setting `between`."""
    if between and not (card.can("i2v") and card.keeps_image):
        own = ", which it does by itself" if card.can(MODES[mode]) else ""
        raise ValueError(
            f"between needs a checkpoint that animates an image as it is and checkpoint {card.name} is none; leave it "
            f"out to {mode}{own}, or use another checkpoint"
        )
    needed = MODES[mode]
    if between or card.can(needed):
        return
    wish = "show key frames" if mode == "keyframes" else mode
    if needed == "structure":
        raise ValueError(
            f"checkpoint {card.name} reads no depth and cannot follow structure; use one that does{_such_as(needed)}"
        )
    if card.usual_mode == "structure":
        raise ValueError(
            f"checkpoint {card.name} needs depth and does not {wish}; use structure, or another checkpoint"
        )
    if needed == "t2v":
        raise ValueError(
            f"checkpoint {card.name} needs an image and cannot make a video from text alone; use {card.usual_mode}, or "
            f"a checkpoint for text-to-video{_such_as(needed)}"
        )
    if card.usual_mode == "text-to-video":
        raise ValueError(
            f"checkpoint {card.name} makes videos from text alone and cannot {wish}; use text-to-video, or another "
            f"checkpoint{_such_as(needed)}"
        )
    if needed == "interpolation":
        raise ValueError(
            f"checkpoint {card.name} animates one image and cannot {wish} (it would give grey flashes); use one "
            f"made for two images{_such_as(needed)}, or "
            + ("--long-video cyclic" if mode == "loop" else "go both ways with between vibid (--between vibid)")
        )
    raise ValueError(
        f"checkpoint {card.name} needs a first and a last image; use interpolate or loop, or another checkpoint"
    )


def choose_fs(card: ModelCard, settings: GenerationSettings) -> int:
    """The model's `fs` input. Raises `ValueError` for the wrong unit."""
    if settings.motion is not None:
        return card.level_for_motion(settings.motion).fs
    if settings.fs is not None and card.fs_meaning != "none":
        return round(settings.fs)
    if card.fs_meaning == "none":
        unread = [name for name in ("fps", "frame_stride", "fs") if getattr(settings, name) is not None]
        if unread:
            raise ValueError(f"checkpoint {card.name} reads no frame rate; leave out {unread[0]}")
        return card.fs_default
    value = settings.fps if card.fs_meaning == "fps" else settings.frame_stride
    wrong, right = ("frame_stride", "fps") if card.fs_meaning == "fps" else ("fps", "frame_stride")
    if getattr(settings, wrong) is not None:
        raise ValueError(
            f"checkpoint {card.name} does not take {wrong}: its condition is {card.fs_description}; "
            f"use {right} (--{'condition-fps' if right == 'fps' else 'frame-stride'}), or motion from 0 to 1"
        )
    return card.fs_default if value is None else round(value)
