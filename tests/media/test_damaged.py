"""Damage that decoders answer with errors of their own kinds is one line that names the file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from tiny_videos import write_video

from lvdm.data.video_header import probe_size
from lvdm.media.depth import DepthError, read_depth
from lvdm.media.images import ImageError, load_image
from lvdm.media.video_reader import VideoError, VideoReader


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avif_without_its_pixels(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, "avif")
    (tmp_path / "a.avif").write_bytes(buffer.getvalue().replace(b"iloc", b"ilox"))
    with pytest.raises(ImageError, match=r"a\.avif: "):
        load_image(tmp_path / "a.avif")
    (tmp_path / "depth").mkdir()
    (tmp_path / "a.avif").rename(tmp_path / "depth" / "a.png")
    (tmp_path / "depth" / "b.png").write_bytes(b"")
    with pytest.raises(DepthError, match=r"a\.png: is no image that can be read"):
        read_depth(tmp_path / "depth", 2)


def test_depth_whose_compressed_part_is_damaged_anywhere(tmp_path: Path) -> None:
    path, depth = tmp_path / "depth.npz", np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    np.savez_compressed(path, depth=depth)
    content = path.read_bytes()
    read = 0
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        said = ""
        try:
            read += bool(np.array_equal(read_depth(path, 2), depth))
        except ValueError as error:
            said = str(error)
        assert not said or (said.startswith(str(path)) and "\n" not in said)
    assert read < 20, "damage is not noticed"


def test_a_track_without_a_codec_has_no_size(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 2)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content.replace(b"avc1", b"xxxx"))
    assert probe_size(tmp_path / "a.mp4") is None
    with pytest.raises(VideoError, match=r"a\.mp4: "):
        VideoReader(tmp_path / "a.mp4")
