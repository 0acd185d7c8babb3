"""Captions of a film: drawn into its frames, or as the lines of a subtitle track and of an .srt file."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from lvdm.errors import Problems
from lvdm.regular_files import open_regular, unreadable_reason
from lvdm.story.layout import FilmLayout
from lvdm.story.reading import label
from lvdm.story.script import Story, StoryError

MIN_SIZE = 12
"""Smaller letters cannot be read (pixels)."""
_MARGIN = 0.04
_MOST_OF_FRAME = 0.6
_NO_CHARACTER = "\U0010ffff"
"""Stands for what no font has."""
_MAX_FONT_BYTES = 100_000_000


@dataclass(frozen=True)
class Subtitle:
    """A caption with the seconds of the film in which it is shown."""

    start: float
    end: float
    text: str


def subtitles(story: Story, layout: FilmLayout, fps: float) -> tuple[Subtitle, ...]:
    """The captions of all shots, each in one line of its own."""
    found = []
    for number, shot in enumerate(story.shots):
        if shot.caption.strip():
            begin, end = layout.caption(number)
            found.append(Subtitle(begin / fps, end / fps, "\n".join(_lines(shot.caption))))
    return tuple(found)


def srt_of(lines: tuple[Subtitle, ...]) -> str:
    """The text of an .srt file (SubRip)."""
    blocks = [f"{n}\n{_clock(s.start)} --> {_clock(s.end)}\n{s.text}\n" for n, s in enumerate(lines, start=1)]
    return "\n".join(blocks)


def check_captions(story: Story, size: tuple[int, int]) -> None:
    """Raise `StoryError` for captions that cannot be drawn at `size` (width, height), with the shot of each."""
    if story.captions != "burned":
        unread = [name for name in ("font", "font_size") if getattr(story, name) is not None]
        if unread:
            raise StoryError(f"{unread[0]} has no effect with captions: {story.captions}; leave it out")
        return
    problems, typesetter = Problems(), Typesetter(story, size)
    for shot in story.shots:
        with problems.of_row(f"{label(shot)}: caption: "):
            if shot.caption.strip():
                typesetter.check(shot.caption)
    problems.check()


def check_font(path: Path) -> None:
    """Raise `StoryError` for a file that is no font."""
    _opened_font(_font_bytes(path), str(path), MIN_SIZE)


class Typesetter:
    """Draws captions in the font of a story, for frames of `size` (width, height). Raises `StoryError`."""

    def __init__(self, story: Story, size: tuple[int, int]) -> None:
        self.size = size
        self._pixels = story.font_size or max(size[1] // 12, MIN_SIZE)
        self._file = None if story.font is None else _font_bytes(story.font)
        self._name = "the built-in font" if story.font is None else str(story.font)
        self._font = self._load()
        self._plain = self._load(ImageFont.Layout.BASIC)
        self._unknown = self._glyph(_NO_CHARACTER)

    def check(self, caption: str) -> None:
        """Raise `StoryError` for letters that the font lacks, for right-to-left text that cannot be set, and length."""
        absent = sorted({letter for letter in caption if self._is_absent(letter)})
        if absent:
            named = ", ".join(f"{letter} (U+{ord(letter):04X})" for letter in absent[:5])
            raise StoryError(
                f"{self._name} has no glyph for {named}; give a `font` that has, or use captions: subtitles"
            )
        turned = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in caption)
        if turned and not (features.check("raqm") and features.check("fribidi")):
            raise StoryError("right-to-left text cannot be set here (Pillow has no raqm); use captions: subtitles")
        lines = self.wrapped(caption)
        height = len(lines) * self._line_height
        widest = max(self._font.getlength(line) for line in lines)
        if height > _MOST_OF_FRAME * self.size[1] or widest > self.size[0]:
            raise StoryError(
                f"needs {widest:.0f}x{height} of {self.size[0]}x{self.size[1]} pixels at font_size {self._pixels}; "
                "shorten it, use a smaller font_size, or captions: subtitles"
            )

    def overlay(self, caption: str) -> np.ndarray:
        """The caption at the bottom of a clear frame, premultiplied: float32 (H, W, 4) in [0, 1]."""
        layer = Image.new("RGBA", self.size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        lines, margin = self.wrapped(caption), round(_MARGIN * self.size[1])
        top = self.size[1] - margin - len(lines) * self._line_height
        outline = max(self._pixels // 10, 1)
        for number, line in enumerate(lines):
            place = (self.size[0] / 2, top + number * self._line_height)
            pen.text(place, line, "white", self._font, anchor="ma", stroke_width=outline, stroke_fill="black")
        pixels = np.asarray(layer, np.float32) / 255
        return np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], axis=-1)

    def wrapped(self, caption: str) -> list[str]:
        """The lines of a caption, broken between words where they are wider than the frame."""
        widest = (1 - 2 * _MARGIN) * self.size[0]
        lines = list[str]()
        for paragraph in _lines(caption):
            line = ""
            for word in paragraph.split():
                longer = f"{line} {word}".strip()
                if line and self._font.getlength(longer) > widest:
                    lines.append(line)
                    longer = word
                line = longer
            lines.append(line)
        return lines

    @property
    def _line_height(self) -> int:
        return round(1.2 * self._pixels)

    def _load(self, layout: ImageFont.Layout | None = None) -> ImageFont.FreeTypeFont:
        return _opened_font(self._file, self._name, self._pixels, layout)

    def _glyph(self, letter: str) -> tuple[tuple[int, int], bytes]:
        mask = self._plain.getmask(letter)
        return mask.size, bytes(mask)

    def _is_absent(self, letter: str) -> bool:
        if letter.isspace() or unicodedata.category(letter) == "Cf" or "\ufe00" <= letter <= "\ufe0f":
            return False
        glyph = self._glyph(letter)
        return glyph == self._unknown or not any(glyph[1])


def over(frames: np.ndarray, overlay: np.ndarray) -> np.ndarray:
    """uint8 frames (t, H, W, 3) under a premultiplied overlay (H, W, 4)."""
    mixed = frames * (1 - overlay[..., 3:]) + 255 * overlay[..., :3]
    return np.rint(mixed).astype(np.uint8)


def _lines(caption: str) -> list[str]:
    return list(_without_arrows(caption)) or [""]


def _without_arrows(caption: str) -> Iterator[str]:
    """Lines that are not empty, which would end a block of an .srt; its arrow becomes another one."""
    for line in caption.splitlines():
        if line.strip():
            yield " ".join(line.split()).replace("-->", "→")


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"


def _opened_font(
    content: bytes | None, name: str, pixels: int, layout: ImageFont.Layout | None = None
) -> ImageFont.FreeTypeFont:
    """The font in a file, or the built-in one. Raises `StoryError`; name: for its message."""
    try:
        if content is not None:
            return ImageFont.truetype(io.BytesIO(content), pixels, layout_engine=layout)
        font = ImageFont.load_default(pixels)
    except (OSError, ImportError) as error:
        raise StoryError(f"font: {name} cannot be used ({error}); give a TTF or OTF file") from error
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font if layout is None else font.font_variant(layout_engine=layout)


def _font_bytes(path: Path) -> bytes:
    reason = unreadable_reason(path)
    if reason is not None:
        raise StoryError(f"font: {path}: {reason}")
    with open_regular(path) as file:
        content = file.read(_MAX_FONT_BYTES + 1)
    if len(content) > _MAX_FONT_BYTES:
        raise StoryError(f"font: {path} is larger than {_MAX_FONT_BYTES // 10**6} MB, which no font is")
    return content
