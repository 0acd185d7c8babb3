"""What a generation is asked to do: every setting in one frozen record, checked before anything heavy is loaded."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from lvdm.checkpoint import read_checkpoint
from lvdm.conditioning import check_image_token_policy
from lvdm.data.geometry import FIT_MODES, MAX_SIDE
from lvdm.diffusion.samplers import SAMPLERS
from lvdm.diffusion.timesteps import Spacing
from lvdm.model_card import MODES, ModelCard
from lvdm.plugins.bidirectional import check_between
from lvdm.plugins.choosing import LONG_VIDEO
from lvdm.plugins.latent_statistics import read_statistics
from lvdm.plugins.settings import PluginSettings
from lvdm.plugins.weak_guidance import parse_weak
from lvdm.sizes import check_side
from lvdm.suggestions import suggest

logger = logging.getLogger(__name__)

MAX_FRAMES = 1024
"""Frames of the longest video whose latents are all held."""
MAX_STREAMED_FRAMES = 1_000_000
"""Frames of the longest video that goes to its file frame by frame: more is taken for a mistake."""
MIN_TILE = 8
"""Smaller tiles hold too little for the VAE to tell tone from texture (latent pixels)."""
FROM_CARD = (
    "num_frames",
    "num_inference_steps",
    "guidance_scale",
    "guidance_rescale",
    "eta",
    "sampler",
    "timestep_spacing",
    "fix_final_step",
    "image_token_policy",
)
"""Settings that a checkpoint's card has a value for."""


@dataclass(frozen=True)
class GenerationSettings(PluginSettings):
    """The settings of one generation; those of a checkpoint's card replace the defaults here.

    Those of the plug-ins are in `PluginSettings`.

    mode                   animate (one image), interpolate (first and last image), loop (the image at both ends),
                           keyframes (images at any frames) or text-to-video (no image)
    height, width          pixels of the video; None follows the image and the trained size (`lvdm.sizes`)
    num_frames             length of the clip; the image tokens follow by `image_token_policy`
    long_video             for clips longer than the trained ones, see `lvdm.plugins.choosing.LONG_VIDEO`
    chunk_frames           frames that the network works on at once; None is all of them; up to rounding no effect on
                           the result
    fps, frame_stride      the model's own `fs` input, in the unit its card names; at most one of these and `motion`
    motion                 0 (as calm as the model knows) to 1 (as lively), the same direction for every checkpoint;
                           stands for `fs` and, by the card's `motion_levels`, for `start_time` and `low_pass`
    num_inference_steps    1 to 1000
    guidance_scale         s_txt; 1 turns text guidance off
    image_guidance_scale   s_img of the three-way guidance; None guides text and image together
    guidance_rescale       phi in 0..1: share of the conditional output's contrast that is restored
    eta                    0 (deterministic DDIM) to 1 (as much noise as DDPM); other samplers take 0 only
    sampler                a name in `lvdm.diffusion.samplers.SAMPLERS`
    timestep_spacing       a name in `lvdm.diffusion.timesteps.Spacing`
    fix_final_step         end at the clean latents instead of at the original's slightly darker and noisier ones
    fit                    how an image of another shape meets the canvas: crop, pad or stretch
    decode_chunk_size      frames decoded at once; None is all of them; no effect on the result
    vae_tile               side of the tiles that frames are decoded in, latent pixels (of 8 image pixels); saves
                           memory and changes nothing but rounding; None: whole frames
    num_videos_per_prompt  videos for each image and prompt, with different noise
    """

    mode: str = "animate"
    height: int | None = None
    width: int | None = None
    num_frames: int = 16
    fps: float | None = None
    frame_stride: float | None = None
    motion: float | None = None
    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    image_guidance_scale: float | None = None
    guidance_rescale: float = 0.0
    eta: float = 1.0
    sampler: str = "ddim"
    timestep_spacing: Spacing = "uniform"
    fix_final_step: bool = False
    fit: str = "crop"
    image_token_policy: str = "linear"
    decode_chunk_size: int | None = 4
    vae_tile: int | None = None
    num_videos_per_prompt: int = 1
    long_video: str = "plain"
    chunk_frames: int | None = None

    def __post_init__(self) -> None:
        _known("mode", self.mode, MODES)
        check_side("height", self.height)
        check_side("width", self.width)
        self._check_length()
        _whole("num_inference_steps", self.num_inference_steps, 1, 1000)
        _whole("num_videos_per_prompt", self.num_videos_per_prompt, 1, 1000)
        if self.decode_chunk_size is not None:
            _whole("decode_chunk_size", self.decode_chunk_size, 1, MAX_FRAMES)
        if self.chunk_frames is not None:
            _whole("chunk_frames", self.chunk_frames, 1, MAX_FRAMES)
        if self.long_video == "ring" and self.mode == "interpolate":
            raise ValueError("long_video ring goes back to where it began; leave it out to interpolate")
        if self.long_video == "freelong" and self.chunk_frames is not None:
            raise ValueError("long_video freelong looks at frames, rows and columns together; leave out chunk_frames")
        if self.vae_tile is not None:
            _whole("vae_tile", self.vae_tile, MIN_TILE, MAX_SIDE)
        _within("guidance_scale", self.guidance_scale, 0, 100)
        _within("image_guidance_scale", self.image_guidance_scale, 0, 100)
        if self.mode == "text-to-video" and self.image_guidance_scale is not None:
            raise ValueError("there is no image to guide by; leave out image_guidance_scale (--image-guidance)")
        _within("guidance_rescale", self.guidance_rescale, 0, 1)
        _within("eta", self.eta, 0, 1)
        _known("sampler", self.sampler, SAMPLERS)
        if self.sampler != "ddim" and self.eta != 0:
            raise ValueError(f"sampler {self.sampler!r} adds no noise: use eta 0, or sampler 'ddim' for eta {self.eta}")
        _known("timestep_spacing", self.timestep_spacing, get_args(Spacing))
        _known("fit", self.fit, FIT_MODES)
        self._check_speed()
        self.check_plugins(self.mode)
        if self.between is not None:
            check_between(self.between, self.mode, self.sampler)
            if self.long_video == "ring":
                raise ValueError("a ring has no way back; leave out between, or use another long_video")
        check_image_token_policy(self.image_token_policy, self.num_frames, self.num_frames)

    def _check_length(self) -> None:
        _known("long_video", self.long_video, LONG_VIDEO)
        fewest = 2 if MODES[self.mode] == "interpolation" else 1
        if self.long_video != "fifo":
            try:
                _whole("num_frames", self.num_frames, fewest, MAX_FRAMES)
            except ValueError as error:
                longer = isinstance(self.num_frames, int) and self.num_frames > MAX_FRAMES
                raise ValueError(f"{error}{', or long_video fifo (--long fifo) for more' if longer else ''}") from error
            return
        _whole("num_frames", self.num_frames, fewest, MAX_STREAMED_FRAMES)
        self._check_fifo()

    def _check_fifo(self) -> None:
        """What works on the whole clip, or on all frames at one time step, cannot be with frames that come and go."""
        if MODES[self.mode] == "interpolation":
            raise ValueError(f"long_video fifo has no end to go to; leave it out to {self.mode}")
        if self.sampler != "ddim":
            raise ValueError(f"long_video fifo takes its steps with sampler 'ddim', not {self.sampler!r}")
        neutral: dict[str, Any] = {"camera": None, "low_pass": 0.0, "start_time": 1.0, "free_init": None}
        neutral["late_weights"] = None  # frames are at different steps
        given = [name for name, value in neutral.items() if getattr(self, name) != value]
        if self.anchor == "soft":
            given.append("anchor soft")
        if self.weak is not None and not parse_weak(self.weak).every_step:
            given.append("after and until of weak")
        if self.scale not in ("auto", "off"):
            given.append("scale")
        if given:
            raise ValueError(
                f"{' and '.join(given)} work on a whole clip and long_video fifo has none; leave out {given[0]}, or "
                "use long_video freenoise"
            )

    def _check_speed(self) -> None:
        given = [name for name in ("fps", "frame_stride", "motion") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} set the same thing; give only one of them")
        _within("motion", self.motion, 0, 1)
        _within("fps", self.fps, 1, 1000)
        _within("frame_stride", self.frame_stride, 1, 1000)

    @classmethod
    def from_card(cls, card: ModelCard, **given: Any) -> GenerationSettings:
        """Settings with the values of `card`, under those `given` that are not None.

        Raises `ValueError` for an unknown name, a value that is not possible, and what the checkpoint cannot do; warns
        of an `fs` outside the trained range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            _known("setting", name, names)
        chosen = {name: value for name, value in given.items() if value is not None}
        values = {name: getattr(card, name) for name in FROM_CARD}
        if chosen.get("sampler", "ddim") != "ddim":
            values["eta"] = 0.0  # a card's eta is meant for DDIM
        values |= _long_video(card, {**values, **chosen})
        values |= _beyond_fs(card, chosen)
        settings = cls(**{**values, **chosen})
        check_capability(card, "animate" if settings.closes_ring else settings.mode, settings.between is not None)
        problem = card.check_fs(choose_fs(card, settings))
        if problem:
            logger.warning("%s", problem)
        check_image_token_policy(settings.image_token_policy, card.num_frames, settings.num_frames)
        if settings.start_statistics is not None:
            read_statistics(settings.start_statistics)
        if settings.late_weights is not None:
            read_checkpoint(settings.late_weights)  # opens it: whether it is one shows before others are loaded
        return settings

    @property
    def closes_ring(self) -> bool:
        """Whether the video is a clip on a ring, of one frame less, whose first frame is repeated at its end."""
        return self.long_video == "ring" and self.mode == "loop"

    @property
    def num_branches(self) -> int:
        """How often guidance evaluates the network for each step: once, twice, or three times with image guidance."""
        if self.guidance_scale == 1 and self.image_guidance_scale in (None, 1):
            return 1
        return 2 if self.image_guidance_scale in (None, self.guidance_scale) else 3

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        return dataclasses.asdict(self)


def _long_video(card: ModelCard, values: Mapping[str, Any]) -> dict[str, Any]:
    """`long_video` and `chunk_frames` for clips longer than those of the training, where `values` leave them open.

    Clips between two images stay plain: windows in their middle would see neither of them. Loops of models that animate
    an image are made on a ring, of any length.
    """
    num_frames, method = values["num_frames"], values.get("long_video")
    looped = values.get("mode") == "loop" and method is None and values.get("between") is None
    if looped and card.can("i2v") and card.keeps_image:
        method = "ring"
        logger.info("looping on a ring; long_video plain (--long plain) goes from the image to itself as between two")
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
    return {"long_video": method, "chunk_frames": card.num_frames}


def _beyond_fs(card: ModelCard, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What the level of `motion` sets besides `fs`, unless something else that is `chosen` decides on it.

    Levels are measured on clips that one image begins.
    """
    motion = chosen.get("motion")
    if motion is None or chosen.get("mode", "animate") != "animate" or chosen.get("long_video") == "fifo":
        return {}
    if {"start_time", "start_statistics", "low_pass", "free_init", "camera", "between", "scale"} & chosen.keys():
        return {}
    level = card.level_for_motion(motion)
    return {"start_time": level.start_time, "low_pass": level.low_pass}


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
    if needed == "t2v":
        raise ValueError(
            f"checkpoint {card.name} needs an image and cannot make a video from text alone; use {card.usual_mode}, or "
            "a checkpoint for text-to-video, such as preset vc2"
        )
    if card.usual_mode == "text-to-video":
        raise ValueError(
            f"checkpoint {card.name} makes videos from text alone and cannot {wish}; use text-to-video, or another "
            f"checkpoint, such as preset {'512' if needed == 'i2v' else 'interp'}"
        )
    if needed == "interpolation":
        raise ValueError(
            f"checkpoint {card.name} animates one image and cannot {wish} (it would give grey flashes); use one "
            "made for two images, such as preset interp, or "
            + ("--long ring" if mode == "loop" else "go both ways with between vibid (--between vibid)")
        )
    raise ValueError(
        f"checkpoint {card.name} needs a first and a last image; use interpolate or loop, or another checkpoint"
    )


def choose_fs(card: ModelCard, settings: GenerationSettings) -> int:
    """The model's `fs` input. Raises `ValueError` for the wrong unit."""
    if settings.motion is not None:
        return card.level_for_motion(settings.motion).fs
    if card.fs_meaning == "none":
        unread = [name for name in ("fps", "frame_stride") if getattr(settings, name) is not None]
        if unread:
            raise ValueError(f"checkpoint {card.name} reads no frame rate; leave out {unread[0]}")
        return card.fs_default
    given = settings.fps if card.fs_meaning == "fps" else settings.frame_stride
    wrong, right = ("frame_stride", "fps") if card.fs_meaning == "fps" else ("fps", "frame_stride")
    if getattr(settings, wrong) is not None:
        raise ValueError(
            f"checkpoint {card.name} does not take {wrong}: its condition is {card.fs_description}; "
            f"use {right} (--{'condition-fps' if right == 'fps' else 'frame-stride'}), or motion from 0 to 1"
        )
    return card.fs_default if given is None else round(given)


def _known(name: str, value: str, known: Iterable[str]) -> None:
    options = list(known)
    if value not in options:
        raise ValueError(f"{name} {value!r} is not known; {suggest(value, options)}")


def _whole(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} {value} is not possible; use a whole number from {low} to {high}")


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} {value} is not possible; use a number from {low} to {high}")
