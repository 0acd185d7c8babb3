"""How long an evaluation by the default extractor takes: reading and features of all clips, then scores from the cache.

    python benchmarks/evaluation_speed.py [--clips 2048] [--side 112] [--workers 2] [--output FOLDER]

Draws two sets of procedural clips as mp4 files, which stay in --output, empties the cache, and times extraction
and scoring in this process and its workers: seconds by the clock and of the processor.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from lvdm.data.procedural import BASE_FPS, ProceduralClips, ProceduralClipsConfig
from lvdm.evaluation.building import build_extractors
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_files import FrameScaling
from lvdm.evaluation.clip_sets import Evaluation
from lvdm.evaluation.extraction import FeatureWriter, find_jobs, planned_records, run_jobs
from lvdm.evaluation.manifest import Entry, Manifest
from lvdm.evaluation.protocols import load_protocol
from lvdm.evaluation.scoring import score
from lvdm.media.video_writer import write_video


@dataclass(frozen=True)
class Duration:
    """Seconds by the clock, and of the processor in this process and those that it started and that have ended."""

    name: str
    clock: float
    processor: float


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2048, help="clips of a set")
    parser.add_argument("--side", type=int, default=112, help="pixels")
    parser.add_argument("--workers", type=int, default=2, help="processes that read")
    parser.add_argument("--output", type=Path, default=Path("outputs/evaluation_speed"))
    args = parser.parse_args()
    fields = {"height": args.side, "width": args.side, "clips": args.clips, "extractors": ["stpyr-v1"]}
    protocol = load_protocol("procedural-v1", fields | {"metrics": ["frechet", "kernel"]})
    sets = [draw(args.output / f"{name}-{args.side}", args.clips, args.side, seed) for seed, name in enumerate("ab")]
    evaluation = Evaluation(protocol, *sets)
    extractors = build_extractors(protocol, {})
    shutil.rmtree(args.output / "cache", ignore_errors=True)
    cache, scaling = FeatureCache(args.output / "cache"), FrameScaling.of(protocol)

    def extract() -> None:
        wanted = planned_records(cache, evaluation.sets(extractors.common, None), scaling, max(1, args.workers))
        run_jobs(find_jobs(cache, wanted), FeatureWriter(cache, 8), scaling, args.workers)

    rows = [timed("features of both sets and of the stills", extract)]
    rows.append(timed("scores from the cache", lambda: score(cache, evaluation, extractors.common)))
    table = Table(
        "what", "seconds", "processor seconds", title=f"2 x {args.clips} clips, 16 x {args.side} x {args.side}"
    )
    for row in rows:
        table.add_row(row.name, f"{row.clock:.1f}", f"{row.processor:.1f}")
    console = Console()
    console.print(table)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {args.workers} reading processes")


def draw(folder: Path, count: int, side: int, seed: int) -> Manifest:
    """`count` clips of one seed as files, those that are there left alone."""
    clips = ProceduralClips(ProceduralClipsConfig(height=side, width=side, length=count, seed=seed))
    entries = []
    for index in track(range(count), description=folder.name):
        path = folder / f"{index:05d}.mp4"
        fps = BASE_FPS / clips.scene(index).frame_stride
        if not path.exists():
            write_video(clips[index]["video"], path, fps)
        entries.append(Entry(id=path.stem, video=path.name, frames=16, fps=fps))
    return Manifest(folder.name, folder, tuple(entries))


def timed(name: str, work: Callable[[], object]) -> Duration:
    """How long `work` takes."""
    clock, processor = time.perf_counter(), _processor_seconds()
    work()
    return Duration(name, time.perf_counter() - clock, _processor_seconds() - processor)


def _processor_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    main()
