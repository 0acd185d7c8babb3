"""Extraction fills gaps only, and what it writes depends on the clips alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_files import ClipSpec, FrameScaling
from lvdm.evaluation.extraction import (
    ClipSet,
    ExtractionError,
    ExtractionReport,
    FeatureWriter,
    find_jobs,
    planned_records,
    report_on,
    run_jobs,
)
from lvdm.evaluation.features.protocol import FeatureExtractor, LoadedClip, Record
from lvdm.progress import Progress

PICTURE = FrameScaling("crop", 16, 16)


class Means:
    """Means of frames; brightness 99 counts as a value that is no number. `limit`: clips that memory is enough for."""

    dim, min_frames, dtype, weights_sha256 = 3, 3, "fp32", None

    def __init__(self, name: str = "means", limit: int = 1000) -> None:
        self.id = name
        self.limit = limit
        self.batches: list[int] = []

    def preprocess(self, clip: LoadedClip) -> Record:
        if int(clip.frames[0, 0, 0, 0]) == 77:
            raise ValueError("77 is refused")
        return {"frames": clip.frames.float().mean(dim=(1, 2))}

    def __call__(self, batch: Record) -> Record:
        if len(batch["frames"]) > self.limit:
            raise torch.OutOfMemoryError("too many")
        self.batches.append(len(batch["frames"]))
        features = batch["frames"].mean(dim=1)
        return {"features": torch.where(features == 99, math.nan, features)}


@pytest.fixture
def specs(tmp_path: Path) -> tuple[ClipSpec, ...]:
    """Ten clips of noise, of two lengths."""
    values = np.random.default_rng(0)
    made = []
    for number in range(10):
        frames = values.integers(100, 200, (4 + number % 2, 20, 24, 3), dtype=np.uint8)
        np.save(tmp_path / f"{number}.npy", frames)
        made.append(ClipSpec(f"c{number}", tmp_path / f"{number}.npy", 0, 1, len(frames), fps=8.0))
    return tuple(made)


def extract(
    folder: Path,
    specs: Sequence[ClipSpec],
    *extractors: FeatureExtractor,
    batch_size: int = 4,
    workers: int = 0,
    part: tuple[int, int] = (0, 1),
) -> ExtractionReport:
    cache = FeatureCache(folder)
    wanted = planned_records(cache, [ClipSet("fake", tuple(specs), extractors or (Means(),))], PICTURE)
    jobs = find_jobs(cache, wanted, *part)
    run_jobs(jobs, FeatureWriter(cache, batch_size), PICTURE, workers)
    return report_on(cache, wanted, jobs)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_batches_workers_and_parts_change_no_byte(specs: tuple[ClipSpec, ...], tmp_path: Path) -> None:
    extract(tmp_path / "one", specs, batch_size=1)
    expected = contents(tmp_path / "one")
    assert len(expected) == 10
    extract(tmp_path / "batches", specs, batch_size=7)
    assert contents(tmp_path / "batches") == expected
    extract(tmp_path / "workers", specs[::-1], batch_size=3, workers=2)
    assert contents(tmp_path / "workers") == expected
    for part in (2, 0, 1):
        report = extract(tmp_path / "parts", specs, part=(part, 3))
    assert contents(tmp_path / "parts") == expected
    assert (report.made, report.kept, report.missing) == (3, 7, 0)


def test_only_gaps_are_filled(specs: tuple[ClipSpec, ...], tmp_path: Path) -> None:
    assert extract(tmp_path / "cache", specs[:4]).made == 4
    records = sorted((tmp_path / "cache").rglob("*.safetensors"))
    records[0].write_bytes(b"damaged")
    records[1].unlink()
    first, second = Means(), Means("other")
    report = extract(tmp_path / "cache", specs[:5], first, second)
    assert (report.made, report.kept) == (3 + 5, 2)
    assert sum(first.batches) == 3, "records that were there are made again"
    assert extract(tmp_path / "cache", specs[:5], first, second).made == 0
    assert sum(second.batches) == 5


def test_a_file_in_two_sets_is_read_once(specs: tuple[ClipSpec, ...], tmp_path: Path) -> None:
    cache, means = FeatureCache(tmp_path / "cache"), Means()
    sets = [ClipSet("fake", specs, (means,)), ClipSet("real", specs, (means,))]
    wanted = planned_records(cache, sets, PICTURE)
    jobs = find_jobs(cache, wanted)
    run_jobs(jobs, FeatureWriter(cache, 4), PICTURE)
    assert sum(means.batches) == 10
    assert report_on(cache, wanted, jobs).made == 20


def test_clips_that_fail_are_named_counted_and_tried_again(specs: tuple[ClipSpec, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.full((4, 20, 24, 3), 77, np.uint8))
    np.save(tmp_path / "1.npy", np.full((5, 20, 24, 3), 99, np.uint8))
    np.save(tmp_path / "2.npy", np.zeros((2, 20, 24, 3), np.uint8))
    (tmp_path / "3.npy").write_text("no array")
    (tmp_path / "4.npy").unlink()
    short = ClipSpec("c2", tmp_path / "2.npy", 0, 1, 2, fps=8.0)
    report = extract(tmp_path / "cache", (*specs[:2], short, *specs[3:]), batch_size=8)
    reasons = {failure.id: failure.reason for failure in report.failures}
    assert report.made == 5
    assert "77 is refused" in reasons["c0"]
    assert "means gave features that are not finite" in reasons["c1"]
    assert "means needs 3 frames, it has 2" in reasons["c2"]
    assert "not a readable array" in reasons["c3"]
    assert "No such file" in reasons["c4"]
    assert len(reasons) == 5
    np.save(tmp_path / "4.npy", np.zeros((4, 20, 24, 3), np.uint8))
    report = extract(tmp_path / "cache", specs)
    assert (report.made, report.kept) == (1, 5)
    assert [failure.id for failure in report.failures] == ["c0", "c1", "c2", "c3"]


def test_a_batch_that_memory_is_not_enough_for_is_made_smaller(specs: tuple[ClipSpec, ...], tmp_path: Path) -> None:
    tight = Means(limit=3)
    extract(tmp_path / "tight", specs[::2], tight, batch_size=5)
    assert tight.batches == [2, 2, 1]
    extract(tmp_path / "ample", specs[::2], batch_size=5)
    assert contents(tmp_path / "tight") == contents(tmp_path / "ample")
    with pytest.raises(torch.OutOfMemoryError):
        extract(tmp_path / "none", specs, Means(limit=0))


def test_interrupting_keeps_what_is_done(specs: tuple[ClipSpec, ...], tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    wanted = planned_records(cache, [ClipSet("fake", specs, (Means(),))], PICTURE)

    def interrupt(progress: Progress) -> None:
        if progress.done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(find_jobs(cache, wanted), FeatureWriter(cache, 1), PICTURE, on_progress=interrupt)
    assert len(contents(tmp_path / "cache")) == 6
    assert extract(tmp_path / "cache", specs).made == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": (3, 3)}, "there is no part 3 of 3"),
        ({"batch_size": 0}, "at least one clip"),
        ({"workers": -1}, "cannot be -1 workers"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, int], message: str, specs: tuple[ClipSpec, ...], tmp_path: Path
) -> None:
    with pytest.raises(ExtractionError, match=message):
        extract(tmp_path / "cache", specs, **options)
