"""Pipes, devices, sockets and links to themselves in the place of any file are an error, and never waited for."""

from __future__ import annotations

import os
import signal
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lvdm.checkpoint import read_checkpoint
from lvdm.checkpoint.describing import describe
from lvdm.checkpoint.lora import parse_lora_option
from lvdm.checkpoint.pickles import load_pickle
from lvdm.checkpoint.torchscript import read_torchscript
from lvdm.config import load_yaml
from lvdm.content_hash import content_hash
from lvdm.data.captions import CaptionOptions, read_table
from lvdm.data.prompts import read_requests
from lvdm.data.tar_clips import list_members
from lvdm.data.webvid import WebVid, WebVidConfig
from lvdm.documents import read_json, read_yaml
from lvdm.evaluation.clip_files import inspect_file
from lvdm.evaluation.manifest import read_manifest
from lvdm.jobs.extend import plan_extension
from lvdm.jobs.record import read_record
from lvdm.media.depth import read_depth
from lvdm.media.images import load_image
from lvdm.media.masks import to_masks
from lvdm.media.ownership import check_video_replaceable, record_path
from lvdm.media.video_reader import VideoReader
from lvdm.plugins.latent_statistics import read_statistics
from lvdm.regular_files import check_unpacked_sizes, real_path, unreadable_reason

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has none of these in a folder")

READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "checkpoint": ("a.ckpt", read_checkpoint),
    "safetensors": ("a.safetensors", read_checkpoint),
    "info": ("a.ckpt", describe),
    "pickle": ("a.pt", load_pickle),
    "statistics": ("a.safetensors", read_statistics),
    "hash": ("a", content_hash),
    "YAML": ("a.yaml", read_yaml),
    "configuration": ("a.yaml", load_yaml),
    "JSON": ("a.json", read_json),
    "record": ("a.json", read_record),
    "CSV": ("a.csv", read_requests),
    "JSONL": ("a.jsonl", read_requests),
    "sentences": ("a.txt", lambda path: read_requests(path, mode="t2v")),
    "captions": ("a.csv", lambda path: read_table(CaptionOptions(captions=str(path)))),
    "WebVid": ("a.csv", lambda path: WebVid.inventory(WebVidConfig(data_dir=".", meta_path=str(path)))),
    "shard": ("a.tar", list_members),
    "image": ("a.png", load_image),
    "mask": ("a.png", to_masks),
    "video": ("a.mp4", VideoReader),
    "clip": ("a.mp4", inspect_file),
    "depth": ("a.npz", lambda path: read_depth(path, 4)),
    "LoRA": ("a.safetensors", lambda path: parse_lora_option(str(path))),
    "array": ("a.npy", inspect_file),
    "arrays": ("a.npz", inspect_file),
    "manifest": ("a.csv", read_manifest),
    "output": ("a.mp4", check_video_replaceable),
}


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """A reader that waits is interrupted."""

    def stop(signum: int, frame: object) -> None:
        raise TimeoutError("the reader waits for the file")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        held = socket.socket(socket.AF_UNIX)
        held.bind(str(path))
        held.close()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path.name)


@pytest.mark.parametrize("kind", ["pipe", "device", "link to itself"])
@pytest.mark.parametrize("name", READERS)
def test_nothing_is_waited_for(name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    file, read = READERS[name]
    make(kind, Path(file))
    with pytest.raises((ValueError, OSError)) as caught:
        read(Path(file))
    message = str(caught.value)
    assert not isinstance(caught.value, TimeoutError), message
    assert Path(file).stem in message, f"the error does not name the file: {message}"
    assert "\n" not in message
    assert kind == "link to itself" or "is not a regular file" in message or name == "output", message


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_the_reason_says_what_it_is(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(kind, Path("x"))
    assert unreadable_reason("x") == "is not a regular file"
    depth, lora = READERS["depth"][1], READERS["LoRA"][1]
    for read in (read_checkpoint, load_image, VideoReader, read_yaml, load_yaml, depth, lora):
        with pytest.raises(ValueError, match="is not a regular file"):
            read(Path("x"))
    make("link to itself", Path("y"))
    assert unreadable_reason("y") == "is a link that leads back to itself"
    assert unreadable_reason("gone") == "there is no such file"
    assert unreadable_reason("a\0b") == "is no name of a file"
    Path("file").touch()
    assert unreadable_reason("file") is None


def test_a_pipe_beside_an_output_is_not_waited_for(tmp_path: Path) -> None:
    make("pipe", tmp_path / "a.json")
    check_video_replaceable(tmp_path / "a.mp4")
    assert record_path(tmp_path / "a.mp4") == tmp_path / "a.mp4.json", "the record should get another name"


def bomb(path: Path, *names: str) -> Path:
    """An archive of a kilobyte whose parts say that they unpack to 600 MB."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 99)
    packed, unpacked = (99).to_bytes(4, "little"), (600_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(packed + packed, packed + unpacked))
    return path


def test_archives_are_weighed_before_they_are_unpacked(tmp_path: Path) -> None:
    path = bomb(tmp_path / "a.ckpt", "archive/data.pkl")
    for read in (read_checkpoint, describe):
        with pytest.raises(ValueError, match=r"a\.ckpt .*'archive/data\.pkl' in it would unpack from .* 600,000,000"):
            read(path)
    check_unpacked_sizes(path, 1_000_000_000)
    with pytest.raises(ValueError, match="would unpack"):
        read_torchscript(bomb(tmp_path / "a.pt", "archive/constants.pkl", "archive/data.pkl"))
    with pytest.raises(OSError, match=r"'all of it' in it would unpack from .* to 1,200,000,000"):
        check_unpacked_sizes(bomb(tmp_path / "b.npz", "a", "b"), 1_000_000_000)


def test_flat_videos_compress_well_and_are_no_bombs(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "black.npz", np.zeros((16, 64, 64, 3), np.uint8))
    assert inspect_file(tmp_path / "black.npz").num_frames == 16
    with pytest.raises(ValueError, match=r"bomb\.npz: .* would unpack from"):
        inspect_file(bomb(tmp_path / "bomb.npz", "a.npy", "b.npy"))


def test_where_a_link_to_itself_leads_is_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "link.mp4").symlink_to("video.mp4")
    assert real_path(tmp_path / "loop.mp4") == Path(os.path.realpath(tmp_path)) / "loop.mp4"
    assert real_path(tmp_path / "link.mp4") == real_path(tmp_path / "video.mp4")
    with pytest.raises(ValueError, match=r"loop\.mp4: is a link that leads back to itself|there is no such file"):
        plan_extension(tmp_path / "loop.mp4", prompt="a", output=tmp_path / "out.mp4")
