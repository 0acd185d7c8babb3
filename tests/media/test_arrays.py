"""Arrays of NumPy in files of others: what is damaged, lies or is no array is one line that names the file."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lvdm.media.arrays import ArrayFileError, read_array
from lvdm.media.depth import DepthError, read_depth


def with_header(header: str) -> bytes:
    """An .npy of version 1 whose header, the literal of a dictionary, is `header`."""
    padded = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + bytes(2000)


def header(shape: str, kind: str = "|u1") -> bytes:
    return with_header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")


DAMAGED = {
    "empty": b"",
    "text": b"text",
    "cut": header("(4, 8, 8, 3)")[:60],
    "short": header("(1000, 8, 8, 3)"),
    "far too large": header("(1000000, 1000, 1000, 3)"),
    "negative": header("(-4, 8, 8, 3)"),
    "objects": header("(2,)", "|O"),
    "brackets": with_header("(" * 90),
    "deep": with_header("[" * 50 + "]" * 50),
    "other keys": with_header("{'a': 1}"),
    "no type": header("(2,)", "what"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_arrays_are_one_line(kind: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.npy", tmp_path / "a.npz"
    plain.write_bytes(DAMAGED[kind])
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("depth.npy", DAMAGED[kind])
    for path in (plain, packed):
        with pytest.raises(ArrayFileError) as caught:
            read_array(path, "depth")
        assert str(caught.value).startswith(f"{path}: not a readable array")
    with pytest.raises(DepthError, match="not a readable array"):
        read_depth(packed, 4)


def test_an_archive_of_gigabytes_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("depth.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff")
        part = archive.getinfo("depth.npy")
        part.file_size = 4_000_000_000
    os.mkfifo(tmp_path / "pipe.npz")
    for name, reason in (("bomb.npz", "would unpack from"), ("pipe.npz", "is not a regular file")):
        with pytest.raises(DepthError, match=reason):
            read_depth(tmp_path / name, 4)


def test_names_of_arrays(tmp_path: Path) -> None:
    values = np.arange(6).reshape(1, 2, 3)
    np.savez(tmp_path / "one.npz", x=values)
    np.savez(tmp_path / "two.npz", x=values, depth=values + 1)
    np.save(tmp_path / "a.npy", values)
    assert (read_array(tmp_path / "one.npz", "depth", alone=True) == values).all()
    assert (read_array(tmp_path / "two.npz", "depth") == values + 1).all()
    assert (read_array(tmp_path / "a.npy", "depth") == values).all()
    with pytest.raises(ArrayFileError, match="holds no array `depth` but x; rename it"):
        read_array(tmp_path / "one.npz", "depth")
    with pytest.raises(ArrayFileError, match="holds no array `video` but x, depth; it should hold one"):
        read_array(tmp_path / "two.npz", "video", alone=True)


def test_images_of_depth_are_in_natural_order_and_pipes_among_them_are_named(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(11):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    assert read_depth(tmp_path, 11)[:, 0, 0].tolist() == [20.0 * number for number in range(11)]
    (tmp_path / "5.png").unlink()
    os.mkfifo(tmp_path / "5.png")
    with pytest.raises(DepthError, match=r"5\.png: is not a regular file"):
        read_depth(tmp_path, 11)
