"""Manifests: paired by id, independent of order, cut by seed and id; procedural ones can be animated."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_videos import write_video

from lvdm.data.prompts import read_requests
from lvdm.evaluation.clip_files import FrameScaling, load_clip
from lvdm.evaluation.manifest import (
    Entry,
    Manifest,
    ManifestError,
    check_pairing,
    read_manifest,
    stills_of,
    write_manifest,
)
from lvdm.evaluation.manifest_making import make_manifest, make_procedural
from lvdm.evaluation.protocols import Protocol, load_protocol
from lvdm.media.atomic import OutputError


def protocol(**fields: object) -> Protocol:
    return load_protocol("procedural-v1", {"frames": 4, "clips": 3, **fields})


def manifest(*ids: str, folder: Path = Path(), **fields: object) -> Manifest:
    entries = tuple(Entry(**{"id": name, "video": f"{name}.npy", "frames": 4, **fields}) for name in ids)
    return Manifest("m.jsonl", folder, entries)


def arrays(folder: Path, *names: str, frames: int = 20) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", np.zeros((frames, 16, 16, 3), np.uint8))
    return folder


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_manifest_comes_back_whole_and_in_the_order_of_ids(suffix: str, tmp_path: Path) -> None:
    prompt = 'a "dot", with\ncommas'
    written = manifest("b", "a", folder=tmp_path, prompt=prompt, fps=7.5, start=3, seed=0, image="i/a.png")
    write_manifest(written, tmp_path / f"m{suffix}")
    found = read_manifest(tmp_path / f"m{suffix}")
    assert found.entries == written.entries
    assert found.ids == ["a", "b"]
    assert found.sha256 == manifest("a", "b", prompt=prompt, fps=7.5, start=3, seed=0, image="i/a.png").sha256
    assert found.sha256 != manifest("a", "c", prompt=prompt, fps=7.5, start=3, seed=0, image="i/a.png").sha256
    assert found.spec(found.entries[0]).image == tmp_path / "i/a.png"


def test_names_that_are_no_utf8_are_kept_by_jsonl_and_refused_by_csv(tmp_path: Path) -> None:
    written = manifest(os.fsdecode(b"caf\xe9"), folder=tmp_path)
    write_manifest(written, tmp_path / "m.jsonl")
    assert read_manifest(tmp_path / "m.jsonl").entries == written.entries
    with pytest.raises(OutputError, match=r"m\.csv: nothing was written: 'caf\\udce9' is no UTF-8; give a \.jsonl"):
        write_manifest(written, tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no clips"),
        ('{"id": "a", "video": "a.mp4"}', "evaluate manifest"),
        ('{"id": "a", "video": "a.mp4", "frames": 4}\n' * 2, "1 ids are there more than once: a"),
        ('{"id": "../a", "video": "a.mp4", "frames": 4}', "cannot be the name of a file"),
        ('{"id": "a", "video": "a.mp4", "frames": 0}', "frames = 0 should be at least 1"),
        ('{"id": "a", "video": "a.mp4", "frames": 4, "promt": "x"}', "did you mean 'prompt'"),
        ('{"id": 3, "video": "a.mp4", "frames": 4}', "id should be a text"),
        ('{"id": "a", "frames": 4}', "missing key video"),
        ("text", "line 1: is not valid JSON"),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_manifest(tmp_path / "m.jsonl")
    assert "\n" not in str(caught.value)


def test_sets_with_other_ids_name_what_is_missing_on_both_sides() -> None:
    check_pairing(manifest("a", "b"), manifest("b", "a"))
    with pytest.raises(ManifestError, match=r"lacks 2 ids of m.jsonl: a, b; m.jsonl lacks 1 ids of m.jsonl: d"):
        check_pairing(manifest("a", "b", "c"), manifest("c", "d"))


def test_starts_depend_on_seed_and_id_alone(tmp_path: Path) -> None:
    folder = arrays(tmp_path, *"abcdefgh", frames=50)
    cut = protocol(clip="random", clips=100)
    made = make_manifest(folder, tmp_path / "m.jsonl", cut, "real", fps=8)
    starts = {entry.id: entry.start for entry in made.entries}
    assert len(set(starts.values())) > 4, "all clips start at about the same frame"
    assert all(0 <= start <= 46 for start in starts.values())
    for name in "abcdefg":
        (folder / f"{name}.npy").unlink()
    (entry,) = make_manifest(folder, tmp_path / "m.jsonl", cut, "real", fps=8).entries
    assert entry.start == starts["h"]
    (entry,) = make_manifest(folder, tmp_path / "m.jsonl", dataclasses.replace(cut, seed=1), "real", fps=8).entries
    assert entry.start != starts["h"]


def test_first_and_all_clips_of_a_video(tmp_path: Path) -> None:
    arrays(tmp_path, "long", frames=20)
    (first,) = make_manifest(tmp_path, tmp_path / "m.jsonl", protocol(stride=3), "real", fps=24).entries
    assert (first.start, first.stride, first.frames, first.fps) == (0, 3, 4, 24)
    every = make_manifest(tmp_path, tmp_path / "m.jsonl", protocol(stride=2, clip="all"), "real", fps=24)
    assert [(entry.id, entry.start) for entry in every.entries] == [("long-000000", 0), ("long-000007", 7)]


def test_no_more_clips_than_the_protocol_asks_for_and_always_the_same(tmp_path: Path) -> None:
    arrays(tmp_path, *"abcdefgh")
    chosen = make_manifest(tmp_path, tmp_path / "m.jsonl", protocol(), "fake", fps=8).ids
    assert len(chosen) == 3
    assert make_manifest(tmp_path, tmp_path / "m.jsonl", protocol(), "real", fps=8).ids == chosen


def test_a_folder_of_every_kind_and_what_is_too_short_or_broken(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    arrays(videos, "deep/array")
    write_video(videos / "film.mp4", 12)
    arrays(videos, "short", frames=3)
    (videos / "broken.mp4").write_text("no video")
    (videos / "frames").mkdir()
    for number in range(4):
        Image.new("RGB", (16, 16)).save(videos / "frames" / f"{number}.png")
    cut = protocol(clips=10, short_videos="skip")
    made = make_manifest(videos, tmp_path / "m.jsonl", cut, "fake", fps=8)
    found = {entry.id: entry for entry in made.entries}
    assert sorted(found) == ["broken", "deep-array", "film", "frames", "short"]
    assert found["film"].fps == pytest.approx(24)
    assert found["frames"].fps == 8
    assert found["short"].skip == "has 3 frames, a clip needs 4"
    assert made.unreadable == ("broken",)
    assert found["broken"].skip == "", "a broken video is to be counted as failed, not as left out"
    assert load_clip(made.spec(found["frames"]), FrameScaling()).frames.shape == (4, 16, 16, 3)
    fails = make_manifest(videos, tmp_path / "m.jsonl", protocol(clips=10), "fake", fps=8)
    assert {entry.skip for entry in fails.entries} == {""}


@pytest.mark.parametrize(("name", "message"), [("empty", "holds no videos"), ("absent", "there is no such file")])
def test_sources_without_videos_are_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    source = tmp_path / name if name == "empty" else tmp_path / "absent.csv"
    with pytest.raises(ValueError, match=message):
        make_manifest(source, tmp_path / "m.jsonl", protocol(), "real")


def test_a_list_keeps_its_columns_and_its_paths_follow_the_manifest(tmp_path: Path) -> None:
    arrays(tmp_path / "set", "a")
    (tmp_path / "set" / "list.csv").write_text('id,video,prompt,seed,fps\nx,a.npy,"a dot, moving",7,12\n')
    made = make_manifest(tmp_path / "set" / "list.csv", tmp_path / "other" / "m.csv", protocol(), "real")
    (entry,) = made.entries
    assert (entry.id, entry.prompt, entry.seed, entry.fps) == ("x", "a dot, moving", 7, 12)
    assert entry.video == "../set/a.npy"


def test_generated_clips_take_inputs_and_time_from_the_real_ones(tmp_path: Path) -> None:
    real = manifest("a", "b", folder=tmp_path / "real", prompt="p", image="a.png", fps=24.0, stride=3)
    fakes = arrays(tmp_path / "fake", "a", "b", frames=4)
    made = make_manifest(fakes, tmp_path / "fake" / "m.jsonl", protocol(), "fake", like=real)
    assert {(entry.prompt, entry.image, entry.fps) for entry in made.entries} == {("p", "../real/a.png", 8.0)}
    arrays(tmp_path / "fake", "c", frames=4)
    with pytest.raises(ManifestError, match=r"lacks 1 ids of m.jsonl: c"):
        make_manifest(fakes, tmp_path / "fake" / "m.jsonl", protocol(), "fake", like=real)


def test_a_rate_is_given_to_files_that_tell_none_and_to_no_others(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    entries = (Entry(id="a", video="a.npy", frames=4), Entry(id="b", video="b.mp4", frames=4))
    more = (Entry(id="c", video="frames", frames=4), Entry(id="d", video="d.npy", frames=4, fps=24.0))
    rated = Manifest("m.jsonl", tmp_path, entries + more).with_rate(12.0)
    assert [entry.fps for entry in rated.entries] == [12.0, None, 12.0, 24.0], "a, c tell no rate; b, d do"


def test_stills_come_from_the_image_or_else_from_the_real_clip() -> None:
    fake, real = manifest("a", "b", folder=Path("f")), manifest("a", "c", folder=Path("r"), start=5)
    a, b = stills_of(fake, real)
    assert (a.video, a.start, a.image, a.still) == (Path("r/a.npy"), 5, None, True)
    assert (b.video, b.image) == (Path("f/b.npy"), None)
    with_image = manifest("a", folder=Path("r"), image="a.png")
    assert stills_of(fake, with_image)[0].image == Path("r/a.png")


def test_procedural_clips_are_a_manifest_and_a_list_to_animate(tmp_path: Path) -> None:
    cut = protocol(frames=6)
    made = make_procedural(tmp_path / "real.jsonl", cut, 3)
    write_manifest(made, tmp_path / "real.jsonl")
    found = read_manifest(tmp_path / "real.jsonl")
    requests = read_requests(tmp_path / "requests.csv")
    assert [request.name for request in requests] == found.ids == ["00000", "00001", "00002"]
    assert [request.prompt for request in requests] == [entry.prompt for entry in found.entries]
    clip = load_clip(found.spec(found.entries[0]), FrameScaling.of(cut))
    assert clip.frames.shape == (6, 64, 64, 3)
    assert clip.image is not None
    difference = (clip.frames[0].float() - clip.image.float()).abs().mean()
    assert difference < 12, f"the input image should be the first frame, it is {difference:.1f} levels off"
    again = make_procedural(tmp_path / "again" / "real.jsonl", cut, 2)
    assert again.entries == found.entries[:2], "a clip should not depend on how many there are"
