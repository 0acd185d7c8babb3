"""Single frames as one file, to be fetched at once."""

from __future__ import annotations

import zipfile
from pathlib import Path

from lvdm.media.atomic import atomic_path
from lvdm.media.ownership import own_frames, record_stem


def pack_frames(output: Path) -> Path:
    """Put the single frames of the video `output` into a ZIP beside them, and remove them; returns it.

    They are PNG, which nothing makes smaller, and so stored as they are. Raises `OutputError`.
    """
    frames = own_frames(output)
    packed = output.with_name(f"{record_stem(output)}.zip")
    with atomic_path(packed) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for frame in frames:
            archive.write(frame, frame.name)
    for frame in frames:
        frame.unlink()
    return packed
