"""What cannot be made is refused by every surface, before weights are loaded, in the same words.

From afar a flag is the name of its field, and the models that may help are those of the list.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving_client import Server, running
from small_model import picture, small_videocrafter_yaml, write_model, write_small_model
from typer.testing import CliRunner

pytest.importorskip("gradio", reason='the page needs pip install "dynamicrafter[app]"')

from lvdm.app.endpoints import Desk, with_frames
from lvdm.batch.planning import plan_batch
from lvdm.cli.app import app
from lvdm.data.lists import LIST_MODES, STDIN
from lvdm.hosting.library import Library, read_library
from lvdm.hosting.limits import Limits
from lvdm.hosting.words import in_words_of_guests
from lvdm.jobs.model import ChosenModel
from lvdm.request.layers import all_parameters
from lvdm.serving.settings import Settings


@dataclass(frozen=True)
class Case:
    """A request that cannot be made, and how its refusal begins.

    values  parameters as text; files  images by parameter, of those in the folder
    model   of the list
    but     surfaces that say it otherwise, as they are asked otherwise, or cannot be asked for this
    """

    said: str
    values: dict[str, str] = field(default_factory=dict)
    mode: str = "animate"
    files: dict[str, str] = field(default_factory=lambda: {"image": "cat.png"})
    model: str = "small"
    but: tuple[str, ...] = ()


TEXT_ONLY = Case("checkpoint small makes videos from text alone and cannot animate", model="words")
CASES = [
    Case("the prompt is empty; say what should happen", {"prompt": " "}, but=("batch",)),
    Case("num_frames 0 is not possible; use a whole number from 1 to", {"num_frames": "0"}),
    Case("num_inference_steps 1001 is not possible", {"num_inference_steps": "1001"}),
    Case("guidance_scale nan is not possible", {"guidance_scale": "nan"}, but=("http",)),
    Case("height 8 is not possible; use a whole number from 16", {"height": "8"}),
    Case("motion 1.5 is not possible; use a number from 0 to 1", {"motion": "1.5"}),
    Case("seed -1 is not possible", {"seed": "-1"}),
    Case("playback_fps 0.0 is not possible", {"playback_fps": "0"}, but=("batch",)),
    Case("fps and motion set the same thing; give only one of them", {"fps": "20", "motion": "0.5"}),
    Case("checkpoint small does not take frame_stride", {"frame_stride": "3"}),
    Case("sampler 'unipc' adds no noise: use eta 0", {"sampler": "unipc", "eta": "0.5"}),
    Case("sampler 'dmp' is not known", {"sampler": "dmp"}),
    Case("long_video 'freenois' is not known; did you mean 'freenoise'?", {"long_video": "freenois"}),
    Case("camera 'spin' is not known", {"camera": "spin"}),
    Case("free_init: iterations 1000 is not possible; use 1 to 10", {"free_init": "iterations=1000"}),
    Case("--prompt-at 'soon' should be FRAME=PROMPT", {"prompts_at": "soon"}),
    Case(
        "between needs a checkpoint that animates",
        {"between": "vibid"},
        "interpolate",
        {"image": "cat.png", "end_image": "cat.png"},
        "words",
    ),
    Case("give two images, the first and the last frame", mode="interpolate", but=("batch",)),
    Case("animate does not read between", {"between": "trf"}, but=("page",)),
    TEXT_ONLY,
    Case("checkpoint small needs an image and cannot make a video from text alone", mode="text-to-video", files={}),
    Case("checkpoint small reads no depth", mode="structure", files={"depth": "depth.npz"}, but=("batch",)),
    Case("FILE: not an image that can be read; convert it to PNG or JPEG", files={"image": "letter.png"}),
    Case("FILE: damaged or incomplete", files={"image": "half.png"}),
    Case("FILE: 4x4 is too small", files={"image": "speck.png"}),
    Case("FILE: the mask selects nothing", files={"image": "cat.png", "keep_mask": "black.png"}),
]


def refused_by(function: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        function()
    return str(error.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("words")
    picture().save(place / "cat.png")
    (place / "letter.png").write_text("dear reader")
    (place / "half.png").write_bytes((place / "cat.png").read_bytes()[:300])
    Image.new("RGB", (4, 4)).save(place / "speck.png")
    Image.new("L", (32, 32)).save(place / "black.png")
    np.savez(place / "depth.npz", depth=np.tile(np.arange(32.0), (4, 32, 1)))
    return place


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    models = tmp_path_factory.mktemp("models")
    write_small_model(models / "small")
    write_model(models / "words", small_videocrafter_yaml())
    return read_library([f"small={models / 'small'}", f"words={models / 'words'}"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, library: Library) -> Iterator[Server]:
    with running(Settings(tmp_path_factory.mktemp("jobs") / "jobs", library.models)) as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: ChosenModel) -> None:
        raise AssertionError("weights were loaded before the request was checked")

    monkeypatch.setattr(ChosenModel, "load", load)


def command_line(case: Case, folder: Path, library: Library) -> str:
    first = [str(folder / case.files[name]) for name in ("image", "end_image") if name in case.files]
    rest = {name: str(folder / file) for name, file in case.files.items() if name not in ("image", "end_image")}
    values = {"prompt": "a ball", "checkpoint": str(library.models[case.model].files.checkpoint.parent)}
    flags = {all_parameters()[name].flag: text for name, text in (values | rest | case.values).items()}
    words = [case.mode, *first, *(word for flag in flags.items() for word in flag)]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code in (1, 2), ran.output
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


def http(case: Case, folder: Path, server: Server) -> str:
    before = server.left()
    data = {"prompt": "a ball", "model": case.model, "mode": case.mode, **case.values}
    fields: dict[str, Any] = {name: (None, text) for name, text in data.items()}
    files = {name: (folder / file).read_bytes() for name, file in case.files.items()}
    answer = server.client.post("/v1/videos", files=fields | files)
    return server.message(answer, 400, before)


def page(case: Case, folder: Path, library: Library, job: Path) -> str:
    desk = Desk(library, Limits(), job, "cpu")
    job.mkdir()
    uploads = {}
    for name, file in case.files.items():  # what is refused is removed
        uploads[name] = job / file
        uploads[name].write_bytes((folder / file).read_bytes())
    given = {"model": case.model, "prompt": "a ball", **case.values, **uploads}

    def made() -> None:
        mode, values = with_frames(case.mode, desk.values(list(given), list(given.values())), 4)
        desk.maker.plan(mode, desk.maker.receive(values, job) | {"output": job / "video.mp4"})

    return refused_by(made)


def row_of_a_list(case: Case, folder: Path, library: Library) -> str:
    text = io.StringIO()
    row = {"prompt": "a ball", "mode": case.mode, **case.values, **{n: str(folder / f) for n, f in case.files.items()}}
    writer = csv.DictWriter(text, row)
    writer.writeheader()
    writer.writerow(row)
    models = library.models[case.model].values
    plan = plan_batch(STDIN, text.getvalue(), output=folder / "out", **models)  # type: ignore[arg-type]
    return plan.bad[0].problem


NAME = re.compile(r"^(?:\S*/)?(?:letter|half|speck|black|image|keep_mask)(?:\.png)?(?=: )")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.said[:40])
def test_a_refusal_has_the_same_words_everywhere(
    case: Case, folder: Path, library: Library, server: Server, tmp_path: Path
) -> None:
    assert case.mode in LIST_MODES or "batch" in case.but
    said = {"command line": command_line(case, folder, library)}
    if "http" not in case.but:
        said["http"] = http(case, folder, server)
    if "page" not in case.but:
        said["page"] = page(case, folder, library, tmp_path / "job")
    if "batch" not in case.but:
        said["batch"] = row_of_a_list(case, folder, library)
    assert NAME.sub("FILE", said["command line"]).startswith(case.said), said
    assert "--" not in said.get("http", ""), "HTTP has no options"
    words = {name: NAME.sub("FILE", in_words_of_guests(line, library.models)) for name, line in said.items()}
    assert set(words.values()) == {words["command line"]}, words
