"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lvdm.media.atomic import OutputError, atomic_path, check_writable, name_beside, together, write_json


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such access rights")
def test_weights_can_be_read_by_those_who_can_read_other_files(tmp_path: Path) -> None:
    """safetensors makes its files for the owner alone; a model that a server serves is read by another user."""
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with atomic_path(tmp_path / "weights.safetensors") as path:
        save_file({"weight": torch.zeros(1)}, path)
    with atomic_path(tmp_path / "text.json") as path:
        path.write_text("{}")
        path.chmod(0o600)
    for name in ("weights.safetensors", "text.json"):
        assert (tmp_path / name).stat().st_mode == ordinary.stat().st_mode, f"{name} has other access rights"
    assert sorted(os.listdir(tmp_path)) == ["ordinary", "text.json", "weights.safetensors"], "something was left behind"


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("before")

    def write_half() -> None:
        with atomic_path(target) as path:
            path.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_half()
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["file.txt"], "the temporary file was left"


def test_threads_that_write_the_same_file_leave_one_whole(tmp_path: Path) -> None:
    """Names of temporary files that carried only the process were shared by its threads."""
    target, failures = tmp_path / "file.txt", list[BaseException]()
    barrier = threading.Barrier(4)

    def write(number: int) -> None:
        try:
            check_writable(target)
            with atomic_path(target) as path:
                barrier.wait(10)
                path.write_text(str(number) * 1000)
                barrier.wait(10)
                assert path.read_text() == str(number) * 1000, "another thread wrote into this one's file"
        except BaseException as error:  # shown by the test
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(set(target.read_text())) == 1
    assert os.listdir(tmp_path) == ["file.txt"], "a temporary file was left"


@pytest.mark.skipif(sys.platform == "win32", reason="lengths are those of Linux file systems")
def test_the_longest_names_of_the_file_system_work_and_longer_ones_are_refused_before(tmp_path: Path) -> None:
    for stem in ("x" * 250, "é" * 125):
        check_writable(tmp_path / f"{stem}.json")
        write_json(tmp_path / f"{stem}.json", {})
        assert (tmp_path / f"{stem}.json").is_file()
        with pytest.raises(OutputError, match="the name is too long") as caught:
            check_writable(tmp_path / f"{stem}xx.json")
        assert len(str(caught.value)) < 300, "the name is repeated in full"


def test_asking_whether_a_file_can_be_made_makes_no_folder(tmp_path: Path) -> None:
    """A dry run left the folder of its output."""
    check_writable(tmp_path / "new/folder/a.mp4")
    (tmp_path / "file").touch()
    (tmp_path / "loose").symlink_to("nowhere")
    for place in ("file/a.mp4", "file/new/a.mp4", "loose/a.mp4", f"new/{'x' * 300}/a.mp4", f"new/{'x' * 300}.mp4"):
        with pytest.raises(OutputError, match="nothing was written"):
            check_writable(tmp_path / place)
    assert sorted(os.listdir(tmp_path)) == ["file", "loose"]


def write_both(folder: Path, *, fail_in: str = "") -> None:
    with together() as files:
        for name in ("a.mp4", "a.json"):
            with files.path(folder / name) as temporary:
                temporary.write_text(f"new {name}")
                if fail_in == name:
                    raise RuntimeError("in the middle")
        assert not [path for path in folder.glob("[!.]*.mp4") if path.read_text() == "new a.mp4"]
        if fail_in == "the end":
            raise RuntimeError("in the middle")


def test_what_a_killed_process_left_is_removed_with_the_next_one_when_it_is_old(tmp_path: Path) -> None:
    """Each kill left a hidden file for ever; one that is young may be in the making, on another machine too."""
    old, young = (
        [
            name_beside(tmp_path / name, state)
            for name, state in (("a.mp4", "part"), ("a.json", "part"), ("a.mp4", "before"))
        ]
        for _ in range(2)
    )
    others = [
        tmp_path / name for name in (".a.notes.mp4", ".a.1-abcdefgh.part.mp4", "a.1-abcdef01.part.mp4", ".ab.mp4")
    ]
    others.append(name_beside(tmp_path / "ab.mp4", "part"))
    for path in (*old, *young, *others):
        path.write_text("x")
    frames = name_beside(tmp_path / "a.mp4", "part")
    frames.mkdir()
    for path in (*old, frames, *others):
        os.utime(path, (0, 0))
    write_both(tmp_path)
    left = sorted([path.name for path in (*young, *others)] + ["a.json", "a.mp4"])
    assert sorted(os.listdir(tmp_path)) == left


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("before", [{}, {"a.mp4": "old video"}, {"a.mp4": "old video", "a.json": "old record"}])
def test_files_appear_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: dict[str, str]
) -> None:
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    for place in ("a.mp4", "a.json", "the end"):
        with pytest.raises(RuntimeError, match="in the middle"):
            write_both(tmp_path, fail_in=place)
        assert contents(tmp_path) == before
    replace = os.replace
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def refuse(source: Path, target: Path, error: BaseException = error) -> None:
            if Path(target).name == "a.json" and ".part" in Path(source).name:
                raise error
            replace(source, target)

        monkeypatch.setattr("os.replace", refuse)
        with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
            write_both(tmp_path)
        assert contents(tmp_path) == before, "a video without its record"
    monkeypatch.setattr("os.replace", replace)
    write_both(tmp_path)
    assert contents(tmp_path) == {"a.mp4": "new a.mp4", "a.json": "new a.json"}


def test_what_stood_there_is_back_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    (tmp_path / "a.mp4").write_text("old video")
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match=r"a\.json"):
        write_both(tmp_path)
    assert (tmp_path / "a.mp4").read_text() == "old video"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.mp4"]


def test_names_that_are_no_utf8_are_stored_so_that_they_are_read_again(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9/\xff")
    write_json(tmp_path / "a.json", {name: [name, "gr\u00fcn \U0001f600"]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {name: [name, "gr\u00fcn \U0001f600"]}
    assert "gr\u00fcn" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_what_json_cannot_hold_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    for value in (float("nan"), float("inf"), object(), loop, {("a",): 1}):
        with pytest.raises(OutputError, match=r"a\.json: nothing was written: it cannot be stored as JSON") as caught:
            write_json(tmp_path / "a.json", {"value": value})
        assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []
