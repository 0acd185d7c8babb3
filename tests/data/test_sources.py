"""Folders, tables, tar shards and LitData chunks: the clips they give, and what they refuse before the first step."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import pickle
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import litdata.streaming.writer
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_videos import write_video
from torch.utils.data import DataLoader

from lvdm.config import ConfigError, parse_component
from lvdm.data.clips import ClipDataset, ClipSize, ClipSource, Draw
from lvdm.data.packed_texts import PackedTexts
from lvdm.data.source_files import SourceError
from lvdm.data.video_header import SizeIndex, probe_size

COMMON = {"video_length": 4, "resolution": [32, 48]}


def build(target: str, folder: Path, **options: Any) -> Any:
    params = {"data_dir": str(folder), **({} if target.endswith("ImageFolder") else COMMON), **options}
    return parse_component({"target": f"lvdm.data.{target}", "params": params}, "data").build()


def video_folder(folder: Path, **options: Any) -> Any:
    return build("video_folder.VideoFolder", folder, **options)


def tar_clips(folder: Path, **options: Any) -> Any:
    return build("tar_clips.TarClips", folder, **options)


def captions_of(source: ClipSource) -> list[str]:
    return [source.clip(index, random.Random(0))["caption"] for index in range(len(source))]


def make_folder(folder: Path) -> Path:
    """Three videos at two depths in three formats, a text beside each."""
    for number, name in enumerate(("a.mp4", "deep/er/b.mkv", "deep/c.MOV")):
        write_video(folder / name, 8 + number)
        (folder / name).with_suffix(".txt").write_text(f"caption of\n{Path(name).stem} \n")
    return folder


def make_shard(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_shards(folder: Path, video: bytes) -> Path:
    for shard in range(2):
        files = {}
        for number in range(2):
            files[f"s{number}.mp4"] = video
            files[f"s{number}.txt"] = f"clip {shard}{number}".encode()
            files[f"s{number}.json"] = json.dumps({"text": f"from json {shard}{number}"}).encode()
        make_shard(folder / f"shard-{shard}.tar", files)
    return folder


def make_chunks(folder: Path, video: bytes) -> Path:
    folder.mkdir()
    writer = litdata.streaming.writer.BinaryWriter(str(folder), chunk_bytes=2 * len(video) + 500)
    for number in range(5):
        writer[number] = {"video": video, "caption": f"clip {number}"}
    writer.done()
    writer.merge(num_workers=1)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    write_video(path, 12)
    return path.read_bytes()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("videos"))


def make_images(folder: Path) -> Path:
    for number in range(3):
        Image.new("RGB", (60 + number, 40), (80 * number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"clip {number}")
    return folder


SOURCES: dict[str, Callable[[Path, bytes], Any]] = {
    "VideoFolder": lambda folder, video: video_folder(make_folder(folder), frame_stride=2, random_fs=True),
    "TarClips": lambda folder, video: tar_clips(make_shards(folder, video), frame_stride=3, random_fs=True),
    "LitDataClips": lambda folder, video: build(
        "litdata_clips.LitDataClips", make_chunks(folder / "chunks", video), frame_stride=3, random_fs=True
    ),
    "ImageFolder": lambda folder, video: build(
        "image_folder.ImageFolder", make_images(folder), video_length=4, resolution=[32, 48]
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_keeps_the_protocol(name: str, video: bytes, tmp_path: Path) -> None:
    """One shape and range, randomness from the generator only, and the same clips whoever reads them."""
    source = SOURCES[name](tmp_path, video)
    item = source.clip(1, random.Random(3))
    assert item["video"].shape == (3, 4, 32, 48)
    assert item["video"].dtype == torch.float32
    assert item["video"].abs().max() <= 1
    assert item["caption"]
    assert (item["failures"], isinstance(item["path"], str)) == ("", True)
    assert source.clip(1, random.Random(3), ClipSize(2, 16, 16))["video"].shape == (3, 2, 16, 16)
    native = source.native_size(1)
    assert native is not None
    assert min(native.height, native.width) >= 40, f"{name}: {native} is not the size of the file"
    draws = [[Draw(number % len(source), number) for number in (7, 2, 4)]]
    read = [
        next(iter(DataLoader(ClipDataset(source, 0), batch_sampler=draws, num_workers=workers))) for workers in (0, 2)
    ]
    assert torch.equal(read[0]["video"], read[1]["video"]), f"{name}: workers read other clips than the main process"
    assert read[0]["caption"] == read[1]["caption"]


def test_captions_come_from_texts_tables_or_one_sentence(videos: Path, tmp_path: Path) -> None:
    assert captions_of(video_folder(videos)) == ["caption of a", "caption of c", "caption of b"]
    assert captions_of(video_folder(videos, captions="none")) == ["", "", ""]
    assert captions_of(video_folder(videos, caption="a duck")) == ["a duck"] * 3
    rows = {"a.mp4": "one, two", "deep/er/b.mkv": 'a "b"', "./deep/c.MOV": "c"}
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption", "extra"), *((*row, 1) for row in rows.items())])
    assert captions_of(video_folder(videos, captions=str(tmp_path / "t.csv"))) == ["one, two", "c", 'a "b"']
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows.items()]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    columns = {"file_column": "file_name", "caption_column": "text"}
    table = video_folder(videos, captions=str(tmp_path / "t.jsonl"), **columns)
    assert captions_of(table) == ["one, two", "c", 'a "b"']


def test_captions_of_tar_shards(video: bytes, tmp_path: Path) -> None:
    make_shards(tmp_path, video)
    assert captions_of(tar_clips(tmp_path)) == ["clip 00", "clip 01", "clip 10", "clip 11"]
    from_json = tar_clips(tmp_path, captions="json", caption_column="text")
    assert captions_of(from_json)[3] == "from json 11"
    with pytest.raises(ValueError, match=r"2 shards cannot be used.*has no 'caption', it has text; set caption_column"):
        tar_clips(tmp_path, captions="json")
    with pytest.raises(ConfigError, match="those of tar shards are inside them"):
        tar_clips(tmp_path, captions="a.csv")


TABLES = {
    "file,text\na.mp4,x\n": r"no column 'caption', it has 'file', 'text'; rename it, or set .*caption_column",
    "file,caption\na.mp4,x\na.mp4,y\n": r"line 3: a\.mp4 has a caption already",
    "file,caption\na.mp4,x,y\n": "more cells than the header",
    "file,caption\n": "holds no captions",
    "file,caption\na.mp4,x\ndeep/c.MOV,\ndeep/er/b.mkv,z\n": r"1 videos have no caption in .*\(deep/c\.MOV\): add",
    "file,caption\na.mp4,x\nb.mkv,y\nz.mp4,z\n": (
        r"2 rows of .* name files that are not there \(b\.mkv, z\.mp4\).*2 videos have no caption .*deep/c\.MOV, "
    ),
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_does_not_fit_is_refused_with_names(table: str, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(ValueError, match=TABLES[table]) as caught:
        video_folder(videos, captions=str(tmp_path / "t.csv"))
    assert "\n" not in str(caught.value)


def test_what_is_left_out_on_purpose_is_named(videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_text("file,caption\na.mp4,x\n")
    with caplog.at_level(logging.WARNING):
        source = video_folder(videos, captions=str(tmp_path / "t.csv"), uncaptioned="skip")
    assert captions_of(source) == ["x"]
    assert "2 videos have no caption" in caplog.text
    assert "deep/c.MOV, deep/er/b.mkv" in caplog.text


def test_folders_that_cannot_be_used(videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*absent; give the folder"):
        video_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match="is a file, give the folder"):
        video_folder(videos / "a.mp4")
    with pytest.raises(ValueError, match=r"holds no videos; looked for \.mp4"):
        video_folder(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"holds no videos; there are 1 captions \(\.txt\) without videos"):
        video_folder(tmp_path)
    write_video(tmp_path / "b.mp4", 4)
    with pytest.raises(ValueError, match=r"1 videos have no caption in a \.txt beside them \(b\.mp4\).*captions: none"):
        video_folder(tmp_path)
    with pytest.raises(ValueError, match=r"none of 1 videos in .* has a caption"):
        video_folder(tmp_path, uncaptioned="skip")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"b\.txt: is not UTF-8"):
        video_folder(tmp_path)
    (tmp_path / "b.txt").write_text("b")
    with caplog.at_level(logging.WARNING):
        assert captions_of(video_folder(tmp_path)) == ["b"]
    assert "1 texts without videos (a.txt)" in caplog.text
    with pytest.raises(ConfigError, match="captions = 'x' should be txt, json, none, or the path"):
        video_folder(tmp_path, captions="x")


def damage(content: bytes) -> dict[str, bytes]:
    """Ways in which a shard goes wrong, from a good one."""
    return {
        "truncated": content[: len(content) // 3],
        "no_end": content.rstrip(b"\0")[:-1],
        "header": content[:1024].replace(b"ustar", b"u\0tar") + content[1024:],
        "appended": content + content,
        "compressed": b"\x1f\x8b" + content,
        "empty": b"",
    }


def test_damaged_shards_are_named_with_the_reason(video: bytes, tmp_path: Path) -> None:
    content = (make_shards(tmp_path, video) / "shard-1.tar").read_bytes()
    for kind, broken in damage(content).items():
        (tmp_path / "shard-1.tar").write_bytes(broken)
        with pytest.raises(ValueError, match=r"1 shards cannot be used \(shard-1\.tar: ") as caught:
            pytest.fail(f"{kind}: not noticed, {len(tar_clips(tmp_path))} clips")
        assert "\n" not in str(caught.value)


def test_a_header_damaged_in_the_middle_is_not_the_end(video: bytes, tmp_path: Path) -> None:
    """tarfile stops there without a word."""
    shard = make_shards(tmp_path, video) / "shard-0.tar"
    content = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        third = tar.getmembers()[2]
    content[third.offset + 100 : third.offset + 140] = b"x" * 40
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"shard-0\.tar: damaged behind byte \d+, after 2 files"):
        tar_clips(tmp_path)


def test_videos_without_captions_in_a_shard(video: bytes, tmp_path: Path) -> None:
    make_shard(tmp_path / "s.tar", {"a.mp4": video, "a.txt": b"a", "b.mp4": video, "c.txt": b"c"})
    with pytest.raises(ValueError, match=r"1 videos have no caption .*\(s\.tar/b\.mp4\)"):
        tar_clips(tmp_path)
    assert captions_of(tar_clips(tmp_path, uncaptioned="skip")) == ["a"]
    make_shard(tmp_path / "s.tar", {"a.txt": b"a"})
    with pytest.raises(ValueError, match=r"the 1 shards in .* hold no videos"):
        tar_clips(tmp_path)


def test_damaged_chunks_are_named(video: bytes, tmp_path: Path) -> None:
    folder = make_chunks(tmp_path / "chunks", video)
    chunks = sorted(folder.glob("*.bin"))
    with pytest.raises(ValueError, match=r"'movie' should be the bytes .*the item has 'video', 'caption'; set v"):
        build("litdata_clips.LitDataClips", folder, video_key="movie")
    with pytest.raises(ValueError, match="its first item has no 'text'; set caption_key"):
        build("litdata_clips.LitDataClips", folder, caption_key="text")
    chunks[0].write_bytes(chunks[0].read_bytes()[:100])
    chunks[1].unlink()
    with pytest.raises(ValueError, match=rf"2 chunks cannot be used \({chunks[0].name} has 100 bytes.*is missing"):
        build("litdata_clips.LitDataClips", folder)
    (folder / "index.json").unlink()
    with pytest.raises(ValueError, match=r"holds no index\.json"):
        build("litdata_clips.LitDataClips", folder)


def test_stills_do_not_move(tmp_path: Path) -> None:
    make_images(tmp_path)
    source = build("image_folder.ImageFolder", tmp_path, resolution=16, spatial_transform="random_crop")
    assert source.clip(0, random.Random(0))["video"].shape == (3, 1, 16, 16)
    item = source.clip(2, random.Random(0), ClipSize(5, 24, 24))
    assert (item["video"] == item["video"][:, :1]).all()
    assert (item["fps"], item["frame_stride"], item["caption"]) == (1.0, 1, "clip 2")
    assert source.native_size(2) == ClipSize(1, 40, 62)
    (tmp_path / "0.png").write_bytes(b"no image")
    assert "0.png: not an image" in source.clip(0, random.Random(0))["failures"]


def test_sizes_are_kept_in_the_index_until_a_file_changes(videos: Path, tmp_path: Path) -> None:
    index_file = tmp_path / "index.json"
    source = video_folder(videos, index_file=str(index_file))
    sizes = [source.native_size(index) for index in range(3)]
    assert sizes == [ClipSize(8, 48, 80), ClipSize(10, 48, 80), ClipSize(9, 48, 80)]
    probed: list[Path] = []

    def probe(path: Path, content: bytes | None) -> ClipSize:
        probed.append(path)
        return ClipSize(1, 1, 1)

    assert [SizeIndex(source.files, str(index_file), probe)[index] for index in range(3)] == sizes
    assert not probed, "files that did not change are read again"
    changed = make_folder(tmp_path / "changed")
    files = video_folder(changed, index_file=str(index_file)).files
    assert SizeIndex(files, str(index_file), probe)[0] == ClipSize(1, 1, 1)
    probed.clear()
    write_video(changed / "a.mp4", 5, fps=30)
    SizeIndex(files, str(index_file), probe)[0]
    assert probed == [changed / "a.mp4"]
    for content in ("mine", "[1]", '{"version": 1}', '{"chunks": []}'):
        index_file.write_text(content)
        with pytest.raises(SourceError, match="is there and is no index of sizes"):
            video_folder(videos, index_file=str(index_file)).native_size(1)
        assert index_file.read_text() == content, "a file of the user was replaced"
    index_file.write_text('{"version": 0, "files": {}}')
    assert video_folder(videos, index_file=str(index_file)).native_size(1) == sizes[1]


def test_the_size_of_a_phones_video_is_that_of_the_picture_as_shown(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 80, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert probe_size(tmp_path / "a.mp4") == ClipSize(1, 80, 48)
    assert probe_size(Path("a.mp4"), (tmp_path / "a.mp4").read_bytes()) == ClipSize(1, 80, 48)
    assert probe_size(tmp_path / "absent.mp4") is None


def test_packed_texts_are_a_sequence_of_texts() -> None:
    texts = ["", "a caption", None, "ein Bär 🐻", os.fsdecode(b"not utf-8 \xff")]
    packed = PackedTexts(texts)
    assert list(packed) == texts
    assert (packed[-1], packed[1:3], len(packed)) == (texts[-1], texts[1:3], 5)
    assert list(pickle.loads(pickle.dumps(packed))) == texts
    assert list(PackedTexts([])) == []
    with pytest.raises(IndexError, match="text 5 is outside"):
        packed[5]
