"""A plain folder of videos."""

from __future__ import annotations

from dataclasses import dataclass

from lvdm.data.captions import CaptionOptions
from lvdm.data.clip_frames import ClipOptions
from lvdm.data.folders import captioned_folder
from lvdm.data.source_files import VIDEO_SUFFIXES, Inventory
from lvdm.data.video_source import VideoSource, usable_files
from lvdm.declaration.ranges import with_ranges


@with_ranges
@dataclass(frozen=True, kw_only=True)
class VideoFolderConfig(ClipOptions, CaptionOptions):
    """The folder, searched at any depth; `index_file` keeps the sizes of all files, see `SizeIndex`."""

    data_dir: str
    index_file: str | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for options that do not fit together."""
        ClipOptions.__post_init__(self)
        CaptionOptions.__post_init__(self)


class VideoFolder(VideoSource):
    """The videos of a folder, in the order of their names. Raises `SourceError` at once for what is wrong with it."""

    Config = VideoFolderConfig

    def __init__(self, config: VideoFolderConfig) -> None:
        self.config = config
        files = usable_files(self.inventory(config), config.data_dir)
        super().__init__(files, config, config.data_dir, config.index_file)

    @staticmethod
    def inventory(config: VideoFolderConfig) -> Inventory:
        """The videos and what is wrong with them as a set."""
        return captioned_folder(config.data_dir, config, VIDEO_SUFFIXES, "videos")
