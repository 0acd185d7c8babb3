"""Which frame of which shot the film shows when: pure arithmetic, in frames of the film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lvdm.errors import counted
from lvdm.story.script import Transition


@dataclass(frozen=True)
class FilmSegment:
    """Frames of the film that come from one file, or from two that overlap.

    shot   index of the shot, or of the first of two
    begin  its first frame in the file of the shot; of a transition, where the shot's frames begin that it takes
    start  its first frame in the film
    """

    kind: Transition
    shot: int
    begin: int
    count: int
    start: int


@dataclass(frozen=True)
class FilmLayout:
    """Shots of so many frames, each of which overlaps the next one by so many."""

    frames: tuple[int, ...]
    overlaps: tuple[int, ...]
    kinds: tuple[Transition, ...]

    @property
    def num_frames(self) -> int:
        """The length of the film: overlaps are shown once."""
        return sum(self.frames) - sum(self.overlaps)

    def start(self, shot: int) -> int:
        """The first frame of the film in which a shot is seen."""
        return sum(self.frames[:shot]) - sum(self.overlaps[:shot])

    def caption(self, shot: int) -> tuple[int, int]:
        """The frames, from the first to behind the last, that are the shot's own: to the middle of its overlaps."""
        before = self.overlaps[shot - 1] if shot else 0
        end = self.start(shot) + self.frames[shot]
        return self.start(shot) + before // 2, end - (self.overlaps[shot] - self.overlaps[shot] // 2)

    def segments(self) -> tuple[FilmSegment, ...]:
        """All frames of the film in their order; a shot alone has the kind `cut`."""
        found = list[FilmSegment]()
        for shot, count in enumerate(self.frames):
            before, after = (self.overlaps[shot - 1] if shot else 0), self.overlaps[shot]
            found.append(FilmSegment("cut", shot, before, count - before - after, self.start(shot) + before))
            if after:
                found.append(FilmSegment(self.kinds[shot], shot, count - after, after, self.start(shot + 1)))
        return tuple(segment for segment in found if segment.count)


def lay_out(frames: Sequence[int], overlaps: Sequence[int], kinds: Sequence[Transition]) -> FilmLayout:
    """The layout of shots that overlap the next ones; the last overlaps nothing.

    Raises `ValueError` unless each shot has a frame of its own between its overlaps: an interpolated transition goes
    from one such frame to another.
    """
    for shot, count in enumerate(frames):
        taken = (overlaps[shot - 1] if shot else 0) + overlaps[shot]
        if taken >= count:
            raise ValueError(f"shot {shot} has {counted(count, 'frame')} and its transitions take {taken}")
    return FilmLayout(tuple(frames), tuple(overlaps), tuple(kinds))
