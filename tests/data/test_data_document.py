"""Every YAML block of docs/data.md names a source that can be built and gives a clip, on files as it describes them."""

from __future__ import annotations

import dataclasses
import random
import re
import shutil
from pathlib import Path
from typing import Any

import litdata.streaming.writer
import pytest
import yaml
from PIL import Image
from tiny_videos import write_video

from lvdm.config import parse_component
from lvdm.data.clip_frames import ClipOptions
from lvdm.data.webvid import WebVidConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def source_node(block: str) -> dict[str, Any]:
    tree = yaml.safe_load(block)
    return tree["train"] if "train" in tree else tree["data"]["params"]["train"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the document speaks of."""
    folder = tmp_path_factory.mktemp("data")
    write_video(folder / "my_videos" / "a.mp4", 20)
    (folder / "my_videos" / "a.txt").write_text("a caption")
    (folder / "my_captions.csv").write_text("file,caption\na.mp4,a caption\n")
    (folder / "webvid.csv").write_text("videoid,page_dir,name\na,000,a caption\n")
    (folder / "webvid" / "videos" / "000").mkdir(parents=True)
    shutil.copy(folder / "my_videos" / "a.mp4", folder / "webvid" / "videos" / "000")
    shutil.make_archive(str(folder / "my_shards" / "0"), "tar", folder / "my_videos")
    (folder / "my_images").mkdir()
    Image.new("RGB", (80, 60)).save(folder / "my_images" / "a.png")
    (folder / "my_images" / "a.txt").write_text("a caption")
    (folder / "my_chunks").mkdir()
    writer = litdata.streaming.writer.BinaryWriter(str(folder / "my_chunks"), chunk_bytes="1MB")
    writer[0] = {"video": (folder / "my_videos" / "a.mp4").read_bytes(), "caption": "a caption"}
    writer.done()
    writer.merge(num_workers=1)
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: source_node(block)["target"].rpartition(".")[2])
def test_every_block_gives_clips(block: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    tree = yaml.safe_load(block)
    if "data" in tree:
        parse_component(tree["data"], "data")
    node = source_node(block)
    clip = parse_component(node, "train").build().clip(0, random.Random(0))
    assert list(clip["video"].shape[-2:]) == node["params"]["resolution"]
    assert clip["video"].shape[1] == node["params"].get("video_length", 16)
    assert clip["caption"] == "a caption"


def test_the_table_of_options_is_complete_and_tells_the_defaults() -> None:
    rows = dict(re.findall(r"^\| (`.*?) \| (.*?) \| .* \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    told = {}
    for names, defaults in rows.items():
        options = re.findall(r"`(\w+)`", names)
        told |= dict(zip(options, re.split(r", (?![^\[]*\])", defaults), strict=True))
    fields = {field.name: field.default for field in dataclasses.fields(ClipOptions) if field.name != "crop_resolution"}
    assert told.keys() == fields.keys() | {"index_file"}
    for name, default in fields.items():
        assert yaml.safe_load(told[name].strip("`")) == {None: "none"}.get(
            default, list(default) if isinstance(default, tuple) else default
        ), f"docs/data.md tells {told[name]} for {name}"
    webvid = {field.name: field.default for field in dataclasses.fields(WebVidConfig)}
    assert (webvid["load_raw_resolution"], webvid["spatial_transform"]) == (False, None)
