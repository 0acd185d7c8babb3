"""Help, dry runs and refusals of requests, in a process where torch cannot be imported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image
from processes import fresh_environment

from lvdm.cli.app import app

ROOT = Path(__file__).parents[2]
BLOCKED = """
import json, sys
from pathlib import Path

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pytorch_lightning"):
            raise ImportError(f"{name} was asked for")

sys.meta_path.insert(0, NoTorch())
"""
RUN = (
    BLOCKED
    + """
import functools
import typer.testing
from typer.testing import CliRunner
from lvdm.cli.app import app

typer.testing._get_command = functools.cache(typer.testing._get_command)  # 24 commands with all their options
found = []
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, arguments)
    found.append([result.exit_code, result.output, repr(result.exception)])
assert "torch" not in sys.modules
print(json.dumps(found))
"""
)
PROMPT = ("-p", "a ball falls")


def commands_of(command: Any, words: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """The words of a command and of all below it."""
    yield list(words)
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands_of(inner, (*words, name))


HELP = list(commands_of(typer.main.get_command(app)))
REFUSED = {
    "value": (["animate", "a.png", *PROMPT, "--steps", "0"], "num_inference_steps 0 is not possible"),
    "option of a method": (["animate", "a.png", *PROMPT, "--camera", "spin"], "camera 'spin' is not known"),
    "methods": (["animate", "a.png", *PROMPT, "--camera", "hold", "--free-init", "level=0.8"], "give only one of them"),
    "mode": (["text-to-video", "a ball", "--camera", "hold"], "text-to-video does not read camera"),
    "missing prompt": (["animate", "a.png"], "the prompt is empty"),
    "missing image": (["animate", "gone.png", *PROMPT], "gone.png: there is no such file"),
    "damaged image": (["animate", "bad.png", *PROMPT], "bad.png: not an image that can be read"),
    "card": (["text-to-video", "a ball"], "needs an image and cannot make a video from text alone"),
    "fs of the card": (["animate", "a.png", *PROMPT, "--condition-fps", "8"], "does not take fps"),
    "list": (["animate", "--prompts", "list.csv"], "list.csv"),
    "preset": (["animate", "a.png", *PROMPT, "--preset", "2048"], "preset '2048' is not known"),
    "record": (["animate", "--replay", "no.json"], "no.json is not the record of a video made here"),
    "place": (["animate", "a.png", *PROMPT, "-o", "a.xyz"], "a.xyz"),
    "extend without a video": (["extend", *PROMPT], "give a video to go on with"),
    "extend nothing": (["extend", "gone.mp4", *PROMPT], "gone.mp4: there is no such file"),
    "extend by too little": (["extend", "ball.mp4", *PROMPT, "--overlap", "20"], "an overlap of 20 is not possible"),
    "extend onto itself": (["extend", "ball.mp4", *PROMPT, "-o", "ball.mp4"], "would replace the video"),
    "extend and a method": (["extend", "ball.mp4", *PROMPT, "--truncated-start", "0.9"], "leave out truncated_start"),
    "story": (["story", "make", "no.yaml"], "no.yaml: there is no such file"),
    "story without an endpoint": (["story", "write", "an idea"], "no language model is asked unless"),
    "record of an extension": (["extend", "--replay", "no.json"], "no.json is not the record of an extended video"),
}
DRY = {
    "animate": (["animate", "a.png", *PROMPT], "a_animate_123.mp4: animate, 128x128, 16 frames"),
    "interpolate": (
        ["interpolate", "a.png", "a.png", *PROMPT],
        "GB of memory needed on cpu (process",
    ),
    "loop": (["loop", "a.png", *PROMPT, "--num-frames", "32", "--low-memory"], "loop, 128x128, 32 frames"),
    "key frames": (["animate", "a.png", *PROMPT, "--keyframe", "8=a.png"], "a_keyframes_123.mp4"),
    "list": (["animate", "--prompts", "good.csv"], "2 of 2 videos to make"),
    "mask": (["animate", "a.png", *PROMPT, "--keep-mask", "mask.png", "--camera", "hold"], "digest"),
    "second stage": (["animate", "a.png", *PROMPT, "--second-stage-unet", "{tiny}"], "weights 78.1 MB"),
    "extend": (["extend", "ball.mp4", *PROMPT], "ball.mp4 (5 frames) and 12 new frames in 1 segment, overlap 4"),
    "batch": (["batch", "good.csv", "--output", "out"], "2 of 2 videos to make; 0 rows cannot be made"),
}
"""What `--dry-run` says, of every command that the embedded model can do."""


def run(code: str, *arguments: str, folder: Path) -> Any:
    command = [sys.executable, "-c", code, *arguments]
    environment = fresh_environment()  # a rank that an earlier test has left asks for torch
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str, str]]:
    """Exit code, output and exception of each command."""
    folder = tmp_path_factory.mktemp("here")
    Image.new("RGB", (64, 64), "red").save(folder / "a.png")
    (folder / "bad.png").write_bytes(b"nothing")
    (folder / "list.csv").write_text("image,promt\na.png,a ball\n")
    (folder / "good.csv").write_text("image,prompt\na.png,a ball\na.png,a cat\n")
    (folder / "no.json").write_text("{}")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    mask.save(folder / "mask.png")
    shutil.copyfile(ROOT / "tests/golden/frozen/records/ball.mp4", folder / "ball.mp4")
    tiny = str(ROOT / "checkpoints/tiny/model.safetensors")
    commands = [[*command, "--help"] for command in HELP] + [command for command, _ in REFUSED.values()]
    commands += [[word.format(tiny=tiny) for word in command] + ["--dry-run"] for command, _ in DRY.values()]
    return [tuple(found) for found in run(RUN, json.dumps(commands), folder=folder)]


@pytest.mark.parametrize("number", range(len(HELP)), ids=[" ".join(command) or "all" for command in HELP])
def test_help(results, number: int) -> None:
    code, output, exception = results[number]
    assert (code, exception) == (0, "None") or "SystemExit(0)" in exception, output + exception
    assert "usage" in output.lower()


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(results, name: str) -> None:
    code, output, exception = results[len(HELP) + list(REFUSED).index(name)]
    assert "was asked for" not in output + exception, "torch is imported before this is refused"
    assert code == 2, output + exception
    assert re.sub(r"\s+", " ", REFUSED[name][1]) in re.sub(r"\s+", " ", output)


@pytest.mark.parametrize("name", DRY)
def test_dry_runs(results, name: str) -> None:
    code, output, exception = results[len(HELP) + len(REFUSED) + list(DRY).index(name)]
    assert "was asked for" not in output + exception, "torch is imported for a dry run"
    assert code == 0, output + exception
    assert re.sub(r"\s+", " ", DRY[name][1]) in re.sub(r"\s+", " ", output)
    assert "dry run: nothing was made" in output


SCRIPTS = (
    BLOCKED
    + """
import runpy
found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[:] = arguments
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as stopped:
        found.append(stopped.code)
print(json.dumps(found))
"""
)


def test_scripts_of_a_checkout(tmp_path: Path) -> None:
    inference, trainer = (str(ROOT / name) for name in ("scripts/evaluation/inference.py", "main/trainer.py"))
    missing = ["--config", "no.yaml", "--ckpt_path", "no.ckpt", "--prompt_dir", "none", "--savedir", "out"]
    commands = [[inference, "--help"], [trainer, "--help"], [inference, *missing]]
    assert run(SCRIPTS, json.dumps(commands), folder=tmp_path) == [0, 0, 2]


MODULES = (
    *(
        "lvdm.request.layers",
        "lvdm.request.schema",
        "lvdm.plugins.registry",
        "lvdm.plugins.conflicts",
        "lvdm.request.settings",
    ),
    *("lvdm.request.effects", "lvdm.model_card", "lvdm.model_files", "lvdm.sizes", "lvdm.media.images"),
    *("lvdm.media.masks", "lvdm.media.video_writer", "lvdm.pipeline.requests", "lvdm.jobs.plan", "lvdm.data.prompts"),
)
ADD = (
    BLOCKED
    + """
import importlib, types
for name in sys.argv[2:]:
    importlib.import_module(name)
for name in [name for name in sys.modules if name.startswith("lvdm")]:
    del sys.modules[name]

# a method is added: its file, and what is written anew from it
from lvdm.plugins import methods, registry
methods.__path__.append(sys.argv[1])
written = types.ModuleType("lvdm.plugins.all_parameters")
sys.modules[written.__name__] = written
exec(registry.source_of_parameters(), written.__dict__)

from typer.testing import CliRunner
from lvdm.cli.app import app
from lvdm.request.settings import GenerationSettings
from lvdm.request.digest import setting_facts
from lvdm.request.schema import json_schema

settings = GenerationSettings(noise_gain=0.5)
help = CliRunner().invoke(app, ["animate", "--help"], env={"COLUMNS": "200"}).output
try:
    refused = GenerationSettings(noise_gain=0.5, camera="hold").camera
except ValueError as error:
    refused = str(error)
print(json.dumps({
    "help": "--noise-gain" in help,
    "record": settings.as_dict()["noise_gain"],
    "digest": setting_facts(settings)["noise_gain"],
    "schema": json_schema("animate")["properties"]["noise_gain"]["maximum"],
    "refused": refused,
}))
"""
)


def test_declarations_and_plans_are_imported_and_an_added_method_reaches_all_of_them(tmp_path: Path) -> None:
    """The example of CONTRIBUTING.md; `tests/plugins/test_adding_a_method.py` makes a video with it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    example = next(block for block in blocks if 'name="noise_gain"' in block)
    (tmp_path / "noise_gain.py").write_text(example, encoding="utf-8")
    found = run(ADD, str(tmp_path), *MODULES, folder=tmp_path)
    assert found.pop("refused").startswith("camera and noise_gain both make the noise that sampling begins with")
    assert found == {"help": True, "record": 0.5, "digest": 0.5, "schema": 2}
