"""What PyAV decodes, made into the frame that a player shows: colours, opacity, place and shape of pixels."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import Image

from lvdm.media.high_dynamic_range import TRANSFERS, Transfer, on_ordinary_screen
from lvdm.media.presentation import Presentation, laid_on_white, upright_frame

Conversion = Literal["accurate", "fast"]
"""How frames become RGB.

accurate  colour is interpolated between pixels, sums are rounded, untagged HD is taken for BT.709: what a player shows
fast      none of these: 1 level darker, coarser at the edges of colours; what the released models were trained on
"""

_HD_LINES = 720
"""Players take untagged video with at least so many lines as BT.709, and smaller video as BT.601."""

_SCALER = 0x4 | 0x2000 | 0x40000
"""swscale's flags bicubic, full chroma interpolation, accurate rounding: without them frames turn 1 level darker."""

_FAST_SCALER = 0x4
"""swscale's plain bicubic: what it does to colours by default, and so what decord and torchcodec do."""

_UNSPECIFIED = 2
"""The colour space code of video without one of its own (ITU-T H.273, table 4)."""

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these leave the opacity out, which lies beside the frames."""


def presentation_of(stream: av.VideoStream, frame: av.VideoFrame, path: Path) -> Presentation:
    """How the frames of `stream` are shown, of which `frame` is one. `path` is for warnings."""
    try:
        held = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]  # its types name some of what there is
        matrix: Sequence[int] | None = struct.unpack("=9i", bytes(held))
    except KeyError:
        matrix = None
    return Presentation.of(matrix, _fraction(stream.sample_aspect_ratio), path)


def alpha_decoder(stream: av.VideoStream) -> av.VideoCodecContext | None:
    """A decoder for the opacity that WebM files hold beside their frames; None where there is none to decode."""
    name = _ALPHA_DECODERS.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return None
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, av.VideoCodecContext)
    return context


def shown_frame(
    frame: av.VideoFrame, presentation: Presentation, conversion: Conversion, height: int = 0, width: int = 0
) -> np.ndarray:
    """uint8 (H, W, 3) as a player shows it, scaled to `height` x `width` if they are given (not 0)."""
    transfer = transfer_of(frame)
    if transfer is not None:
        size = presentation.unturned(height, width) if height and width else (None, None)
        ordinary = on_ordinary_screen(_reformatted(frame, "rgb48le", conversion, *size).to_ndarray(), transfer)
        frame = av.VideoFrame.from_ndarray(ordinary, format="rgb24")
    elif _has_alpha(frame.format):
        colours = Image.fromarray(_reformatted(frame, "rgba", conversion).to_ndarray())
        frame = av.VideoFrame.from_ndarray(np.asarray(laid_on_white(colours)), format="rgb24")
    if not height or not width:
        return upright_frame(_reformatted(frame, "rgb24", conversion).to_ndarray(), presentation)
    stored = presentation.unturned(height, width)  # squeezed in one go with the conversion, as the original does
    scaled = _reformatted(frame, "rgb24", conversion, *stored).to_ndarray()
    return upright_frame(scaled, replace(presentation, pixel_aspect=Fraction(1)))


def transfer_of(frame: av.VideoFrame) -> Transfer | None:
    """The transfer function of an HDR frame; None for others."""
    return TRANSFERS.get(int(getattr(frame, "color_trc", 0)))  # which older versions of PyAV do not tell


def _reformatted(
    frame: av.VideoFrame, pixel_format: str, conversion: Conversion, height: int | None = None, width: int | None = None
) -> av.VideoFrame:
    untagged_hd = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_LINES
    return frame.reformat(
        width=width,
        height=height,
        format=pixel_format,
        src_colorspace="ITU709" if untagged_hd and conversion == "accurate" else None,
        interpolation=_SCALER if conversion == "accurate" else _FAST_SCALER,
    )


def has_opacity(stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Whether frames have a channel for opacity, in themselves or beside them."""
    return _has_alpha(frame.format) or alpha_decoder(stream) is not None


def _has_alpha(pixel_format: av.VideoFormat) -> bool:
    return pixel_format.name == "pal8" or any(component.is_alpha for component in pixel_format.components)


def _fraction(value: Fraction | None) -> Fraction | None:
    """None for 0/1, which says that nothing is known, and for what is no ratio."""
    return value if value is not None and value > 0 else None
