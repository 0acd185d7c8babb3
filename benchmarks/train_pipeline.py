"""How many clips a second the data loader gives."""

from __future__ import annotations

import random
import time
from pathlib import Path

from training_sizes import SHAPES

from lvdm.config import Component
from lvdm.data.procedural import ProceduralClips, ProceduralClipsConfig
from lvdm.data.video_folder import VideoFolderConfig
from lvdm.fit.utils_data import DataModuleConfig, DataModuleFromConfig
from lvdm.media.video_writer import write_video

VIDEOS, SOURCE_FRAMES, SOURCE_SIZE = 16, 48, (120, 160)
WARM_BATCHES, BATCHES = 3, 24


def measure_pipeline(size: str, batch: int, folder: Path) -> dict[str, float]:
    """Clips per second of both sources, with 0 and 2 workers, with nothing else to do than to read them."""
    num_frames, height, width = SHAPES[size]
    write_folder(folder)
    clips = ProceduralClipsConfig(num_frames=num_frames, height=height, width=width)
    procedural = Component("lvdm.data.procedural.ProceduralClips", clips)
    videos = Component(
        "lvdm.data.video_folder.VideoFolder",
        VideoFolderConfig(
            data_dir=str(folder), resolution=(height, width), video_length=num_frames, frame_stride=3, random_fs=True
        ),
    )
    return {
        f"{name}, {workers} workers": clips_per_second(source, batch, workers)
        for name, source in (("procedural", procedural), ("mp4 folder", videos))
        for workers in (0, 2)
    }


def write_folder(folder: Path) -> None:
    """Small H.264 files with captions beside them."""
    height, width = SOURCE_SIZE
    source = ProceduralClips(ProceduralClipsConfig(num_frames=SOURCE_FRAMES, height=height, width=width))
    for number in range(VIDEOS):
        clip = source.clip(number, random.Random(number))
        write_video(clip["video"], folder / f"{number:02}.mp4", 24)
        (folder / f"{number:02}.txt").write_text(clip["caption"], encoding="utf-8")


def clips_per_second(source: Component, batch: int, workers: int) -> float:
    """After the workers have started."""
    data = DataModuleFromConfig(DataModuleConfig(batch_size=batch, train=source, num_workers=workers))
    loader = data.train_dataloader()
    read, begun = -WARM_BATCHES, 0.0
    while True:
        for _ in loader:
            read += 1
            if read == 0:
                begun = time.perf_counter()
            if read == BATCHES:
                return BATCHES * batch / (time.perf_counter() - begun)
