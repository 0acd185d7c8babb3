"""Records of format 1 that were written before: each is still read, and its video is made again from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from frozen_records import HASH, LATE, LORA, RECORDS, RUNS, SMALL, frames_of, lay_out, video_of, write_models
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.content_hash import content_hash
from lvdm.jobs.extend import plan_extension
from lvdm.jobs.extension_record import read_extension_record
from lvdm.jobs.record import read_record

GREY_LEVELS = 1
"""How far a pixel of a replayed video may be off: rounding on another processor tips one over now and then."""
EXTENSION = "extend"
PYTHON = re.compile(r"object|attribute|indices|iterable|argument|instances|Path[(]| --")
"""What Python or the command line says, in a message about a file."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    write_models(folder)
    lay_out(folder)
    return folder


@pytest.fixture
def there(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the records name, to work in; a replay takes over the number of threads."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(models)
    yield models
    torch.set_num_threads(threads)


def told(run: str) -> Any:
    """The stored record, as it is."""
    return json.loads((RECORDS / f"{run}.json").read_text(encoding="utf-8"))


PRESENT = {
    "weak": "perturbed_guidance",
    "late_weights": "second_stage_unet",
    "late_below": "second_stage_below",
    "start_time": "truncated_start",
}


def told_settings(run: str) -> dict[str, Any]:
    """The settings of the stored record under their present names."""
    found = {PRESENT.get(name, name): value for name, value in told(run)["settings"].items()}
    return found | {"long_video": "cyclic"} if found["long_video"] == "ring" else found


def recipe_hash(folder: Path, text: str) -> str:
    """The hash that the stored record has; of a file that is made by a rule, that of the file."""
    made = HASH.fullmatch(text)
    return text if made is None else content_hash(folder / made[1])


def replay(run: str, output: str, *more: str) -> Any:
    return CliRunner().invoke(app, [RUNS[run][0], "--replay", f"{run}.json", "--output", output, *more])


def test_every_mode_and_kind_of_input_has_a_record() -> None:
    records = {run: told(run) for run in RUNS}
    assert {record["format"] for record in records.values()} == {"dynamicrafter-video/1", "dynamicrafter-extension/1"}
    videos = [record for run, record in records.items() if run != EXTENSION]
    modes = {record["settings"]["mode"] for record in videos}
    assert modes == {"animate", "interpolate", "loop", "keyframes", "text-to-video"}
    for name in ("image", "end_image", "keep_mask", "start_statistics_sha256", "late_weights_sha256", "prompts_at"):
        assert any(record["input"][name] for record in videos), f"no record has {name}"
    assert any(record["model"]["loras"] for record in videos)
    assert any("chosen" in record for record in videos)
    assert sorted(path.stem for path in RECORDS.glob("*.json")) == sorted(RUNS)


@pytest.mark.parametrize("run", [run for run in RUNS if run != EXTENSION])
def test_a_record_is_read_with_all_that_it_says(there: Path, run: str) -> None:
    recipe, record = read_record(there / f"{run}.json"), told(run)
    given, model, runtime, output = (record[name] for name in ("input", "model", "runtime", "output"))

    def path(text: str | None) -> Path | None:
        return None if text is None else Path(text.replace("{FOLDER}", str(there.resolve())))

    assert recipe.video == video_of(run)
    hashes = {(file.parameter, file.frame): file.sha256 for file in recipe.files if file.parameter != "loras"}
    for name in ("image", "end_image", "keep_mask"):
        assert recipe.parameters.get(name) == path(given[name]), name
        assert path(given[name]) is None or path(given[name]).is_file()
    for name in ("image", "end_image", "keep_mask", "start_statistics", "late_weights"):
        told_hash = given[f"{name}_sha256"]
        assert told_hash is None or hashes[PRESENT.get(name, name), None] == recipe_hash(there, told_hash), name
    for name in ("prompt", "negative_prompt", "seed"):
        assert recipe.parameters[name] == given[name], name
    assert recipe.index == given["index"]
    assert recipe.parameters["prompts_at"] == tuple(map(tuple, given["prompts_at"]))
    assert recipe.parameters["keyframes"] == tuple((key["frame"], path(key["image"])) for key in given["keyframes"])
    for key in given["keyframes"]:
        assert hashes["keyframes", key["frame"]] == key["sha256"]
    settings = recipe.settings.as_dict()
    for name, value in told_settings(run).items():
        found = path(value) if isinstance(value, str) and "{FOLDER}" in value else value
        assert settings[name] == (str(found) if isinstance(found, Path) else found), name
    assert (recipe.parameters["config"], recipe.parameters["checkpoint"]) == (
        path(model["config"]),
        path(model["checkpoint"]),
    )
    assert list(recipe.parameters["loras"]) == [(path(x["file"]), x["scale"]) for x in model["loras"]]
    for name in ("device", "dtype", "low_memory", "schedule"):
        assert recipe.parameters[name] == runtime[name], name
    assert (recipe.threads, recipe.digest) == (runtime["threads"], None)
    assert recipe.parameters["playback_fps"] == output["playback_fps"]
    for name in ("scale", "drop_last_frame"):
        assert getattr(recipe, name) == output[name], name
    assert recipe.best_of == record.get("chosen", {}).get("of", 1)
    assert recipe.quality is not None
    assert recipe.quality.as_dict() == record["quality"]


def test_the_record_of_an_extension_is_read(there: Path) -> None:
    job, record = plan_extension(replay=Path("extend.json")), told(EXTENSION)
    assert job.source == there.resolve() / "ball.mp4"
    assert asdict(job.extension) == record["extension"]
    assert (job.request.inputs.prompt, job.request.inputs.negative_prompt, job.request.seed) == ("it goes on", "", 4)
    expected = told_settings(EXTENSION)
    assert {name: value for name, value in job.request.settings.as_dict().items() if name in expected} == expected
    machine, added = job.model.machine, job.model.added
    assert (job.written.playback_fps, machine.dtype, machine.low_memory) == (record["playback_fps"], "fp32", False)
    assert added.loras == ()
    assert job.model.files.checkpoint == there.resolve() / SMALL / "model.safetensors"


def places(tree: Any, *place: Any) -> Iterator[tuple[Any, ...]]:
    """Where a tree has something inside."""
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield (*place, key)
        yield from places(tree[key], *place, key)


def changed(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The tree with another value at that place."""
    copy = json.loads(json.dumps(tree))
    node = copy
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return copy


@pytest.mark.parametrize("run", ["keyframes", EXTENSION])
def test_a_value_of_another_kind_is_named_with_its_file(run: str, tmp_path: Path) -> None:
    record, read = told(run), read_extension_record if run == EXTENSION else read_record
    record["model"]["loras"] = told("lora")["model"]["loras"]
    file, missed = tmp_path / "a.json", set[str]()
    for place in places(record):
        if place[0] in ("format", "versions", "measured", "quality", "drift") or place[:-1] == ("settings",):
            continue  # of settings each one is tried where parameters are
        names = {str(PRESENT.get(key, key)).removesuffix("_sha256") for key in place[1:] or place}
        for value in (["x"], 1.5):
            file.write_text(json.dumps(changed(record, place, value)))
            try:
                read(file)
            except ValueError as error:
                said = any(name in str(error) for name in names) and str(error).startswith(str(file))
                if not said or PYTHON.search(str(error)):
                    missed.add(f"{place} = {value}: {error}")
    assert not missed, "\n".join(sorted(missed))


@pytest.mark.parametrize("run", RUNS)
def test_the_video_is_made_again(there: Path, run: str) -> None:
    result = replay(run, f"{run}_replay.apng")
    assert result.exit_code == 0, result.output
    assert "the video will differ" not in result.stderr, "a file is taken for another one than the record's"
    made, before = frames_of(there / f"{run}_replay.apng"), frames_of(RECORDS / video_of(run))
    assert made.shape == before.shape, f"{run}: {tuple(made.shape)}, was {tuple(before.shape)}"
    off = (made - before).abs()
    assert off.max() <= GREY_LEVELS, (
        f"{run}: {(off > GREY_LEVELS).float().mean():.1%} of it moved, by up to {off.max()}"
    )


def test_a_record_from_before_some_of_its_parts_is_read(there: Path) -> None:
    """Format 1 grew: these were not in the first records of it, and mean then that they were not asked for."""
    record = json.loads((there / "animate.json").read_text(encoding="utf-8"))
    younger = {
        "input": [name for name in record["input"] if name.startswith(("keep", "start", "late", "prompts", "keyf"))],
        "settings": [
            "scale",
            "anchor",
            "camera",
            "start_time",
            "weak",
            "between",
            "long_video",
            "chunk_frames",
        ],
        "output": ["scale"],
        "model": ["loras"],
        "runtime": ["schedule"],
    }
    for part, names in younger.items():
        for name in names:
            del record[part][name]
    del record["quality"]
    (there / "older.json").write_text(json.dumps(record), encoding="utf-8")
    old, new = read_record(there / "older.json"), read_record(there / "animate.json")
    settings = replace(new.settings, truncated_start=1.0)
    given = {name: value for name, value in new.parameters.items() if name != "schedule"}
    expected = replace(new, measures=None, settings=settings, path=old.path, parameters=given)
    assert old == replace(expected, parameters=old.parameters)
    assert {**old.parameters, "prompts_at": (), "keyframes": (), "loras": ()} == given


def test_another_request_is_seen(there: Path) -> None:
    """What the replays above rest on: a record that says a little less guidance gives another video."""
    record = json.loads(Path("animate.json").read_text(encoding="utf-8"))
    record["settings"]["guidance_scale"] -= 0.5
    Path("other.json").write_text(json.dumps(record), encoding="utf-8")
    result = CliRunner().invoke(app, ["animate", "--replay", "other.json", "--output", "other.apng"])
    assert result.exit_code == 0, result.output
    assert (frames_of(there / "other.apng") - frames_of(RECORDS / "animate.apng")).abs().max() > 10


@pytest.mark.parametrize(
    ("run", "file", "complaint"),
    [
        ("animate", "cat.png", "cat.png is no longer the image"),
        ("keyframes", "owl.png", "owl.png is no longer the image of frame 3"),
        ("keep_mask", "mask.png", "mask.png is no longer the mask"),
        ("extend", "ball.mp4", "ball.mp4 is no longer the video"),
        ("lora", LORA, "is another LoRA than"),
        ("late_weights", LATE, "is another checkpoint than the one"),
    ],
)
def test_hashes_of_old_records_are_checked(there: Path, run: str, file: str, complaint: str) -> None:
    """Edited, an input is refused, other weights at least told of."""
    record = there / f"{run}.json"
    text = record.read_text(encoding="utf-8")
    sha256 = hashlib.sha256((there / file).read_bytes()).hexdigest()
    assert sha256 in text
    record.write_text(text.replace(sha256, "0" * 64), encoding="utf-8")
    try:
        result = replay(run, "never.apng", "--dry-run")
    finally:
        record.write_text(text, encoding="utf-8")
    assert complaint in " ".join(result.stderr.split())
