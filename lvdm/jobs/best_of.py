"""Several videos of one request: where they lie, which is best and why, and what becomes of the others."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lvdm.documents import read_json
from lvdm.jobs.record import read_record
from lvdm.media.atomic import OutputError, output_error, write_json
from lvdm.media.ownership import check_video_replaceable, depth_path, own_frames, record_path, sheet_path

if TYPE_CHECKING:
    from lvdm.quality.ranking import Ranking


@dataclass(frozen=True, eq=False)
class Candidates:
    """Videos that differ in their noise only.

    output   the name that was given
    entries  where each video is written to
    digests  of each of them
    best     whether only the best one is kept, as `output`; the others are then removed
    """

    output: Path
    entries: tuple[Path, ...]
    digests: tuple[str, ...]
    best: bool

    def place(self, entry: Path) -> str:
        """Which of them `entry` is, such as 3 of 8."""
        return f"{self.entries.index(entry) + 1} of {len(self.entries)}"

    def select(self) -> list[str]:
        """Rank the videos, which all lie there, and keep what is to be kept; the lines to say of it.

        Nothing is ranked where a record of keep all has no measures. Raises `OutputError`, `ValueError`.
        """
        from lvdm.quality.ranking import rank

        found = [read_record(record_path(entry)).quality for entry in self.entries]
        reports = [report for report in found if report is not None]
        if len(reports) < len(found):
            if self.best:
                raise ValueError(f"{self.folder}: a record there has no measures; remove the folder and start again")
            return []
        ranking = rank(reports)
        numbers = ", ".join(str(i + 1) for i in ranking.order)
        if not self.best:
            return [f"best first: {numbers}; {self.entries[ranking.best].name} has {ranking.reasons[0]}"]
        record = self._keep(ranking)
        lines = [f"{self.output}  (number {ranking.best + 1} of {len(found)}: {ranking.reasons[0]})", str(record)]
        remarks = reports[ranking.best].remarks
        return lines + ([f"the best one is {'; '.join(remarks)}"] if remarks else [])

    def check_folder(self, overwrite: bool) -> None:
        """Raise `OutputError` if there is something in the folders of the videos that was not made here."""
        for entry in self.entries if self.best and not overwrite else ():
            if entry.parent.is_dir():
                check_video_replaceable(entry)
                ours = {entry, record_path(entry), *_named_after(record_path(entry)), *own_frames(entry)}
                there = sorted(path for path in entry.parent.iterdir() if not path.name.startswith("."))
                foreign = next((path for path in there if path not in ours), None)
                if foreign is not None:
                    raise OutputError(f"{foreign} was not made here and would be moved or removed; take it away")

    def remove_entries(self) -> None:
        """Remove the folders of the videos that were not kept; what else lies there stays."""
        if self.best and self.folder.is_dir():
            for folder in {entry.parent for entry in self.entries}:
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # of an earlier run with more videos, or not made here
                self.folder.rmdir()

    @property
    def folder(self) -> Path:
        """Where the videos lie until the best one is chosen."""
        return _folder(self.output)

    def _keep(self, ranking: Ranking) -> Path:
        """Move the best video to its name, its record last, and remove the others; returns the record."""
        winner, record = self.entries[ranking.best], record_path(self.output)
        old_record = record_path(winner)
        chosen = {
            "of": len(self.entries),
            "number": ranking.best + 1,
            "ranking": [
                {"number": i + 1, "reason": reason} for i, reason in zip(ranking.order, ranking.reasons, strict=True)
            ],
        }
        made = read_json(old_record)
        own_names = dict(zip(_named_after(old_record), _named_after(record), strict=True))
        try:
            for path in sorted(winner.parent.iterdir()):
                name = own_names.get(path, path).name
                if path != old_record:
                    _move(path, self.output.with_name(name))
        except OSError as error:
            raise output_error(self.output, error) from error
        write_json(record, made | {"chosen": chosen})
        self.remove_entries()
        return record


def entries_of(output: Path, numbered: tuple[Path, ...], keep: str) -> tuple[Path, ...]:
    """Where the videos of one request are written to: to keep the best, each in a folder of its own, else `numbered`.

    Raises `ValueError` for the best of one.
    """
    if keep == "all":
        return numbered
    if len(numbered) < 2:
        raise ValueError(
            "--keep best needs several videos to choose from; add num_videos_per_prompt 4 (--num-videos 4), or more"
        )
    folder = _folder(output)
    return tuple(folder / f"{i + 1:02d}" / output.name for i in range(len(numbered)))


def _named_after(record: Path) -> tuple[Path, ...]:
    """The files that are named after a record."""
    return sheet_path(record), depth_path(record)


def _folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.candidates")


def _move(source: Path, target: Path) -> None:
    """Move a file, or the files of a folder into one that may be there already."""
    if not source.is_dir():
        os.replace(source, target)
        return
    target.mkdir(exist_ok=True)
    for file in sorted(source.iterdir()):
        os.replace(file, target / file.name)
