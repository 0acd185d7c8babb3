"""First frames that are laid out: characters with transparency over a place, each in its box."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from lvdm.media.images import ImageError, load_image, load_layer
from lvdm.media.masks import painted_mask
from lvdm.story.script import Character, Composition, Placement, StoryPlace


def compose(
    composition: Composition,
    places: Mapping[str, StoryPlace],
    characters: Mapping[str, Character],
    size: tuple[int, int],
) -> Image.Image:
    """The frame of `size` (width, height), RGB. Raises `ImageError`."""
    frame = ImageOps.fit(load_image(places[composition.place].image), size, Image.Resampling.BICUBIC)
    for placement in composition.characters:
        layer = cut_out(characters[placement.character])
        left, top, width, height = fitted_box(placement, layer.size, size)
        layer = layer.resize((width, height), Image.Resampling.LANCZOS)
        if placement.flip:
            layer = ImageOps.mirror(layer)
        frame.paste(layer, (left, top), feathered(layer.getchannel("A"), composition.feather))
    return frame


def cut_out(character: Character) -> Image.Image:
    """The character alone, RGBA, as large as what is seen of it. Raises `ImageError`."""
    layer, name = load_layer(character.image)
    if character.mask is not None:
        mask = painted_mask(*load_layer(character.mask))
        if mask.size != layer.size:
            raise ImageError(
                f"{character.mask}: is {mask.width}x{mask.height} and {name} {layer.width}x{layer.height}; "
                "give a mask as large as its image"
            )
        layer = load_image(character.image).convert("RGBA")
        layer.putalpha(mask)
    elif not layer.has_transparency_data:
        raise ImageError(f"{name}: has no transparency around the character; cut it out, or give a mask")
    layer = layer.convert("RGBA")
    seen = layer.getchannel("A").point(lambda level: 255 if level >= 8 else 0).getbbox()
    if seen is None:
        raise ImageError(f"{name}: is transparent everywhere; give an image that shows the character")
    return layer.crop(seen)


def fitted_box(placement: Placement, layer: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height (pixels) of a layer in its box: as large as fits, on the bottom, in the middle."""
    left, top, right, bottom = placement.box
    box = (right - left) * size[0], (bottom - top) * size[1]
    scale = min(box[0] / layer[0], box[1] / layer[1])
    width, height = max(round(layer[0] * scale), 1), max(round(layer[1] * scale), 1)
    return round(left * size[0] + (box[0] - width) / 2), round(bottom * size[1]) - height, width, height


def feathered(alpha: Image.Image, width: float) -> Image.Image:
    """`alpha` with an edge that goes soft inwards over about `width` pixels: what lies around stays clear."""
    if width == 0:
        return alpha
    border = int(np.ceil(2 * width)) + 1
    around = ImageOps.expand(alpha, border, 0)
    soft = np.asarray(around.filter(ImageFilter.GaussianBlur(width / 2)), np.float32)
    inner = np.clip(2 * soft - 255, 0, 255)[border:-border, border:-border]
    return Image.fromarray(np.minimum(np.asarray(alpha), np.rint(inner).astype(np.uint8)))


def placeholder(size: tuple[int, int]) -> Image.Image:
    """A grey frame, in the place of one that is not there yet."""
    return Image.new("RGB", size, (128, 128, 128))


def as_frame(source: Path | Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image cropped to `size` (width, height). Raises `ImageError`."""
    image = load_image(source) if isinstance(source, Path) else source
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.BICUBIC)
