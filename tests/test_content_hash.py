"""What files hold is hashed once, and again whenever it may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lvdm.content_hash
from lvdm.content_hash import HashStore, content_hash, hash_bytes, read_hash
from lvdm.media.atomic import OutputError
from lvdm.progress import Progress


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that are read, in order."""
    paths: list[Path] = []

    def recorded(path: Path) -> str:
        paths.append(path)
        return read_hash(path)

    monkeypatch.setattr(lvdm.content_hash, "read_hash", recorded)
    return paths


def rewrite_silently(path: Path, content: bytes) -> None:
    """New content of the same length, with the old times and in the same inode."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_hashes_are_sha256_of_files_and_of_listings_of_folders(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b").write_bytes(b"x" * (1 << 22) + b"y")  # more than one block
    (tmp_path / "sub" / "a").write_bytes(b"")
    whole = hashlib.sha256(b"x" * (1 << 22) + b"y").hexdigest()
    assert content_hash(tmp_path / "b") == read_hash(str(tmp_path / "b")) == whole
    listing = f"{whole}  b\n{hashlib.sha256(b'').hexdigest()}  sub/a\n"
    assert content_hash(tmp_path) == hash_bytes(listing.encode()) == hashlib.sha256(listing.encode()).hexdigest()
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "absent")


def test_a_known_file_is_not_read_and_a_changed_one_is(tmp_path: Path, read: list[Path]) -> None:
    file, store = tmp_path / "a", HashStore()
    file.write_bytes(b"one")
    first = store.hash(file)
    assert store.hash(file) == first
    assert len(read) == 1
    rewrite_silently(file, b"two")
    assert store.hash(file) == first, "size, time and inode are the same: it is not read"
    assert store.hash(file, verify=True) == hash_bytes(b"two")
    os.utime(file, ns=(0, 1))
    assert store.hash(file) == hash_bytes(b"two")
    assert len(read) == 3


def test_another_file_moved_into_the_place_is_read(tmp_path: Path) -> None:
    """An editor that writes beside a file and moves, with the times kept: only the inode tells."""
    file, other, store = tmp_path / "a", tmp_path / "b", HashStore()
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    shutil.copystat(file, other)
    store.hash(file)
    os.replace(other, file)
    assert store.hash(file) == hash_bytes(b"two")


def test_a_change_deep_in_a_folder_is_seen(tmp_path: Path, read: list[Path]) -> None:
    (tmp_path / "clip" / "frames").mkdir(parents=True)
    frame = tmp_path / "clip" / "frames" / "1.png"
    frame.write_bytes(b"one")
    store = HashStore()
    first = store.hash(tmp_path / "clip")
    assert store.hash(tmp_path / "clip") == first
    assert read == [tmp_path / "clip", frame], "a known folder is read again"
    frame.rename(frame.with_name("2.png"))
    assert store.hash(tmp_path / "clip") != first, "a file of another name is another folder"


def test_what_is_known_is_kept_on_the_disk(tmp_path: Path, read: list[Path]) -> None:
    memory, file = tmp_path / "memory.json", tmp_path / "a"
    file.write_bytes(b"one")
    reports: list[Progress] = []
    HashStore(memory).hash_all([file, file, tmp_path / "absent"], 2, reports.append)
    assert reports == [Progress("files", 1, 2), Progress("files", 2, 2)]
    rewrite_silently(file, b"two")
    assert HashStore(memory).hash(file) == hash_bytes(b"one")
    assert HashStore(memory).remember("x", lambda: "s", lambda: "h") == "h"
    for damage in ("damaged", "[1]", json.dumps({str(file): "x"})):
        memory.write_text(damage)
        with pytest.raises(OutputError, match=r"memory\.json holds no hashes of files; remove it"):
            HashStore(memory)
        assert memory.read_text() == damage, "a file that is not ours was replaced"


def test_two_processes_add_to_one_file(tmp_path: Path) -> None:
    memory = tmp_path / "memory.json"
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    first, second = HashStore(memory), HashStore(memory)
    first.hash(tmp_path / "a")
    second.hash(tmp_path / "b")
    first.save()
    second.save()
    assert set(json.loads(memory.read_text())) == {str(tmp_path / "a"), str(tmp_path / "b")}
    saved = memory.stat().st_mtime_ns
    second.save()
    assert memory.stat().st_mtime_ns == saved, "nothing new, nothing written"


def test_what_changes_while_it_is_read_is_not_remembered() -> None:
    stamps = iter(["1", "2", "2", "2"])
    store = HashStore()
    assert store.remember("a", lambda: next(stamps), lambda: "half") == "half"
    assert store.remember("a", lambda: next(stamps), lambda: "whole") == "whole"


def test_threads_agree(tmp_path: Path) -> None:
    files = [tmp_path / str(i) for i in range(20)]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i]) * 1000)
    store = HashStore(tmp_path / "memory.json")

    def work(turn: int) -> list[str]:
        found = [store.hash(file) for file in files]
        store.save()
        return found

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(16)))
    assert all(found == [read_hash(file) for file in files] for found in results)
    assert len(json.loads((tmp_path / "memory.json").read_text())) == len(files)


def test_hashing_needs_no_torch() -> None:
    command = "import sys, lvdm.content_hash; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)
