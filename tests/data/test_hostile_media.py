"""Files of strangers: none may start a program, reach an address, or lead to another file."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from subprocess import CalledProcessError

import av
import litdata.streaming.writer
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from lvdm.config import parse_component
from lvdm.data.source_files import SourceError
from lvdm.data.video_header import probe_size
from lvdm.media.containers import ContainerError, open_container
from lvdm.media.images import ImageError, load_image
from lvdm.media.torchcodec_reader import check_container
from lvdm.media.video_reader import VideoError, VideoReader

SIDE = 64

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(touched) print\nshowpage\n%%EOF\n"
SESSION = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"


def write_clip(path: Path, container: str | None = None) -> Path:
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("libx264", rate=8)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for _ in range(5):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((SIDE, SIDE, 3), 200, np.uint8))))
        file.mux(stream.encode())
    return path


def alias_to(path: Path) -> bytes:
    """A QuickTime data reference of the type `alis` that names `path` (QuickTime File Format, "Data References")."""
    body = bytes(14) + b"\x03vol".ljust(28, b"\0") + bytes(12)
    body += bytes([len(path.name)]) + path.name.encode().ljust(63, b"\0") + bytes(36)
    posix = str(path).encode()
    for kind, value in ((2, b"vol:" + posix.lstrip(b"/").replace(b"/", b":")), (18, posix)):
        body += struct.pack(">HH", kind, len(value)) + value + bytes(len(value) % 2)
    body = (body + struct.pack(">HH", 0xFFFF, 0)).ljust(160, b"\0")
    return struct.pack(">I", 8 + len(body)) + b"alis" + body


def reference_movie(path: Path, target: Path) -> Path:
    """A movie without pictures of its own: all samples are to be read from `target`."""
    content = write_clip(path, "mov").read_bytes()
    start = content.index(b"dref") + 12
    entry = alias_to(target)
    changed = bytearray(content[:start] + entry + content[start + 12 :])
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = changed.rfind(box, 0, start) - 4
        changed[at : at + 4] = struct.pack(">I", struct.unpack(">I", changed[at : at + 4])[0] + len(entry) - 12)
    path.write_bytes(changed)
    return path


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, Path]:
    """Files that lead to other files or to the network, under the names of videos."""
    write_clip(tmp_path / "other.mp4")
    write_clip(tmp_path / "other.ts", "mpegts")
    Image.new("RGB", (SIDE, SIDE), "red").save(tmp_path / "other.png")
    texts = {
        "list.m3u8": PLAYLIST.format("other.ts"),
        "list.mp4": PLAYLIST.format("other.ts"),
        "network.m3u8": PLAYLIST.format("http://127.0.0.1:9/other.ts"),
        "script.mp4": "ffconcat version 1.0\nfile other.mp4\n",
        "picture.mp4": "ffconcat version 1.0\nfile other.png\n",
        "session.mp4": SESSION,
        "drawing.mp4": '<svg xmlns="http://www.w3.org/2000/svg"><image href="other.png"/></svg>',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return {name: tmp_path / name for name in texts}


def test_the_hostile_files_work_where_nothing_is_guarded(hostile: dict[str, Path], tmp_path: Path) -> None:
    with av.open(str(hostile["script.mp4"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    with av.open(str(hostile["list.m3u8"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    opened = []

    def watched(url: str, flags: int, options: dict[str, str]) -> object:
        opened.append(Path(url.removeprefix("file:")).name)
        return Path(url.removeprefix("file:")).open("rb")

    movie = reference_movie(tmp_path / "movie.mov", tmp_path / "other.mp4")
    options = {"enable_drefs": "1", "use_absolute_path": "1"}
    with pytest.raises(av.FFmpegError), av.open(f"file:{movie}", io_open=watched, options=options) as container:
        next(container.decode(video=0))
    assert opened == ["movie.mov", "other.mp4"]


@pytest.mark.parametrize("in_memory", [False, True])
def test_what_leads_to_other_files_is_not_opened(hostile: dict[str, Path], in_memory: bool) -> None:
    for name, path in hostile.items():
        data = path.read_bytes() if in_memory else None
        with pytest.raises(VideoError, match="not a readable video"):
            VideoReader(path, data)
        assert probe_size(path, data) is None, name
        with pytest.raises(VideoError, match="not a readable video"):  # before torchcodec sees it
            check_container(path, data)


def test_a_kind_that_is_not_opened_is_named(hostile: dict[str, Path]) -> None:
    with pytest.raises(ContainerError, match="such as a playlist"):
        open_container(hostile["script.mp4"])


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_reference_movie_is_read_without_what_it_refers_to(tmp_path: Path, in_memory: bool) -> None:
    write_clip(tmp_path / "other.mp4")
    movie = reference_movie(tmp_path / "movie.mov", tmp_path / "other.mp4")
    with pytest.raises(VideoError, match=r"movie\.mov"):  # it has no samples of its own
        VideoReader(movie, movie.read_bytes() if in_memory else None)
    whole = write_clip(tmp_path / "whole.mov", "mov")
    with VideoReader(whole) as reader:
        assert reader.num_frames == 5


def test_names_are_files_and_never_protocols_or_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "a.mp4").rename("12:30.mp4")
    write_clip(tmp_path / "b.ts", "mpegts")
    Image.new("RGB", (SIDE, SIDE), "red").save("s0.png")
    with open_container("12:30.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    for name in ("concat:b.ts|b.ts", "subfile,,start,0,end,900,,:b.ts", "s%d.png", "http://127.0.0.1:9/a.mp4"):
        with pytest.raises(ContainerError, match=r"No such file|such as a playlist"):
            open_container(name)


def test_a_name_that_is_no_utf8_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    try:
        write_clip(tmp_path / "a.mp4").rename(path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with VideoReader(path) as reader:
        assert reader.num_frames == 5


def test_postscript_under_another_name_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, ran = tmp_path / "bin" / "gs", tmp_path / "ran"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "$@" > {ran}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    picture = tmp_path / "x.png"
    picture.write_bytes(EPS)
    with Image.open(picture) as unguarded, pytest.raises(CalledProcessError):
        unguarded.load()
    assert "-sOutputFile" in ran.read_text()  # Pillow would have run it
    ran.unlink()
    with pytest.raises(ImageError, match="not an image that can be read; convert it to PNG or JPEG"):
        load_image(picture)
    assert not ran.exists()


class Pickled:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


def test_pickles_in_chunks_are_not_opened(tmp_path: Path) -> None:
    writer = litdata.streaming.writer.BinaryWriter(str(tmp_path / "chunks"), chunk_size=1)
    video = write_clip(tmp_path / "a.mp4").read_bytes()
    writer[0] = {"video": video, "caption": "a", "more": Pickled(tmp_path / "ran")}
    writer.done()
    writer.merge()
    assert litdata.StreamingDataset(str(tmp_path / "chunks"), shuffle=False)[0]["caption"] == "a"
    assert (tmp_path / "ran").is_dir(), "the file should be hostile where nothing is guarded"
    (tmp_path / "ran").rmdir()
    config = {"target": "lvdm.data.litdata_clips.LitDataClips", "params": {"data_dir": str(tmp_path / "chunks")}}
    with pytest.raises(SourceError, match="its items hold 'pickle', which is not read"):
        parse_component(config, "data").build()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><image href="other.png"/></svg>',
        b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        b"\xd7\xcd\xc6\x9a" + bytes(40),
        b"SIMPLE  =                    T" + b" " * 50 + b"END" + b" " * 77,
    ],
)
def test_drawings_and_documents_are_no_images(tmp_path: Path, content: bytes) -> None:
    picture = tmp_path / "x.png"
    picture.write_bytes(content)
    with pytest.raises(ImageError, match=r"x\.png"):
        load_image(picture)
