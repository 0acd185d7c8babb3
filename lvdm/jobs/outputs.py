"""Where videos are written to: their names, and what a format can hold."""

from __future__ import annotations

from pathlib import Path

from lvdm.declaration.run_parameters import OutputParameters
from lvdm.declaration.values import MAX_FRAMES

WHOLE_FORMATS = (".gif", ".webp", ".apng", ".png")
"""Animations: their frames are packed together, and so all held."""
SUFFIXES = {"png": "_%05d.png"}
"""Formats whose suffix is not their name."""


def check_length(output: Path, written: OutputParameters, num_frames: int) -> None:
    """Raise `ValueError` for a video whose frames would all have to be held, and are too many."""
    if num_frames <= MAX_FRAMES:
        return
    if output.suffix.lower() in WHOLE_FORMATS and "%" not in output.name:
        raise ValueError(f"{output}: {num_frames} frames are too many for {output.suffix}; use mp4 or webm")
    if written.contact_sheet:
        raise ValueError(f"{num_frames} frames are too many for a contact sheet; leave out --contact-sheet")


def suffix_of(output: OutputParameters) -> str:
    """The end of a file's name in the format that is asked for; mp4 when none is."""
    if output.format is None:
        return ".mp4"
    return SUFFIXES.get(output.format, f".{output.format}")


def numbered_path(output: Path, number: int) -> Path:
    """The name of one of several videos, counted from 0: clip_01.mp4 for clip.mp4."""
    return output.with_name(f"{output.stem}_{number + 1:02d}{output.suffix}")
