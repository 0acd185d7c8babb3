"""Still images of any kind to clean RGB, and from there to the tensor that the model takes.

Transparency is laid over white; images in other colour spaces with a profile (wide-gamut phones, CMYK print files)
are brought to sRGB; 16-bit values are scaled, not cut; the rotation that cameras store is applied; of an animation the
first frame is taken. Whatever cannot be used is an `ImageError` of one line.

torch is imported where tensors are made or given: images are decoded and refused without it.
"""

from __future__ import annotations

import io
import logging
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, get_args

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from lvdm.declaration.values import Fit
from lvdm.errors import UserError
from lvdm.media.geometry import check_size, contained_size, covering_size, fit_box
from lvdm.media.presentation import laid_on_white
from lvdm.regular_files import unreadable_reason
from lvdm.suggestions import suggest

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000
"""Larger images are refused from their header, before a byte is decoded."""

MIN_SIDE = 8
"""Smaller images hold nothing to animate (pixels)."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM", "TGA", "ICO", "PSD", "QOI")
"""Pillow's names of what is opened, whatever the file's name says. Other formats start programs (EPS: Ghostscript) or
are parsed by code that few use."""

DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, RuntimeError, struct.error, zlib.error)
"""What Pillow raises on damaged files, depending on the format."""

_MAX_16_BIT = 65535


class ImageError(UserError):
    """An image that cannot be used; the message names the file, the reason and a hint."""


def load_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image file as upright 8-bit sRGB. Raises `ImageError`.

    `max_pixels` can be raised up to Pillow's own limit (`2 * PIL.Image.MAX_IMAGE_PIXELS`).
    """
    path = Path(path)
    with _open(path) as opened:
        return _clean(opened, str(path), max_pixels)


def load_layer(source: str | Path | Image.Image, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, str]:
    """An image upright, with its own transparency and in its own mode, and its name in messages. Raises `ImageError`.

    Colours are as stored: this is for what is no image, such as a mask.
    """
    if isinstance(source, Image.Image):
        return _upright(source, "the given image", max_pixels), "the given image"
    with _open(Path(source)) as opened:
        return _upright(opened, str(source), max_pixels), str(source)


def _open(path: Path) -> Image.Image:
    """A file whose header was read and whose format is one of ours, to be closed. Raises `ImageError`."""
    reason = unreadable_reason(path)
    if reason is not None:
        raise ImageError(f"{path}: {reason}")
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty, save or download it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `max_pixels` decides
            return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: too large to decode safely ({error}); scale it down first") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image that can be read; convert it to PNG or JPEG") from error
    except DAMAGED as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{path}: cannot be opened ({_one_line(error)})") from error


def to_image(source: str | Path | Image.Image | np.ndarray | Tensor, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Anything that holds one image, as upright 8-bit sRGB. Raises `ImageError`.

    Arrays are (H, W) or (H, W, 1|3|4), uint8, uint16, or float in [0, 1]; tensors are (3, H, W) or (1, 3, H, W), uint8
    or float in [-1, 1] as everywhere in this library.
    """
    if isinstance(source, (str, Path)):
        return load_image(source, max_pixels)
    if is_tensor(source):
        source = _array_from_tensor(source)
    if isinstance(source, np.ndarray):
        source = _image_from_array(source)
    if not isinstance(source, Image.Image):
        raise ImageError(f"expected a path, PIL image, array or tensor, got {type(source).__name__}")
    return _clean(source, "the given image", max_pixels)


def fit_image(image: Image.Image, height: int, width: int, mode: Fit = "crop") -> Tensor:
    """RGB `image` as a tensor (3, height, width) in [-1, 1]; exactly u8 / 127.5 - 1 when the size already matches.

    `crop` scales to cover the size and cuts the overhang evenly; it equals the original's Resize + CenterCrop where
    that does not add bars. `pad` scales to fit inside, with neutral grey (0) around: `geometry.fit_box` says where the
    image lies. `stretch` ignores the aspect. Scaling is Pillow's antialiased bilinear, as in the original.
    """
    check_size(height, width)
    if mode not in get_args(Fit):
        raise ValueError(f"unknown fit mode {mode!r}; {suggest(mode, get_args(Fit))}")
    source, target = (image.height, image.width), (height, width)
    if mode == "crop":
        scaled_height, scaled_width = covering_size(source, target)
        scaled = _resize(image, scaled_height, scaled_width)
        top, left = round((scaled_height - height) / 2), round((scaled_width - width) / 2)
        return _to_tensor(scaled.crop((left, top, left + width, top + height)))
    if mode == "stretch":
        return _to_tensor(_resize(image, height, width))
    import torch

    box = fit_box(source, target, mode)
    fitted = torch.zeros(3, height, width)
    box.crop(fitted).copy_(_to_tensor(_resize(image, *contained_size(source, target))))
    return fitted


def _clean(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    upright = _upright(image, name, max_pixels)
    return _to_srgb(_lay_on_white(_to_8_bit(upright, name), name), image.info.get("icc_profile"), name)


def _upright(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    """The first frame, decoded and turned as the camera says. Raises `ImageError`, also for sizes out of bounds."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width}x{height} is {width * height / 1e6:.0f} megapixels, more than the limit of "
            f"{max_pixels / 1e6:.0f}; scale it down, or raise the limit if you trust the file"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name}: {width}x{height} is too small, at least {MIN_SIDE}x{MIN_SIDE} pixels are needed")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: photographs with a preview beside, not animations
        logger.warning("%s holds %d frames, only the first is used", name, frames)
        image.seek(0)
    try:
        return ImageOps.exif_transpose(image)  # also decodes
    except DAMAGED as error:
        raise ImageError(f"{name}: damaged or incomplete ({_one_line(error)}); save or download it again") from error


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """Scale 16-bit grey to 8 bits. Pillow reads 16-bit colour as 8 bits already, by the high byte."""
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no fixed white; save it with 8 or 16 bits per channel")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _MAX_16_BIT:
        raise ImageError(f"{name}: 32-bit pixels have no fixed white; save it with 8 or 16 bits per channel")
    return Image.fromarray(((values * 255 + _MAX_16_BIT // 2) // _MAX_16_BIT).astype(np.uint8))


def _lay_on_white(image: Image.Image, name: str) -> Image.Image:
    if not image.has_transparency_data:
        return image
    straight = image.convert("RGBA")
    if straight.getchannel("A").getextrema() == (255, 255):
        return straight.convert("RGB")
    logger.info("%s is partly transparent: laid on white", name)
    return laid_on_white(straight)


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    if image.mode in ("RGB", "CMYK") and profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" in ImageCms.getProfileDescription(source):
                return image.convert("RGB")
            target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            logger.warning("%s: its colour profile is ignored, it cannot be used (%s)", name, _one_line(error))
        else:
            assert converted is not None
            return converted
    return image.convert("RGB")


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether `value` is a tensor; nobody has one who has not imported torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _array_from_tensor(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ImageError(f"a tensor image should be (3, H, W), it is {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        return tensor.permute(1, 2, 0).numpy()
    if not bool(((tensor >= -1) & (tensor <= 1)).all()):
        raise ImageError("a float tensor image should lie in [-1, 1]; values outside, or not finite, were found")
    return (tensor.permute(1, 2, 0).float().numpy() + 1) / 2


def _image_from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise ImageError(f"an array image should be (H, W) or (H, W, 1|3|4), it is {array.shape}")
    if array.dtype == np.uint16:
        array = array / _MAX_16_BIT
    if np.issubdtype(array.dtype, np.floating):
        if not bool(((array >= 0) & (array <= 1)).all()):
            raise ImageError("a float array image should lie in [0, 1]; values outside, or not finite, were found")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"an array image should be uint8, uint16 or float, it is {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))


def _resize(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _to_tensor(image: Image.Image) -> Tensor:
    import torch

    pixels = torch.from_numpy(np.array(image.convert("RGB")))  # (H, W, 3)
    return pixels.permute(2, 0, 1).contiguous().float() / 127.5 - 1  # (3, H, W)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
