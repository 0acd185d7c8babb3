"""Scores from the cache: the same bytes each time, two baselines, and a reason beside what cannot be trusted."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from blas import blas_threads
from PIL import Image
from threadpoolctl import threadpool_limits
from torch.nn import functional as F

from lvdm.evaluation import scoring
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_files import FrameScaling
from lvdm.evaluation.clip_sets import Evaluation, Measures, Reconstruction
from lvdm.evaluation.distances import distance_curve, distance_row, distances_of, subset_rows
from lvdm.evaluation.extraction import FeatureWriter, find_jobs, planned_records, run_jobs
from lvdm.evaluation.features.protocol import FeatureExtractor, LoadedClip, Record
from lvdm.evaluation.features.stpyr import SpaceTimePyramid
from lvdm.evaluation.frechet import frechet_distance
from lvdm.evaluation.manifest import Entry, Manifest, ManifestError
from lvdm.evaluation.protocols import load_protocol
from lvdm.evaluation.records import MissingRecordsError
from lvdm.evaluation.results import FrameCurve, Results, write_results
from lvdm.evaluation.scoring import score
from lvdm.psnr import psnr_of_each

CLIPS = 12


class FewFeatures:
    """Three features of a clip, so that a dozen clips are enough for a distance."""

    id, dim, min_frames, dtype, weights_sha256 = "few", 3, 3, "fp64", None

    def preprocess(self, clip: LoadedClip) -> Record:
        steps = clip.frames.double()
        change = steps.diff(dim=0).abs().mean()
        return {"features": torch.stack([steps.mean(), steps.std(), change])}

    def __call__(self, batch: Record) -> Record:
        return batch


class Rows:
    """Unit features of frames: their scaled means of rows."""

    id, dim, min_frames, dtype, weights_sha256 = "rows", 16, 1, "fp32", None

    def preprocess(self, clip: LoadedClip) -> Record:
        text = torch.ones(16) + len(clip.prompt)
        record = {"frames": _unit(clip.frames), "text": F.normalize(text, dim=0)}
        return record if clip.image is None else {**record, "image": _unit(clip.image[None])[0]}

    def __call__(self, batch: Record) -> Record:
        return batch


def _unit(frames: torch.Tensor) -> torch.Tensor:
    return F.normalize(frames.double().mean(dim=(2, 3)), dim=1)


def change(clip: LoadedClip) -> dict[str, float]:
    return {"change[grey levels]": clip.frames.double().diff(dim=0).abs().mean().item()}


def compare(made: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    return {"PSNR[dB]": float(psnr_of_each(made[1:-1], real[1:-1]).mean())}


EXTRACTORS: tuple[FeatureExtractor, ...] = (FewFeatures(), SpaceTimePyramid(), Rows(), Measures(change, "test"))
PROTOCOL = load_protocol(
    "procedural-v1",
    {"frames": 4, "clips": CLIPS, "height": 16, "width": 16, "resamples": 100, "distance_resamples": 30},
)


def write_clips(folder: Path, seed: int, count: int = CLIPS, noise: int = 0) -> Manifest:
    """Textures that move; the first frame is the image."""
    folder.mkdir(parents=True)
    values = np.random.default_rng(seed)
    entries = []
    for number in range(count):
        picture = values.integers(40, 200, (16, 16, 3), dtype=np.uint8)
        frames = np.stack([np.roll(picture, step, 1) for step in range(4)])
        frames = np.clip(frames + values.integers(-noise, noise + 1, frames.shape), 0, 255).astype(np.uint8)
        np.save(folder / f"{number}.npy", frames)
        Image.fromarray(picture).save(folder / f"{number}.png")
        entry = Entry(id=f"c{number:02d}", video=f"{number}.npy", frames=4, fps=8.0, prompt="p", image=f"{number}.png")
        entries.append(entry)
    return Manifest(f"{folder.name}.jsonl", folder, tuple(entries))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("videos")
    return Evaluation(PROTOCOL, write_clips(folder / "fake", 0, noise=20), write_clips(folder / "real", 0))


def extract(
    folder: Path, evaluation: Evaluation, extractors: Sequence[FeatureExtractor] = EXTRACTORS, batch_size: int = 4
) -> FeatureCache:
    cache, picture = FeatureCache(folder), FrameScaling.of(evaluation.protocol)
    wanted = planned_records(cache, evaluation.sets(extractors, Reconstruction(compare, "test")), picture)
    run_jobs(find_jobs(cache, wanted), FeatureWriter(cache, batch_size), picture)
    return cache


@pytest.fixture(scope="module")
def cache(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    return extract(tmp_path_factory.mktemp("cache"), evaluation)


@pytest.fixture(scope="module")
def results(cache: FeatureCache, evaluation: Evaluation) -> Results:
    return score(cache, evaluation, EXTRACTORS, Reconstruction(compare, "test"))


def test_every_metric_has_its_two_baselines_and_an_interval(results: Results) -> None:
    for name in ("FD[few]", "FD[stpyr-v1]", "KD[few]"):
        for set_name in ("fake", "still", "real"):
            row = results.metric(name, set_name)
            assert row is not None, f"{name} of {set_name} is missing"
            assert row.value is not None
            assert row.low is not None
            assert row.high is not None
            assert row.low <= row.value <= row.high
            assert row.n == (CLIPS if set_name != "real" else CLIPS // 2)
            assert row.floor is not None
    for name in ("CLIPSIM[rows]", "PIC[rows cosine]", "image similarity[rows]", "change[grey levels]"):
        assert {row.set for row in results.metrics if row.name == name} == {"fake", "real", "still"}, name
    few = results.metric("FD[few]")
    assert few is not None
    assert few.extrapolated is not None
    assert few.unreliable == ""
    assert results.metric("PSNR[dB]") is not None
    assert results.metric("PSNR[dB]", "real") is None


def test_the_still_image_is_perfect_and_does_not_move(results: Results) -> None:
    for name, value in (("PIC[rows cosine]", 1.0), ("frame consistency[rows]", 1.0), ("change[grey levels]", 0.0)):
        still, fake = results.metric(name, "still"), results.metric(name)
        assert still is not None
        assert fake is not None
        assert still.value == pytest.approx(value)
        assert fake.value != pytest.approx(value)


def test_values_are_those_of_the_metric_functions(
    results: Results, cache: FeatureCache, evaluation: Evaluation
) -> None:
    features = {}
    for wanted in planned_records(cache, evaluation.sets([FewFeatures()], None), FrameScaling.of(PROTOCOL)):
        record = cache.read("few", wanted.key)
        assert record is not None
        features.setdefault(wanted.set, []).append(record.values["features"].numpy())
    row = results.metric("FD[few]")
    assert row is not None
    assert row.value == frechet_distance(np.stack(features["fake"]), np.stack(features["real"]))
    curve = next(curve for curve in results.curves if (curve.name, curve.set) == ("FD[few]", "fake"))
    assert curve.sizes[-1] == CLIPS
    assert curve.values[-1] == row.value
    mean = results.metric("change[grey levels]")
    assert mean is not None
    assert mean.value == pytest.approx(
        np.mean([video.values["change[grey levels]"] for video in results.videos if video.set == "fake"])
    )


def test_too_few_clips_are_called_unreliable_with_the_reason(results: Results, cache: FeatureCache) -> None:
    row = results.metric("FD[stpyr-v1]")
    assert row is not None
    assert (
        row.unreliable == f"{CLIPS} clips are fewer than the {SpaceTimePyramid.dim} dimensions of the features and one"
    )
    assert row.extrapolated is None


def test_the_same_cache_gives_the_same_bytes_wherever_it_lies(
    results: Results, evaluation: Evaluation, tmp_path: Path
) -> None:
    write_results(results, tmp_path / "first")
    for name in ("fake", "real"):
        shutil.copytree(evaluation.fake.folder.parent / name, tmp_path / "elsewhere" / name)
    moved = Evaluation(
        PROTOCOL,
        *(
            Manifest(f"{name}.jsonl", tmp_path / "elsewhere" / name, manifest.entries[::-1])
            for name, manifest in (("fake", evaluation.fake), ("real", evaluation.real))
            if manifest is not None
        ),
    )
    other = extract(tmp_path / "cache", moved, EXTRACTORS[::-1], batch_size=1)
    write_results(score(other, moved, EXTRACTORS, Reconstruction(compare, "test")), tmp_path / "second")
    for name in ("results.json", "per_video.csv"):
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("first", "second"))
        assert first == second, f"{name} depends on the place, the batches or the order"
        assert str(tmp_path).encode() not in first, f"{name} tells where the files lie"


def test_numbers_are_made_by_one_thread_whose_digits_do_not_depend_on_the_machine(
    evaluation: Evaluation, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[int]] = []

    def curves(*args: object) -> list[FrameCurve]:
        seen.append(blas_threads())
        return []

    monkeypatch.setattr(scoring, "_frame_curves", curves)
    with threadpool_limits(limits=2, user_api="blas"):
        score(cache, evaluation, EXTRACTORS)
    assert seen == [{1}], "scores are made by several threads, whose number changes digits"


def test_the_interval_of_a_frechet_distance_does_not_go_below_0() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 4, 3))
    frechet, kernel = distances_of(PROTOCOL, "few")
    rows = [
        distance_row(one, "fake", x, y, PROTOCOL, distance_curve(one, "fake", x, y, 0)) for one in (frechet, kernel)
    ]
    assert rows[0].low == 0, "its resamples are moved to the value, and some of them below 0"
    assert rows[1].low is not None
    assert rows[1].low < 0, "kernel distances are without bias and may be negative"


def test_subsets_that_are_all_clips_have_no_deviation() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    for count, told in ((8, False), (7, True)):
        protocol = dataclasses.replace(PROTOCOL, subsets=3, subset_size=count)
        mean, deviation = subset_rows(protocol, "few", "fake", x, y)
        assert mean.value is not None
        assert (deviation.value is not None) == told, f"the deviation of subsets of {count} of 8 clips"


def test_what_was_not_extracted_is_counted_and_said(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(MissingRecordsError, match=r"36 of 36 records are missing \(12 fake by few, 12 real"):
        score(FeatureCache(tmp_path), evaluation, [FewFeatures()])


def test_failed_clips_are_listed_and_make_numbers_unreliable(tmp_path: Path) -> None:
    fake, real = write_clips(tmp_path / "fake", 0), write_clips(tmp_path / "real", 1)
    (tmp_path / "fake" / "3.npy").write_text("no array")
    (tmp_path / "fake" / "4.npy").unlink()
    np.save(tmp_path / "fake" / "5.npy", np.load(tmp_path / "fake" / "6.npy"))
    shutil.copy(tmp_path / "fake" / "6.png", tmp_path / "fake" / "5.png")
    evaluation = Evaluation(PROTOCOL, fake, real)
    results = score(extract(tmp_path / "cache", evaluation), evaluation, EXTRACTORS, Reconstruction(compare, "test"))
    reasons = {problem.id: problem.reason for problem in results.problems if problem.set == "fake"}
    assert sorted(reasons) == ["c03", "c04"]
    assert reasons["c03"].startswith("3.npy: not a readable array")
    note = next(note for note in results.sets if note.name == "fake")
    assert (note.listed, note.read, note.failed, note.skipped) == (12, 10, 2, 0)
    row = results.metric("FD[few]")
    assert row is not None
    assert row.unreliable == (
        "the protocol asks for 12 clips, there are 10; only 9 of 10 clips differ; 2 clips could not be read"
    )


def test_clips_that_the_protocol_skips_are_counted_and_not_read(tmp_path: Path) -> None:
    fake, real = write_clips(tmp_path / "fake", 0), write_clips(tmp_path / "real", 1)
    entries = tuple(
        Entry(**{**vars(entry), "skip": "too short"}) if entry.id == "c01" else entry for entry in real.entries
    )
    evaluation = Evaluation(PROTOCOL, fake, Manifest("real.jsonl", real.folder, entries))
    results = score(extract(tmp_path / "cache", evaluation), evaluation, EXTRACTORS, Reconstruction(compare, "test"))
    note = next(note for note in results.sets if note.name == "real")
    assert (note.listed, note.read, note.skipped) == (12, 11, 1)
    assert [(problem.id, problem.kind) for problem in results.problems] == [("c01", "skipped")]


def test_a_set_of_which_nothing_could_be_read_is_an_error(tmp_path: Path) -> None:
    fake, real = write_clips(tmp_path / "fake", 0, count=3), write_clips(tmp_path / "real", 1, count=3)
    for entry in fake.entries:
        (fake.folder / entry.video).write_bytes(b"no video")
    evaluation = Evaluation(PROTOCOL, fake, real)
    cache = extract(tmp_path / "cache", evaluation)
    with pytest.raises(MissingRecordsError, match=r"none of the 3 clips of the set fake could be read; the first, c00"):
        score(cache, evaluation, EXTRACTORS)


def test_one_clip_and_no_real_clips_give_means_without_distances(tmp_path: Path) -> None:
    evaluation = Evaluation(PROTOCOL, write_clips(tmp_path / "fake", 0, count=1), None)
    results = score(extract(tmp_path / "cache", evaluation), evaluation, EXTRACTORS)
    assert not results.curves
    row = results.metric("change[grey levels]")
    assert row is not None
    assert (row.n, row.low) == (1, None)
    few = "1 clip: too few for an interval of 95 %, it takes 6"
    assert row.unreliable == f"the protocol asks for 12 clips, there are 1; {few}"


def test_clips_cut_otherwise_and_other_ids_are_refused(tmp_path: Path) -> None:
    fake = write_clips(tmp_path / "fake", 0, count=3)
    with pytest.raises(ManifestError, match="c00 has 4 frames with stride 1, wanted are 16 with stride 1"):
        Evaluation(load_protocol("procedural-v1"), fake, None)
    with pytest.raises(ManifestError, match=r"real.jsonl lacks 1 ids of fake.jsonl: c02"):
        Evaluation(PROTOCOL, fake, write_clips(tmp_path / "real", 1, count=2))
