"""A folder of files with captions, as `VideoFolder` and `ImageFolder` take it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lvdm.data.captions import BESIDE, CaptionOptions, assign_captions, read_caption_file
from lvdm.data.source_files import DiskFiles, Inventory, SourceError, SourceProblem, check_folder, list_files
from lvdm.documents import read_text


def captioned_folder(data_dir: str, options: CaptionOptions, suffixes: Sequence[str], noun: str) -> Inventory:
    """All files below `data_dir` with one of the suffixes. `noun` is what they are: videos, images.

    Raises `SourceError` for a folder or table that cannot be used at all.
    """
    folder = check_folder(data_dir, "data_dir")
    names = list_files(folder, suffixes)
    kind = options.captions
    texts = list_files(folder, [f".{kind}"]) if kind in BESIDE and options.caption is None else []
    if not names:
        besides = f"; there are {len(texts)} captions (.{kind}) without {noun}" if texts else ""
        raise SourceError(f"data_dir: {folder} holds no {noun}{besides}; looked for {' '.join(suffixes)} at any depth")
    known = set(texts)

    def beside(name: str) -> str | None:
        text = Path(name).with_suffix(f".{kind}").as_posix()
        if text not in known:
            return None
        return read_caption_file(
            kind, read_text(folder / text, SourceError), str(folder / text), options.caption_column
        )

    captioned = assign_captions(names, options, beside, noun)
    stems = {Path(name).with_suffix("") for name in names}
    orphans = tuple(text for text in texts if Path(text).with_suffix("") not in stems)
    left_out = captioned.left_out
    if orphans:
        left_out += (SourceProblem(f"texts without {noun}", orphans, "remove them, or add the files they describe"),)
    if not captioned.names:
        raise SourceError(f"data_dir: none of {len(names)} {noun} in {folder} has a caption; {captioned.left_out[0]}")
    return Inventory(DiskFiles(folder, captioned.names, captioned.captions), captioned.problems, left_out)
