"""The settings of the plug-ins: what `GenerationSettings` holds of them, checked without a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lvdm.plugins.anchor import ANCHORS
from lvdm.plugins.camera import parse_camera
from lvdm.plugins.free_init import parse_free_init
from lvdm.plugins.free_u import parse_free_u
from lvdm.plugins.freescale import FreeScaleOptions
from lvdm.plugins.scaling import parse_scale
from lvdm.plugins.weak_guidance import parse_weak

MAX_FEATHER = 256
"""Pixels; a wider edge is a mask of its own."""


@dataclass(frozen=True)
class PluginSettings:
    """Plug-ins that are off, or neutral, change no bit.

    scale             what to do beyond the trained area: auto, off, scalecrafter or freescale, alone or with options as
                      in scalecrafter:factor=2,until=0.4, see `lvdm.plugins.scaling`
    anchor            whether frame 0 is the image: free, soft or exact, see `lvdm.plugins.anchor`
    color_lock        0 (off) to 1: hold the colour statistics of all frames to those of the image
    keep_feather      pixels over which a kept region (`keep_mask`) becomes the image itself; 0: only its latents are
                      held
    camera            a name in `lvdm.plugins.camera.DIRECTIONS`, or path, with options as in zoom_in:amount=0.5
    low_pass          0 (off) to 1: how much of the picture's detail the network is not shown in the first steps
    low_pass_until    the share of the steps for which that is so
    start_time        where sampling begins, as a share of the training's time steps; below 1 is more motion
    start_statistics  file of `dynamicrafter stats analytic-init` for the noise that it begins with; None: plain noise
    free_init         options of `lvdm.plugins.free_init`, such as iterations=2,level=0.9
    free_u            options of `lvdm.plugins.free_u`, such as b1=1.1,s1=0.9
    late_weights      another checkpoint, of the same architecture, whose network takes the late steps
    late_below        from which time step on, as a share of the training's: 0 (none) to 1 (all)
    weak              stg or pag, alone or with options of `lvdm.plugins.weak_guidance` as in pag:scale=2,blocks=middle
    between           vibid or trf, alone or with options of `lvdm.plugins.bidirectional`: go between pictures with a
                      model that animates one; None: as the model was trained
    between_prompt    the sentence for that model's way back, where time is reversed; None: the prompt
    """

    scale: str = "auto"
    anchor: str = "free"
    color_lock: float = 0.0
    keep_feather: int = 0
    camera: str | None = None
    low_pass: float = 0.0
    low_pass_until: float = 0.1
    start_time: float = 1.0
    start_statistics: str | None = None
    free_init: str | None = None
    free_u: str | None = None
    late_weights: str | None = None
    late_below: float = 0.5
    weak: str | None = None
    between: str | None = None
    between_prompt: str | None = None

    def check_plugins(self, mode: str) -> None:
        """Raise `ValueError` for options that are not possible, alone, together or in `mode`."""
        parse_scale(self.scale)
        if self.anchor not in ANCHORS:
            raise ValueError(f"anchor {self.anchor!r} is not known; use one of {', '.join(ANCHORS)}")
        for name in ("color_lock", "low_pass", "low_pass_until", "start_time", "late_below"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"{name} {value} is not possible; use a number from 0 to 1")
        if isinstance(self.keep_feather, bool) or not 0 <= self.keep_feather <= MAX_FEATHER:
            raise ValueError(f"keep_feather {self.keep_feather} is not possible; use 0 to {MAX_FEATHER} pixels")
        if self.start_time == 0:
            raise ValueError("start_time 0 leaves nothing to sample; use a number up to 1, such as 0.94")
        if self.start_statistics is not None and self.start_time == 1:
            raise ValueError("start_statistics are for an earlier start; give start_time below 1 as well, such as 0.94")
        if self.free_u is not None:
            parse_free_u(self.free_u)
        if self.weak is not None:
            parse_weak(self.weak)
        if mode == "text-to-video":
            self._check_without_image()
        if self.between is None and self.between_prompt is not None:
            raise ValueError("between_prompt is for the way back of between; give that as well, such as vibid")
        if self.between is not None and self.low_pass > 0:
            raise ValueError("low_pass blurs one picture and between has several; leave out one of them")
        self._check_beginnings(mode)

    def _check_without_image(self) -> None:
        """These work on the picture that the video begins with."""
        neutral = {"anchor": "free", "color_lock": 0.0, "keep_feather": 0, "camera": None, "low_pass": 0.0}
        given = [name for name, value in neutral.items() if getattr(self, name) != value]
        if given:
            raise ValueError(f"{' and '.join(given)} need an image, and text-to-video has none; leave out {given[0]}")

    def _check_beginnings(self, mode: str) -> None:
        """Each of these decides what sampling begins with."""
        given = []
        if self.camera is not None:
            begins = parse_camera(self.camera)[1].begin
            if begins and self.start_time != 1:
                raise ValueError("start_time and begin=yes of camera both say where sampling begins; give only one")
            if mode != "animate":
                raise ValueError(
                    f"a camera move leaves the picture that the video ends with; leave out camera to {mode}"
                )
            given.append("camera")
        if self.start_statistics is not None:
            given.append("start_statistics")
        scale = parse_scale(self.scale)
        if isinstance(scale, FreeScaleOptions) and scale.level < 1:
            given.append("scale freescale")
            if self.start_time != 1:
                raise ValueError(
                    "start_time and level of scale freescale both say where sampling begins; give only one"
                )
        if self.free_init is not None and parse_free_init(self.free_init).iterations > 1:
            given.append("free_init")
            if self.start_time != 1:
                raise ValueError("free_init and start_time both say where sampling begins; give only one of them")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both make the noise that sampling begins with; give only one")
