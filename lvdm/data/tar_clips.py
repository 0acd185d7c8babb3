"""Tar shards in WebDataset's layout (key.mp4 beside key.txt or key.json), read at random.

The index of all shards is read once at the start, so that any clip can be asked for by its number: an epoch is a real
shuffle, and an interrupted training goes on at the exact clip. That needs shards on a disk, not a stream.
"""

from __future__ import annotations

import tarfile
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lvdm.data.captions import BESIDE, CaptionOptions, assign_captions, read_caption_file
from lvdm.data.clip_frames import ClipOptions
from lvdm.data.packed_texts import PackedTexts
from lvdm.data.source_files import VIDEO_SUFFIXES, Inventory, SourceError, SourceProblem, check_folder, list_files
from lvdm.data.video_source import VideoSource, usable_files
from lvdm.declaration.ranges import with_ranges
from lvdm.regular_files import check_regular, open_regular

_BLOCK = 512
"""Tar files are made of blocks of so many bytes; two empty ones are the end."""

_CHECKED = 1 << 20
"""Bytes looked at in one go."""


@with_ranges
@dataclass(frozen=True, kw_only=True)
class TarClipsConfig(ClipOptions, CaptionOptions):
    """The folder of the .tar files, searched at any depth. Captions are in the shards (txt or json), one, or none."""

    data_dir: str
    index_file: str | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for options that do not fit together."""
        ClipOptions.__post_init__(self)
        CaptionOptions.__post_init__(self)
        if self.is_table:
            raise ValueError(f"captions = {self.captions!r}: those of tar shards are inside them; choose txt or json")


@dataclass(frozen=True)
class Member:
    """A file inside a shard: its name, and where its bytes are."""

    name: str
    offset: int
    size: int


class TarFiles:
    """Videos inside shards."""

    def __init__(self, folder: Path, members: Iterable[tuple[str, Member]], captions: Iterable[str | None]) -> None:
        listed = list(members)
        self.folder = folder
        self._shards = PackedTexts(shard for shard, _ in listed)
        self._names = PackedTexts(member.name for _, member in listed)
        self._captions = PackedTexts(captions)
        self._offsets = array("q", (member.offset for _, member in listed))
        self._lengths = array("q", (member.size for _, member in listed))

    def __len__(self) -> int:
        return len(self._names)

    def path(self, index: int) -> Path:
        """shard.tar/name.mp4"""
        return self._shard(index) / str(self._names[index])

    def caption(self, index: int) -> str | None:
        """Its caption."""
        return self._captions[index]

    def content(self, index: int) -> bytes:
        """The video's bytes. Raises OSError if the shard is gone, `SourceError` if it is shorter than it was."""
        with open_regular(self._shard(index)) as file:
            file.seek(self._offsets[index])
            content = file.read(self._lengths[index])
        if len(content) != self._lengths[index]:
            raise SourceError(f"{self.path(index)}: the shard is shorter than at the start, do not change it meanwhile")
        return content

    def stamp(self, index: int) -> str:
        """Size, place, and time of change of the shard."""
        return f"{self._lengths[index]}-{self._offsets[index]}-{self._shard(index).stat().st_mtime_ns}"

    def _shard(self, index: int) -> Path:
        return self.folder / str(self._shards[index])


class TarClips(VideoSource):
    """The videos of all shards. Raises `SourceError` at once for shards that are damaged or hold no videos."""

    Config = TarClipsConfig

    def __init__(self, config: TarClipsConfig) -> None:
        self.config = config
        files = usable_files(self.inventory(config), config.data_dir)
        super().__init__(files, config, config.data_dir, config.index_file)

    @staticmethod
    def inventory(config: TarClipsConfig) -> Inventory:
        """The videos and what is wrong with the shards."""
        folder = check_folder(config.data_dir, "data_dir")
        shards = list_files(folder, [".tar"])
        if not shards:
            raise SourceError(f"data_dir: {folder} holds no .tar files; compressed ones cannot be read at random")
        videos: dict[str, tuple[str, Member]] = {}
        texts: dict[str, str] = {}
        damaged: list[str] = []
        for shard in shards:
            try:
                found, captions = _pair(folder, shard, list_members(folder / shard), config)
            except SourceError as error:
                damaged.append(f"{shard}: {str(error).removeprefix(f'{folder / shard}: ')}")
                continue
            videos |= found
            texts |= captions
        problems = (SourceProblem("shards cannot be used", tuple(damaged), "make them again"),) if damaged else ()
        if not videos:
            raise SourceError(f"data_dir: the {len(shards)} shards in {folder} hold no videos; {_listed(problems)}")
        captioned = assign_captions(list(videos), config, texts.get, "videos")
        unexpected = tuple(name for name in texts if name not in videos)
        left_out = captioned.left_out
        if unexpected:
            left_out += (
                SourceProblem("captions without videos", unexpected, "add the videos, or remove the captions"),
            )
        files = TarFiles(folder, (videos[name] for name in captioned.names), captioned.captions)
        return Inventory(files, (*problems, *captioned.problems), left_out)


def list_members(shard: Path) -> list[Member]:
    """The files inside a shard. Raises `SourceError` for one that is damaged, cut off or compressed."""
    members = []
    end = 0
    try:
        check_regular(shard)
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                end = info.offset_data + -(-info.size // _BLOCK) * _BLOCK
                if info.isfile():
                    members.append(Member(info.name, info.offset_data, info.size))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SourceError(f"{shard}: cannot be read ({error})") from error
    with open_regular(shard) as file:  # tarfile takes a damaged header for the end
        file.seek(end)
        marked = False
        while block := file.read(_CHECKED):
            if block.strip(b"\0"):
                raise SourceError(f"{shard}: damaged behind byte {end}, after {len(members)} files")
            marked = marked or len(block) >= _BLOCK
    if not marked:
        raise SourceError(f"{shard}: cut off at byte {end}, after {len(members)} files: it has no end mark")
    return members


def _pair(
    folder: Path, shard: str, members: list[Member], options: CaptionOptions
) -> tuple[dict[str, tuple[str, Member]], dict[str, str]]:
    """The videos of a shard, and their captions by the same names (`shard/key.mp4`)."""
    videos: dict[str, tuple[str, Member]] = {}
    names: dict[str, str] = {}
    for member in members:
        if Path(member.name).suffix.lower() in VIDEO_SUFFIXES:
            key = _key(member.name)
            if key in names:
                raise SourceError(f"{folder / shard}: holds two videos with the key {key}")
            names[key] = f"{shard}/{member.name}"
            videos[names[key]] = (shard, member)
    texts: dict[str, str] = {}
    if options.captions in BESIDE and options.caption is None:
        with open_regular(folder / shard) as file:
            for member in members:
                if member.name.lower().endswith(f".{options.captions}"):
                    where = f"{folder / shard}/{member.name}"
                    file.seek(member.offset)
                    text = _decode(file.read(member.size), where)
                    caption = read_caption_file(options.captions, text, where, options.caption_column)
                    texts[names.get(_key(member.name), f"{shard}/{member.name}")] = caption
    return videos, texts


def _key(name: str) -> str:
    """WebDataset's key: the path up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: is not UTF-8 text (byte {error.start}), save it as UTF-8") from error


def _listed(problems: tuple[SourceProblem, ...]) -> str:
    return "; ".join(map(str, problems)) or f"looked for {' '.join(VIDEO_SUFFIXES)}"
