"""HDR video as it looks on an ordinary screen, against the closed forms of its standards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from lvdm.media.high_dynamic_range import PEAK, WHITE, light_of_pq, on_ordinary_screen, pq_of
from lvdm.media.video_backends import open_video
from lvdm.media.video_reader import VideoError, VideoReader

PQ, HLG, BT2020 = 16, 18, 9
SIDE = 64


def srgb(linear: float) -> float:
    return 255 * (1.055 * linear ** (1 / 2.4) - 0.055)


def grey(value: float) -> np.ndarray:
    return np.full((1, 1, 3), round(65535 * value), np.uint16)


@pytest.mark.parametrize(("light", "value"), [(0, 0.0), (100, 0.508), (203, 0.581), (1000, 0.752), (10_000, 1.0)])
def test_pq_is_that_of_the_standard(light: float, value: float) -> None:
    """BT.2408-7, table 1, and the ends of BT.2100's scale."""
    assert float(pq_of(light)) == pytest.approx(value, abs=5e-4)
    assert float(light_of_pq(pq_of(light))) == pytest.approx(light, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("light", [1, 10, 50, 80])
def test_what_is_darker_than_the_knee_stays_as_it_is(light: float) -> None:
    shown = on_ordinary_screen(grey(float(pq_of(light))), "PQ")
    assert np.abs(shown - srgb(light / WHITE)).max() <= 1, "a grey below the knee is brighter or darker than it was"


def test_lights_are_compressed_in_their_order() -> None:
    values = np.linspace(0, 1, 200)
    shown = [int(on_ordinary_screen(grey(value), "PQ")[0, 0, 0]) for value in values]
    assert shown == sorted(shown)
    assert on_ordinary_screen(grey(float(pq_of(PEAK))), "PQ").min() >= 254
    assert 200 < int(on_ordinary_screen(grey(float(pq_of(WHITE))), "PQ")[0, 0, 0]) < 250, "white leaves room above it"


def test_hlg_and_pq_say_the_same_of_white() -> None:
    """75 % of HLG is 203 cd/m2 on a screen of 1,000 (BT.2408-7, table 1)."""
    by_hlg, by_pq = on_ordinary_screen(grey(0.75), "HLG"), on_ordinary_screen(grey(float(pq_of(WHITE))), "PQ")
    assert np.abs(by_hlg.astype(int) - by_pq).max() <= 1


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_grey_stays_grey_and_red_red(transfer: str) -> None:
    for value in (0.1, 0.4, 0.7, 1.0):
        shown = on_ordinary_screen(grey(value), transfer).astype(int)  # type: ignore[arg-type]
        assert np.ptp(shown) <= 1, "the matrix of colours changes white"
    red = on_ordinary_screen(np.array([[[40_000, 10_000, 10_000]]], np.uint16), transfer)[0, 0]  # type: ignore[arg-type]
    assert red[0] > 2 * max(red[1], red[2])


def write(path: Path, transfer: int, values: Sequence[float]) -> Path:
    """Frames of one grey each, in 10 bits of limited range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = (
            transfer,
            BT2020,
            BT2020,
            1,
        )
        for value in values:
            frame = av.VideoFrame(SIDE, SIDE, "yuv420p10le")
            for plane, level in zip(frame.planes, (4 * (16 + 219 * value), 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, round(level), "<u2").tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("code", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_files_are_read_as_they_look(code: int, name: str, tmp_path: Path) -> None:
    values = (0.2, 0.45, 0.6)
    path = write(tmp_path / "a.mp4", code, values)
    with VideoReader(path) as reader:
        assert reader.transfer == name
        frames, small = reader.read(range(3)).numpy(), reader.read([1], height=16, width=32).numpy()
    for value, frame in zip((*values, values[1]), (*frames, *small), strict=True):
        expected = int(on_ordinary_screen(grey(value), name)[0, 0, 0])  # type: ignore[arg-type]
        assert np.abs(frame.astype(int) - expected).max() <= 3
    assert small.shape == (1, 16, 32, 3)
    for backend in ("imageio", "decord"):
        with pytest.raises(VideoError, match=rf"it is HDR \({name}\); choose reader: pyav"):
            open_video(path, backend=backend)  # type: ignore[arg-type]


def test_ordinary_video_is_left_alone(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "a.mp4", 1, (0.5,))) as reader:
        assert reader.transfer is None
        assert abs(int(reader.read([0]).float().mean()) - 127) <= 2
