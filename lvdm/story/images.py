"""First frames from a generator of images: an endpoint, or any Python callable; each is kept with its prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lvdm.documents import DocumentError, read_json
from lvdm.media.atomic import together, write_json
from lvdm.media.images import ImageError, load_image, to_image
from lvdm.media.ownership import check_replaceable
from lvdm.story.composition import as_frame
from lvdm.story.script import StoryError

IMAGE_FORMAT = "dynamicrafter-image/1"


@dataclass(frozen=True)
class ImageGenerator:
    """Makes an image of a prompt, a width and a height: `make` gives what `lvdm.media.images.to_image` takes.

    name  of the model; an image is made again when it is another one
    """

    make: Callable[[str, int, int], Any]
    name: str = "a Python callable"


def stored_image(
    path: Path, generator: ImageGenerator | None, prompt: str, size: tuple[int, int]
) -> Image.Image | None:
    """The image of this prompt at `path`; None where there is none yet, and `generator` is to make it.

    Raises `StoryError` where there is neither.
    """
    facts = _facts(generator, prompt, size)
    try:
        stored = read_json(path.with_suffix(".json"))
    except (OSError, DocumentError):
        stored = {}
    same = isinstance(stored, dict) and all(stored.get(key) == value for key, value in facts.items())
    if same and path.is_file():
        return as_frame(load_image(path), size)
    if generator is None:
        raise StoryError(
            "text_to_image: there is no image generator; give one (--image-endpoint and --image-model), or use image"
        )
    return None


def generate_image(path: Path, generator: ImageGenerator, prompt: str, size: tuple[int, int], overwrite: bool) -> None:
    """Make the image and write it with its record. Raises `StoryError`, `ImageError`, `OutputError`."""
    check_replaceable(path, overwrite, beside=path.with_suffix(".json"))
    try:
        image = to_image(generator.make(prompt, *size))
    except ImageError as error:
        raise StoryError(f"text_to_image: {generator.name} gave no image that can be used: {error}") from error
    with together() as files:
        with files.path(path) as temporary:
            image.save(temporary, format="PNG")
        write_json(path.with_suffix(".json"), _facts(generator, prompt, size), files)


def _facts(generator: ImageGenerator | None, prompt: str, size: tuple[int, int]) -> dict[str, Any]:
    facts = {"format": IMAGE_FORMAT, "prompt": prompt, "width": size[0], "height": size[1]}
    return facts if generator is None else {**facts, "generator": generator.name}
