"""From settings to the methods of one generation that need more than settings: pictures, latents, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.plugins.anchor import PixelCorrection, correct_pixels
from lvdm.plugins.camera import FrameInit, frames_of_camera, parse_camera, views
from lvdm.plugins.color_lock import ColorStatistics, lock_colors
from lvdm.plugins.early_start import EarlyStart
from lvdm.plugins.free_init import FreeInit, parse_free_init
from lvdm.plugins.free_u import parse_free_u
from lvdm.plugins.hooks import Plugin
from lvdm.plugins.kept_pixels import KeptPixels, feather
from lvdm.plugins.latent_statistics import read_statistics
from lvdm.plugins.low_pass import LowPass
from lvdm.plugins.scaling import Plan, scale_plugins
from lvdm.plugins.settings import PluginSettings
from lvdm.plugins.weak_guidance import WeakGuidance, parse_weak

EncodeConcat = Callable[[float], Tensor]
"""From the strength of a low-pass filter to the concatenated latents (b, c, t, h, w) of the filtered pictures."""


def sampling_plugins(
    settings: PluginSettings,
    scale: Plan | None,
    images: Tensor,
    full: Conditioning,
    encode_video: Callable[[Iterable[Tensor]], Tensor],
    encode_concat: EncodeConcat,
) -> list[Plugin]:
    """The methods that the settings ask for.

    images         (b, 3, H, W) in [-1, 1] at the size that the network runs at
    full           the full condition of the whole video
    encode_video   frames (b, 3, 1, H, W) of videos -> latents (b, c, t, h, w)
    """
    plugins: list[Plugin] = []
    if settings.start_time < 1:
        path = settings.start_statistics
        plugins.append(EarlyStart(settings.start_time, None if path is None else read_statistics(path)))
    if settings.camera is not None:
        move, camera = parse_camera(settings.camera)
        layout = encode_video(frames_of_camera(images, views(move, camera, full.concat.shape[2])))
        plugins.append(FrameInit(layout, camera))
    if settings.low_pass > 0 and settings.low_pass_until > 0:
        plugins.append(LowPass(encode_concat(settings.low_pass), settings.low_pass_until))
    if settings.free_u is not None:
        plugins.append(parse_free_u(settings.free_u))
    if settings.weak is not None:  # before those of the size, which may ask for the unconditional branch alone
        plugins.append(WeakGuidance(parse_weak(settings.weak), full))
    return [*plugins, *scale_plugins(scale, (full.concat.shape[3], full.concat.shape[4]))]


def sample_repeatedly(
    settings: PluginSettings, plugins: Sequence[Plugin], sample: Callable[[Sequence[Plugin]], Any]
) -> Any:
    """The latents of `sample`, which is called again with those of the call before if FreeInit is asked for."""
    latents = sample(plugins)
    if settings.free_init is None:
        return latents
    options = parse_free_init(settings.free_init)
    for iteration in range(1, options.iterations):
        latents = sample([*plugins, FreeInit(options, iteration, latents)])
    return latents


def finish_parts(
    settings: PluginSettings, parts: Iterator[Tensor], pictures: Mapping[int, Tensor], kept: Tensor | None = None
) -> Iterator[Tensor]:
    """Decoded videos in parts (b, 3, k, H, W) with the colours and the frames that the settings hold to the pictures.

    pictures  (b, 3, H, W) in [-1, 1] by the number of their frame; that of frame 0 has the colours
    kept      (b, 1 or t, H, W) in [0, 1], 1 where the picture of frame 0 stays

    Videos that are exact at later frames too are made whole first: what such a frame lacks is told by that frame.
    """
    statistics = ColorStatistics.of(pictures[0][:, :, None])
    locked: Iterator[Tensor] = (lock_colors(part, statistics, settings.color_lock) for part in parts)
    if kept is not None and settings.keep_feather:
        locked = map(KeptPixels(pictures[0], feather(kept, settings.keep_feather)), locked)
    if settings.anchor != "exact":
        yield from locked
    elif list(pictures) == [0]:
        yield from map(PixelCorrection(pictures[0]), locked)
    else:
        yield correct_pixels(torch.cat(list(locked), dim=2), pictures, settings.anchor)
