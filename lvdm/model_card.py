"""What a checkpoint was made for: the trained size, the meaning of its `fs` input, what it can do, how to sample it.

A card is the top-level `sampling:` block of a model's YAML. Those of the YAML files that come with the package also
stand in for an original YAML without the block.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lvdm.config import SHIPPED_CONFIGS, ConfigError, load_yaml, parse_dataclass
from lvdm.motion_levels import MotionLevel, level_at

FsMeaning = Literal["stride", "fps", "none"]
"""stride: source frames from one frame to the next, larger is more motion. fps: frames per second, smaller is more.
none: the network reads no such number."""

Capability = Literal["i2v", "interpolation", "t2v", "structure"]
"""i2v: one image is animated. interpolation: first and last image are given; a loop gives the same image twice.
t2v: text-to-video, a prompt is enough. structure: a prompt and the depth of every frame."""

MODES: Mapping[str, Capability] = types.MappingProxyType(
    {
        "animate": "i2v",
        "interpolate": "interpolation",
        "loop": "interpolation",
        "keyframes": "interpolation",
        "text-to-video": "t2v",
        "structure": "structure",
    }
)
"""What can be asked of a model, and the capability that it takes."""


@dataclass(frozen=True)
class ModelCard:
    """The `sampling:` block of a model.

    name                         the model, e.g. 512 or tiny
    height, width, num_frames    what it was trained on, in pixels and frames
    fs_meaning, fs_min, fs_max   unit of the `fs` input and the range seen in training, both ends included
    fs_default                   the `fs` that the preset uses
    capabilities                 see `Capability`
    keeps_image                  whether the image is seen as it is; False: only what it shows (VideoCrafter)
    encoders_agree               whether text and image encoder have like features for what belongs together; False if
                                 the text encoder was trained on with the network, without the image encoder
    guidance_scale ... sampler   what the preset samples with
    playback_fps                 frames per second of the written file; independent of `fs`
    fix_final_step               end at the clean latents, see `lvdm.diffusion.samplers`
    motion_levels                what `motion` stands for, see `lvdm.motion_levels`; without any, `fs` alone
    image_token_policy           for clips that are not `num_frames` long, see `lvdm.conditioning`
    notes                        training data, watermark, licence, for people to read
    """

    name: str
    height: int
    width: int
    fs_meaning: FsMeaning
    fs_min: int
    fs_max: int
    fs_default: int
    num_frames: int = 16
    capabilities: tuple[Capability, ...] = ("i2v",)
    keeps_image: bool = True
    encoders_agree: bool = True
    guidance_scale: float = 7.5
    guidance_rescale: float = 0.0
    eta: float = 1.0
    num_inference_steps: int = 50
    timestep_spacing: str = "uniform"
    sampler: str = "ddim"
    playback_fps: int = 8
    fix_final_step: bool = False
    motion_levels: tuple[MotionLevel, ...] = ()
    image_token_policy: str = "linear"
    notes: str = ""

    def __post_init__(self) -> None:
        for name in ("height", "width", "num_frames", "num_inference_steps", "playback_fps", "fs_min"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, it is {getattr(self, name)}")
        if not self.fs_min <= self.fs_default <= self.fs_max:
            raise ValueError(f"fs_default {self.fs_default} must lie in fs_min..fs_max, {self.fs_min}..{self.fs_max}")
        if self.fs_meaning not in get_args(FsMeaning):
            raise ValueError(f"fs_meaning must be one of {', '.join(get_args(FsMeaning))}, it is {self.fs_meaning!r}")
        for level in self.motion_levels:
            if not self.fs_min <= level.fs <= self.fs_max:
                raise ValueError(f"motion_levels: fs {level.fs} is outside of {self.fs_min}..{self.fs_max}")
        if not self.capabilities or not set(self.capabilities) <= set(get_args(Capability)):
            raise ValueError(f"capabilities must be some of {', '.join(get_args(Capability))}, not {self.capabilities}")

    @classmethod
    def from_yaml(cls, path: str | Path) -> ModelCard:
        """The card of a model's YAML: its `sampling:` block, or that of the released model it describes.

        Raises `ConfigError` for a wrong block, and for a YAML without one that is not of a released model.
        """
        return cls.from_tree(load_yaml(path), str(path))

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], where: str) -> ModelCard:
        """`from_yaml` for a YAML that has been read; `where` is the place named in errors."""
        block = tree.get("sampling")
        if block is None:
            return _released_card(tree, where)
        if not isinstance(block, Mapping):
            raise ConfigError(f"{where}: sampling should be a mapping, it is {block!r}")
        card: ModelCard = parse_dataclass(cls, present_keys(block), f"{where}: sampling")
        return card

    @property
    def fs_description(self) -> str:
        """The meaning and range of `fs` in words."""
        if self.fs_meaning == "none":
            return "not read by this model"
        if self.fs_meaning == "stride":
            return f"frame stride, {self.fs_min} to {self.fs_max}, larger is more motion"
        return f"frames per second, {self.fs_min} to {self.fs_max}, smaller is more motion"

    def can(self, capability: Capability) -> bool:
        """Whether the model was trained for this."""
        return capability in self.capabilities

    @property
    def usual_mode(self) -> str:
        """The first of `MODES` that the model can do."""
        return next(mode for mode, needed in MODES.items() if self.can(needed))

    def level_for_motion(self, motion: float) -> MotionLevel:
        """What an amount of motion in 0 (least) to 1 (most) stands for, in the same direction for every model.

        The nearest of `motion_levels`; without any, the `fs` at that share of its range. Raises `ValueError` outside
        [0, 1], and for a model that reads no `fs`.
        """
        if self.fs_meaning == "none":
            raise ValueError(f"checkpoint {self.name} reads no frame rate; leave out motion")
        if not (math.isfinite(motion) and 0.0 <= motion <= 1.0):
            raise ValueError(f"motion {motion} is not possible; use a number from 0 (least) to 1 (most)")
        if self.motion_levels:
            return level_at(self.motion_levels, motion)
        return MotionLevel(self.fs_for_share(motion))

    def fs_for_share(self, share: float) -> int:
        """The `fs` at a share of its range, 0 (least motion) to 1.

        Motion is in proportion to the stride, and to the inverse of the frame rate: the stride is spaced evenly and
        the frame rate evenly in its inverse.
        """
        if self.fs_meaning == "stride":
            return round(self.fs_min + share * (self.fs_max - self.fs_min))
        return round(1.0 / ((1.0 - share) / self.fs_max + share / self.fs_min))

    def check_fs(self, fs: float) -> str | None:
        """One line on what is wrong with this `fs`, and a hint; None if it is within the trained range."""
        if self.fs_min <= fs <= self.fs_max:
            return None
        return (
            f"fs {fs:g} is outside what {self.name} was trained on ({self.fs_description}); "
            f"use {self.fs_default}, or set motion from 0 to 1 instead"
        )


FORMER_KEYS = types.MappingProxyType({"towers_agree": "encoders_agree", "start_time": "truncated_start"})
"""Keys of cards of earlier versions, which are read as they were."""


def present_keys(block: Mapping[str, Any]) -> dict[str, Any]:
    """A `sampling:` block, levels of motion included, under the present keys."""
    present = {FORMER_KEYS.get(key, key): value for key, value in block.items()}
    levels = present.get("motion_levels")
    if isinstance(levels, list):
        present["motion_levels"] = [present_keys(level) if isinstance(level, Mapping) else level for level in levels]
    return present


class ReleasedCards(Mapping[str, ModelCard]):
    """Cards by name, from their `sources`: a YAML that comes with the package is read when it is first asked for."""

    def __init__(self, sources: Mapping[str, str | ModelCard]) -> None:
        self.sources = sources

    def __getitem__(self, name: str) -> ModelCard:
        source = self.sources[name]
        return _shipped_card(source) if isinstance(source, str) else source

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)


@functools.cache
def _shipped_card(file: str) -> ModelCard:
    places = [folder / file for folder in SHIPPED_CONFIGS]
    return ModelCard.from_yaml(next((place for place in places if place.is_file()), places[0]))


RELEASED = ReleasedCards({name: f"inference_{name}_v1.0.yaml" for name in ("256", "512", "1024", "512_interp")})
"""The cards of the published checkpoints, with the settings of the original's scripts."""
VIDEOCRAFTER = ReleasedCards(
    {
        "vc1": "inference_t2v_512_v1.0.yaml",
        "vc2": "inference_t2v_512_v2.0.yaml",
        "vc1024": "inference_t2v_1024_v1.0.yaml",
        "vc-i2v": "inference_i2v_512_v1.0.yaml",
    }
)
"""The cards of VideoCrafter's checkpoints, with the settings of its scripts."""
VIEWCRAFTER: Mapping[str, ModelCard] = types.MappingProxyType(
    {
        name: ModelCard(
            name=name,
            height=height,
            width=width,
            num_frames=25,
            fs_meaning="fps",
            fs_min=10,
            fs_max=10,
            fs_default=10,
            guidance_rescale=0.7,
            timestep_spacing="uniform_trailing",
            playback_fps=10,
            image_token_policy="broadcast",
            notes="It moves as a guide video does (--guide-video), such as a rendered camera path.",
        )
        for name, height, width in (("viewcrafter", 576, 1024), ("viewcrafter-512", 320, 512))
    }
)
"""The cards of ViewCrafter's checkpoints, with the settings of its script; that of 16 frames needs `num_frames`."""
CARDS = ReleasedCards(
    {
        **RELEASED.sources,
        **VIDEOCRAFTER.sources,
        **VIEWCRAFTER,
        "myv": "inference_makeyourvideo_256_v1.0.yaml",
        "toon": "inference_tooncrafter_512_v1.0.yaml",
    }
)
"""The cards of all published checkpoints that can be used here, Make-Your-Video and ToonCrafter among them."""


def _released_card(tree: Mapping[str, Any], where: str) -> ModelCard:
    """The card of the released model whose YAML this is, known by its size and, for interpolation, by its name."""
    model = tree.get("model")
    params = model.get("params") if isinstance(model, Mapping) else None
    if isinstance(params, Mapping) and params.get("conditioning_key") == "crossattn":
        return VIDEOCRAFTER[_videocrafter_name(params)]
    if isinstance(params, Mapping) and "depth_stage_config" in params:
        return CARDS["myv"]
    first_stage = params.get("first_stage_config") if isinstance(params, Mapping) else None
    if isinstance(first_stage, Mapping) and str(first_stage.get("target")).endswith(".AutoencoderKL_Dualref"):
        return CARDS["toon"]
    size = params.get("image_size") if isinstance(params, Mapping) else None
    if isinstance(model, Mapping) and isinstance(params, Mapping) and isinstance(size, list) and len(size) == 2:
        of_views = str(model.get("target")).endswith(".VIPLatentDiffusion")
        for card in VIEWCRAFTER.values() if of_views else _released_order(params, where):
            if [card.height, card.width] == [side * 8 for side in size]:
                return card
    names = ", ".join(CARDS)
    raise ConfigError(f"{where} is not the YAML of a released model ({names}); add a top-level `sampling:` block to it")


def _released_order(params: Mapping[str, Any], where: str) -> list[ModelCard]:
    """`RELEASED`, the one for interpolation first where the YAML is for that."""
    interpolates = bool(params.get("interp_mode")) or "interp" in Path(where).name
    return sorted(RELEASED.values(), key=lambda card: ("interp" in card.name) != interpolates)


def _videocrafter_name(params: Mapping[str, Any]) -> str:
    """The name in `VIDEOCRAFTER` of the model with these `model.params`."""
    if "cond_img_config" in params:
        return "vc-i2v"
    if params.get("image_size") == [72, 128]:
        return "vc1024"
    unet = params.get("unet_config")
    options = unet.get("params") if isinstance(unet, Mapping) else None
    return "vc2" if isinstance(options, Mapping) and options.get("temporal_conv") else "vc1"
