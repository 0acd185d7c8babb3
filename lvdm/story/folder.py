"""Where the files of a story lie, and how its first frames get there."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lvdm.media.atomic import atomic_path
from lvdm.media.ownership import check_replaceable

FRAME_FORMAT = "dynamicrafter-frame/1"


@dataclass(frozen=True)
class StoryFolder:
    """The folder of a story; `name` is that of the film."""

    folder: Path
    name: str

    @property
    def film(self) -> Path:
        """The film."""
        return self.folder / f"{self.name}.mp4"

    @property
    def subtitles(self) -> Path:
        """Its subtitles."""
        return self.folder / f"{self.name}.srt"

    @property
    def storyboard(self) -> Path:
        """The page of the plan."""
        return self.folder / "storyboard.html"

    @property
    def timeline(self) -> Path:
        """What is exported."""
        return self.folder / f"{self.name}.otio"

    def shot(self, name: str) -> Path:
        """The video of a shot."""
        return self.folder / "shots" / f"{name}.mp4"

    def transition(self, name: str) -> Path:
        """The video from a shot to the next one."""
        return self.folder / "transitions" / f"{name}.mp4"

    def frame(self, name: str, part: str) -> Path:
        """A frame that a shot is given: `part` is first, end, out (of the shot) or in (of the next)."""
        return self.folder / "frames" / f"{name}.{part}.png"

    def generated_image(self, name: str, part: str) -> Path:
        """An image of the generator for a shot."""
        return self.folder / "images" / f"{name}.{part}.png"


def write_frame(image: Image.Image, path: Path, overwrite: bool = False) -> Path:
    """Write a frame as PNG; one that is the same already stays, with its time. Raises `OutputError`."""
    mark = PngInfo()
    mark.add_text("Software", FRAME_FORMAT)
    content = io.BytesIO()
    image.save(content, format="PNG", pnginfo=mark)
    if path.is_file() and path.stat().st_size == len(content.getvalue()) and path.read_bytes() == content.getvalue():
        return path
    check_replaceable(path, overwrite)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
    return path
