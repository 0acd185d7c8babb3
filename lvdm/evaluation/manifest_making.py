"""New manifests: of the videos of a folder or of a list, cut as a protocol says, and of procedural clips."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from PIL import Image

from lvdm.config import parse_dataclass
from lvdm.content_hash import hash_text
from lvdm.data.image_folder import IMAGE_SUFFIXES
from lvdm.data.procedural import BASE_FPS, ProceduralClips, ProceduralClipsConfig
from lvdm.data.procedural_scene import BACKGROUNDS
from lvdm.data.source_files import check_folder, list_files
from lvdm.errors import counted
from lvdm.evaluation.clip_files import CLIP_SUFFIXES, FileFacts, inspect_file
from lvdm.evaluation.manifest import Entry, Manifest, ManifestError, read_table, relative_path, with_inputs
from lvdm.evaluation.protocols import ClipChoice, Protocol, Role
from lvdm.media.atomic import atomic_path
from lvdm.media.ownership import check_replaceable
from lvdm.media.video_writer import write_video
from lvdm.progress import ProgressCallback, report_progress

logger = logging.getLogger(__name__)

REQUESTS_FILE = "requests.csv"
"""Beside the procedural clips: their first frames and captions, as `dynamicrafter animate` takes them."""


@dataclass(frozen=True)
class Listed:
    """A video to cut clips from: a row of a list, whose frames are not known yet.

    `video` is as written in the list, relative to `folder`.
    """

    id: str
    video: str
    fps: float | None = None
    prompt: str = ""
    image: str = ""
    last_image: str = ""
    seed: int | None = None


def make_manifest(
    source: Path,
    target: Path,
    protocol: Protocol,
    role: Role,
    *,
    fps: float | None = None,
    like: Manifest | None = None,
    on_progress: ProgressCallback | None = None,
) -> Manifest:
    """The clips that `protocol` cuts from a folder of videos, or from a .csv or .jsonl list of them (id, video, ...).

    The manifest will lie at `target`. `fps` is the rate of files without one. With `like`, prompts, images and rates
    come from the clips of the same ids. A video that cannot be read stays in the manifest: its extraction will fail, so
    that it is counted. Raises `ManifestError` or `SourceError`.
    """
    folder = source if source.is_dir() else source.parent
    listed = list(_of_folder(source) if source.is_dir() else _of_table(source))
    if not listed:
        raise ManifestError(f"{source}: lists no videos")
    chosen = _choose(listed, protocol, role)
    entries: list[Entry] = []
    unreadable: list[str] = []
    for done, video in enumerate(chosen, start=1):
        try:
            facts = inspect_file(folder / video.video)
        except (ValueError, OSError) as error:
            logger.warning("%s", error)
            unreadable.append(video.id)
            facts = None
        entries += _cut(video, facts, protocol, role, fps)
        report_progress(on_progress, "videos", done, len(chosen))
    entries = [_relative(entry, folder, target.parent) for entry in entries]
    if like is not None:
        entries = with_inputs(entries, like, target.parent, target.name)
    return Manifest(target.name, target.parent, tuple(entries), unreadable=tuple(unreadable))


def make_procedural(
    target: Path,
    protocol: Protocol,
    count: int,
    on_progress: ProgressCallback | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Draw `count` held-out procedural clips into files beside `target`, with what a model needs to animate them.

    `videos/ID.mp4` are the clips, `images/ID.png` their first frames, and `requests.csv` lists images and captions.
    Clip i depends on the protocol's size, frames and seed, and on i. Raises `ManifestError` if it names no size, and
    `OutputError` where files of these names are there already, unless `overwrite`.
    """
    for path in (f"videos/{i:05d}.mp4" for i in range(count)):
        check_replaceable(target.parent / path, overwrite)
    for path in (*(f"images/{i:05d}.png" for i in range(count)), "requests.csv"):
        check_replaceable(target.parent / path, overwrite)
    if protocol.height is None or protocol.width is None:
        raise ManifestError(f"{protocol.name}: procedural clips are drawn at a size, the protocol keeps that of files")
    config = ProceduralClipsConfig(
        height=protocol.height,
        width=protocol.width,
        num_frames=protocol.frames,
        split="test",
        backgrounds=BACKGROUNDS,
        sprite_probability=0.5,
        length=count,
        seed=protocol.seed,
    )
    clips, folder, entries = ProceduralClips(config), target.parent, []
    for index in range(count):
        clip, name = clips[index], f"{index:05d}"
        fps = BASE_FPS / clip["frame_stride"]
        write_video(clip["video"], folder / "videos" / f"{name}.mp4", fps)
        _write_image(clip["video"][:, 0], folder / "images" / f"{name}.png")
        entry = Entry(
            id=name,
            video=f"videos/{name}.mp4",
            frames=protocol.frames,
            fps=fps,
            prompt=clip["caption"],
            image=f"images/{name}.png",
            seed=protocol.seed + index,
        )
        entries.append(entry)
        report_progress(on_progress, "clips", index + 1, count)
    _write_requests(entries, [clips.scene(index).frame_stride for index in range(count)], folder / REQUESTS_FILE)
    return Manifest(target.name, folder, tuple(entries))


def _of_folder(folder: Path) -> Iterator[Listed]:
    """Videos and arrays at any depth, and folders that hold images, by their paths without suffix."""
    check_folder(folder, "the folder of videos")
    names = list_files(folder, CLIP_SUFFIXES)
    images = {PurePosixPath(name).parent.as_posix() for name in list_files(folder, IMAGE_SUFFIXES)}
    sequences = sorted(images - {"."} - {PurePosixPath(name).parent.as_posix() for name in names})
    for name in (*names, *sequences):
        path = PurePosixPath(name)
        stem = path if name in images else path.with_suffix("")
        yield Listed("-".join(stem.parts), name)
    if not names and not sequences:
        raise ManifestError(f"{folder}: holds no videos ({' '.join(CLIP_SUFFIXES)}) and no folders of frames")


def _of_table(path: Path) -> Iterator[Listed]:
    for place, row in read_table(path):
        where = f"{path}, {place}"
        if "video" not in row:
            raise ManifestError(f"{where}: the column `video` is missing or empty")
        values: dict[str, Any] = {"id": PurePosixPath(str(row["video"])).stem, **row}
        for name in ("start", "stride", "frames", "skip"):  # a manifest that is to be cut anew
            values.pop(name, None)
        yield parse_dataclass(Listed, values, where)


def _choose(listed: list[Listed], protocol: Protocol, role: Role) -> list[Listed]:
    """As many as the protocol asks for, by seed and id alone, in the order of their ids."""

    def rank(video: Listed) -> str:
        return hash_text(f"{protocol.seed}/{video.id}/chosen")

    if protocol.choice_of(role) != "all" and len(listed) > protocol.clips:
        logger.info("%d of %d videos are chosen, as %s asks", protocol.clips, len(listed), protocol.name)
        listed = sorted(listed, key=rank)[: protocol.clips]
    return sorted(listed, key=lambda video: video.id)


def _cut(video: Listed, facts: FileFacts | None, protocol: Protocol, role: Role, fps: float | None) -> Iterator[Entry]:
    """The clips of a video; of one that cannot be read, which has no `facts`, the first."""
    stride, choice = protocol.stride_of(role), protocol.choice_of(role)
    needed = (protocol.frames - 1) * stride + 1
    facts = facts or FileFacts(needed, None)
    short = facts.num_frames < needed and protocol.short_videos == "skip"
    skip = f"has {counted(facts.num_frames, 'frame')}, a clip needs {needed}" if short else ""
    rate = video.fps or facts.fps or fps
    for start in _starts(facts.num_frames, needed, choice, f"{protocol.seed}/{video.id}/start"):
        entry = Entry(
            id=f"{video.id}-{start:06d}" if choice == "all" else video.id,
            video=video.video,
            start=start,
            stride=stride,
            frames=protocol.frames,
            fps=rate,
            prompt=video.prompt,
            image=video.image,
            last_image=video.last_image,
            seed=video.seed,
            skip=skip,
        )
        yield entry


def _starts(there: int, needed: int, choice: ClipChoice, seed: str) -> list[int]:
    """First frames of the clips of a video; 0 for one that is too short, which is reported when it is read."""
    last = max(there - needed, 0)
    if choice == "random":
        return [random.Random(seed).randint(0, last)]
    return [0] if choice == "first" else list(range(0, last + 1, needed))


def _relative(entry: Entry, old: Path, new: Path) -> Entry:
    """The entry with paths relative to `new`, not to `old`."""

    def moved(name: str) -> str:
        return relative_path(old / name, new) if name else ""

    video, image, last_image = moved(entry.video), moved(entry.image), moved(entry.last_image)
    return dataclasses.replace(entry, video=video, image=image, last_image=last_image)


def _write_image(frame: torch.Tensor, path: Path) -> None:
    """frame (3, H, W) in [-1, 1] as a PNG."""
    pixels = ((frame + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _write_requests(entries: list[Entry], strides: list[int], path: Path) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("image", "prompt", "name", "seed", "fs"))
    writer.writerows(
        (entry.image, entry.prompt, entry.id, entry.seed, stride)
        for entry, stride in zip(entries, strides, strict=True)
    )
    with atomic_path(path) as temporary:
        temporary.write_text(file.getvalue(), encoding="utf-8", newline="")
