"""Which settings of the methods are possible, alone, together and in a mode; checked without a model."""

from __future__ import annotations

from lvdm.plugins.camera import parse_camera
from lvdm.plugins.free_init import parse_free_init
from lvdm.plugins.free_u import parse_free_u
from lvdm.plugins.freescale import FreeScaleOptions
from lvdm.plugins.scaling import parse_scale
from lvdm.plugins.weak_guidance import parse_weak
from lvdm.request.method_parameters import MethodParameters as PluginSettings


def check_plugins(settings: PluginSettings, mode: str) -> None:
    """Raise `ValueError` for options that are not possible, alone, together or in `mode`."""
    parse_scale(settings.scale)
    if settings.start_time == 0:
        raise ValueError("start_time 0 leaves nothing to sample; use a number up to 1, such as 0.94")
    if settings.start_statistics is not None and settings.start_time == 1:
        raise ValueError("start_statistics are for an earlier start; give start_time below 1 as well, such as 0.94")
    if settings.free_u is not None:
        parse_free_u(settings.free_u)
    if settings.weak is not None:
        parse_weak(settings.weak)
    if mode == "text-to-video":
        _check_without_image(settings)
    if settings.between is None and settings.between_prompt is not None:
        raise ValueError("between_prompt is for the way back of between; give that as well, such as vibid")
    if settings.between is not None and settings.low_pass > 0:
        raise ValueError("low_pass blurs one picture and between has several; leave out one of them")
    _check_beginnings(settings, mode)


def _check_without_image(settings: PluginSettings) -> None:
    """These work on the picture that the video begins with."""
    neutral = {"anchor": "free", "color_lock": 0.0, "keep_feather": 0, "camera": None, "low_pass": 0.0}
    given = [name for name, value in neutral.items() if getattr(settings, name) != value]
    if given:
        raise ValueError(f"{' and '.join(given)} need an image, and text-to-video has none; leave out {given[0]}")


def _check_beginnings(settings: PluginSettings, mode: str) -> None:
    """Each of these decides what sampling begins with."""
    given = []
    if settings.camera is not None:
        begins = parse_camera(settings.camera)[1].begin
        if begins and settings.start_time != 1:
            raise ValueError("start_time and begin=yes of camera both say where sampling begins; give only one")
        if mode != "animate":
            raise ValueError(f"a camera move leaves the picture that the video ends with; leave out camera to {mode}")
        given.append("camera")
    if settings.start_statistics is not None:
        given.append("start_statistics")
    scale = parse_scale(settings.scale)
    if isinstance(scale, FreeScaleOptions) and scale.level < 1:
        given.append("scale freescale")
        if settings.start_time != 1:
            raise ValueError("start_time and level of scale freescale both say where sampling begins; give only one")
    if settings.free_init is not None and parse_free_init(settings.free_init).iterations > 1:
        given.append("free_init")
        if settings.start_time != 1:
            raise ValueError("free_init and start_time both say where sampling begins; give only one of them")
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} both make the noise that sampling begins with; give only one")
