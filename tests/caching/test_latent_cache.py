"""The latent cache: the same clips and the same training step as from the videos; made once, it only fills gaps."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from cached_clips import LENGTHS, OPTIONS, change, run_cache, write_noise_video, write_training
from PIL import Image
from torch.utils.data import default_collate

from lvdm.caching.latent_cache import CachedLatents
from lvdm.caching.latent_index import read_index
from lvdm.caching.latent_records import CacheError, RecordStore, record_key
from lvdm.checkpoint import read_checkpoint
from lvdm.config import parse_component
from lvdm.data.clips import ClipSize
from lvdm.fit.training_setup import TrainingSetup, load_training_setup
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.training_draws import DrawRules, draw_training_numbers

TOLERANCE = {"fp32": 2e-5, "fp16": 2e-3}
"""Of latents and tokens of size about 1: rounding of convolutions in another batch, and of the stored precision."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.yaml beside its videos and weights."""
    return write_training(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def caches(config: Path) -> dict[str, Path]:
    """Finished caches in both precisions."""
    folders = {dtype: config.parent / dtype for dtype in TOLERANCE}
    for dtype, folder in folders.items():
        result = run_cache(config, folder, "--dtype", dtype, "--batch-frames", "5")
        assert result.exit_code == 0, result.output
        assert "4 videos encoded, 0 were there, 1 cannot be used" in result.output
        assert "broken.mp4: not a readable video" in result.output, "a broken video should be named"
    return folders


@pytest.fixture(scope="module")
def model(config: Path) -> LatentVisualDiffusion:
    """The whole model with its weights."""
    setup = load_training_setup([config])
    model = setup.model.build().eval()
    model.load_state_dict(dict(read_checkpoint(setup.pretrained[0])))
    return model


def cached(folder: Path, **options: Any) -> CachedLatents:
    params = {"folder": str(folder), **OPTIONS, **options}
    return parse_component({"target": "lvdm.caching.latent_cache.CachedLatents", "params": params}, "train").build()


def copied(config: Path, folder: Path) -> Path:
    """The training in a folder of its own, so that its files may be changed."""
    shutil.copytree(config.parent / "videos", folder / "videos")
    edits = {"data__params__train__params__data_dir": str(folder / "videos")}
    return change(config, folder / "train.yaml", **edits)


def setup_of(config: Path) -> TrainingSetup:
    return load_training_setup([config])


def test_the_same_draws_cut_the_same_clips(config: Path, caches: dict[str, Path]) -> None:
    videos, latents = setup_of(config).data.params.train.build(), cached(caches["fp32"])
    assert len(latents) == len(videos) == len(LENGTHS) + 1
    for index in range(len(videos)):
        for seed in range(4):
            rngs = random.Random(seed), random.Random(seed)
            live, stored = videos.clip(index, rngs[0]), latents.clip(index, rngs[1])
            for name in ("path", "caption", "fps", "frame_stride", "failures"):
                assert stored[name] == live[name], f"{name} of video {index}, seed {seed}"
            assert rngs[0].random() == rngs[1].random(), "the cache drew more or fewer numbers than the videos"


@pytest.mark.parametrize("dtype", TOLERANCE)
@torch.no_grad()
def test_a_training_step_from_the_cache_is_the_live_one(
    config: Path, caches: dict[str, Path], model: LatentVisualDiffusion, dtype: str
) -> None:
    setup = setup_of(config)
    sources = setup.data.params.train.build(), cached(caches[dtype])
    numbers = range(12)
    live, stored = (
        default_collate([source.clip(n % len(source), random.Random(n)) for n in numbers]) for source in sources
    )
    assert model.latent_shape(live) == model.latent_shape(stored)
    rules = DrawRules(rand_cond_frame=True, interpolation_probability=0.3)
    draws = draw_training_numbers(model.latent_shape(live), numbers, 7, rules)
    assert len(set(draws.cond_frame.tolist())) == 4, "the test should see every frame as the conditioning one"
    latents, conditioning = model.training_batch(live, draws)
    other_latents, other = model.training_batch(stored, draws)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(other_latents, latents, **tolerance)
    for field in dataclasses.fields(conditioning):
        expected, got = getattr(conditioning, field.name), getattr(other, field.name)
        torch.testing.assert_close(got, expected, **tolerance, msg=lambda text, f=field: f"{f.name}: {text}")


def test_a_second_run_encodes_nothing_and_a_changed_input_only_its_own(config: Path, tmp_path: Path) -> None:
    own, folder = copied(config, tmp_path), tmp_path / "cache"
    videos = tmp_path / "videos"
    assert "4 videos encoded" in run_cache(own, folder).output
    first = json.loads((folder / "index.json").read_text())
    os.utime(videos / "a.mp4", (1, 1))
    assert "0 videos encoded, 4 were there" in run_cache(own, folder).output, "only the time of a file changed"
    assert json.loads((folder / "index.json").read_text()) == first

    (videos / "b.txt").write_text("another caption")
    result = run_cache(own, folder)
    assert "0 videos encoded, 4 were there" in result.output, "a caption should not encode its video again"
    assert "1 records belong to nothing" in result.output
    assert cached(folder).clip(1, random.Random(0))["caption"] == "another caption"

    write_noise_video(videos / "d.mp4", 7, seed=99)
    write_noise_video(videos / "broken.mp4", 5, seed=98)
    result = run_cache(own, folder, "--prune")
    assert "2 videos encoded, 3 were there, 0 cannot be used" in result.output
    assert "3 records belong to nothing any longer and have been deleted" in result.output
    assert "0 videos encoded, 5 were there" in run_cache(own, folder, "--verify").output


def test_the_same_videos_inside_a_tar_shard_are_known(config: Path, caches: dict[str, Path], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in sorted((config.parent / "videos").iterdir()):
            tar.add(path, path.name)
    source = setup_of(config).tree["data"]["params"]["train"]
    component = {"target": "lvdm.data.tar_clips.TarClips", "params": {**source["params"], "data_dir": str(tmp_path)}}
    own = change(config, tmp_path / "train.yaml", data__params__train=component)
    folder = shutil.copytree(caches["fp32"], tmp_path / "cache")
    assert "0 videos encoded, 4 were there" in run_cache(own, folder, "--dtype", "fp32").output
    assert cached(folder).clip(0, random.Random(0))["path"].endswith("shard.tar/a.mp4")


def test_what_the_size_and_time_of_a_file_hide_is_found_by_verify(config: Path, tmp_path: Path) -> None:
    own, folder = copied(config, tmp_path), tmp_path / "cache"
    run_cache(own, folder)
    path = tmp_path / "videos" / "a.mp4"
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "0 videos encoded" in run_cache(own, folder).output
    assert "1 video encoded" in run_cache(own, folder, "--verify").output
    store = RecordStore(folder)
    record = store.path(*next(record for record in store.records() if record[0] == "moments"))
    record.write_bytes(b"damaged")
    killed = record.with_name(f".{record.stem}.123.part.safetensors")
    killed.write_bytes(b"half")
    result = run_cache(own, folder, "--verify", "--prune")
    assert "made again" in result.output
    assert "2 records belong to nothing" in result.output, "those of the content that changed"
    assert not killed.exists(), "what a killed process left should be pruned"


def test_interrupted_and_shared_runs_lose_nothing(
    config: Path, caches: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    write = RecordStore.writing
    started: list[str] = []

    def interrupted(self: RecordStore, kind: Any, *arguments: Any) -> Any:
        started.append(kind)
        if started.count("moments") == 2:
            raise KeyboardInterrupt
        return write(self, kind, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "writing", interrupted)
        assert run_cache(config, folder, "--dtype", "fp32").exit_code == 130
    assert not (folder / "index.json").exists()
    assert not list(folder.rglob("*.part*")), "an unfinished record was left"
    with pytest.raises(CacheError, match="no finished latent cache"):
        cached(folder)
    for shard in ("0/2", "1/2"):
        assert "This part is done" in run_cache(config, folder, "--dtype", "fp32", "--shard", shard).output
    assert "0 videos encoded, 4 were there" in run_cache(config, folder, "--dtype", "fp32").output
    assert (folder / "index.json").read_text() == (caches["fp32"] / "index.json").read_text()


def test_the_announced_size_is_the_size(config: Path, tmp_path: Path) -> None:
    own = copied(config, tmp_path)
    (tmp_path / "videos" / "broken.mp4").unlink()
    (tmp_path / "videos" / "broken.txt").unlink()
    result = run_cache(own, tmp_path / "cache", "--dtype", "fp32", "--dry-run")
    announced = float(result.output.split("about ")[1].split(" kB")[0]) * 1e3
    assert not (tmp_path / "cache" / "index.json").exists(), "a dry run should make nothing"
    run_cache(own, tmp_path / "cache", "--dtype", "fp32")
    store = RecordStore(tmp_path / "cache")
    values = [torch.Size(store.header(*record)[0]).numel() * 4 for record in store.records()]
    assert announced == pytest.approx(sum(values), rel=0.1)


def test_image_tokens_of_some_frames_are_those_of_the_frame_before(config: Path, tmp_path: Path) -> None:
    everything, some, first = (tmp_path / name for name in ("all", "some", "first"))
    for folder, kept in ((everything, "all"), (some, "4"), (first, "first")):
        run_cache(config, folder, "--image-tokens", kept)
    whole = RecordStore(everything).read("tokens", read_index(everything).entries[0].tokens)
    assert len(whole) == LENGTHS["a"]
    for folder, options, count in ((some, {}, 4), (some, {"condition": "first"}, 1), (first, {}, 1)):
        source = cached(folder, frame_stride=1, random_fs=False, **options)
        start = random.Random(3).randint(0, LENGTHS["a"] - 4)
        clip = source.clip(0, random.Random(3))
        frames = [0] if folder == first else [(start + i) // 4 * 4 for i in range(count)]
        torch.testing.assert_close(clip["clip_tokens"], whole[frames], rtol=1e-3, atol=1e-3)


def test_stills_and_procedural_clips_are_cached_whole(config: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    (tmp_path / "red.txt").write_text("red")
    stills = {"data_dir": str(tmp_path), "resolution": [32, 32], "video_length": 4, "fps": 3.0}
    drawn = {"num_frames": 4, "height": 32, "width": 32, "length": 3}
    for target, params in (("image_folder.ImageFolder", stills), ("procedural.ProceduralClips", drawn)):
        component = {"target": f"lvdm.data.{target}", "params": params}
        own = change(config, tmp_path / "train.yaml", data__params__train=component)
        folder = tmp_path / target
        assert run_cache(own, folder).exit_code == 0
        live, latents = parse_component(component, "train").build(), CachedLatents(cached_config(folder))
        assert len(live) == len(latents)
        for index in range(len(live)):
            clip, stored = live.clip(index, random.Random(0)), latents.clip(index, random.Random(0))
            assert stored["moments"].shape == (8, 4, 8, 8)
            assert all(stored[name] == clip[name] for name in ("caption", "path", "fps", "frame_stride"))
        with pytest.raises(CacheError, match="holds whole clips"):
            cached(folder)
        if "Procedural" in target:
            with pytest.raises(ValueError, match="a whole clip of 4 frames, 5 are wanted"):
                latents.clip(0, random.Random(0), ClipSize(5, 32, 32))


def cached_config(folder: Path) -> Any:
    return CachedLatents.Config(folder=str(folder))


def test_buckets_decide_the_size_of_each_video(config: Path, tmp_path: Path) -> None:
    own = copied(config, tmp_path)
    write_noise_video(tmp_path / "videos" / "d.mp4", 8, seed=5, height=56, width=40)
    own = change(own, own, data__params__buckets=[[4, 32, 48], [4, 48, 32]])
    run_cache(own, tmp_path / "cache")
    source = cached(tmp_path / "cache")
    sizes = [source.native_size(index) for index in range(len(source))]
    assert [size and (size.height, size.width) for size in sizes] == [(32, 48), (32, 48), None, (48, 32), (32, 48)]
    assert source.clip(3, random.Random(0), ClipSize(4, 48, 32))["moments"].shape == (8, 4, 12, 8)
    with pytest.raises(CacheError, match="is cached at 48x32 and wanted at 32x48"):
        source.clip(3, random.Random(0), ClipSize(4, 32, 48))
    with pytest.raises(CacheError, match=r"several sizes; name them in data\.params\.buckets"):
        source.clip(3, random.Random(0))


def test_what_cannot_be_cached_is_refused(config: Path, caches: dict[str, Path], tmp_path: Path) -> None:
    params = "data__params__train__params__"
    yaml = change(config, tmp_path / "crop.yaml", **{params + "spatial_transform": "random_crop"})
    assert "random_crop cuts another part" in run_cache(yaml, tmp_path / "x").output
    yaml = change(config, tmp_path / "bare.yaml", model__pretrained_checkpoint=[])
    assert "no weights for the autoencoder" in run_cache(yaml, tmp_path / "x").output
    for options, message in {
        ("--shard", "2/2"): "shard 2/2",
        ("--shard", "two"): "such as 0/4",
        ("--image-tokens", "some"): "should be all, first, or a number",
        ("--dtype", "int8"): "should be one of fp32, fp16, bf16",
        ("--source", "validation"): "no data.params.validation",
    }.items():
        result = run_cache(config, tmp_path / "x", *options)
        assert result.exit_code == 2
        assert message in result.output
    with pytest.raises(CacheError, match=r"was made at 32x32, the configuration says 64x64"):
        cached(caches["fp32"], resolution=64)


def test_values_that_the_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    store, key = RecordStore(tmp_path), record_key(of="huge values")
    with pytest.raises(CacheError, match="use --dtype bf16"), store.writing("text", key, (1, 2), torch.float16) as rows:
        rows.append(torch.tensor([[1.0, 7e4]]))
    assert not store.has("text", key)
    with (
        pytest.raises(CacheError, match="1 of 2 rows were not written"),
        store.writing("text", key, (2, 1), torch.float16) as rows,
    ):
        rows.append(torch.ones(1, 1))
    assert not store.has("text", key)
