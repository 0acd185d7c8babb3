"""Records of format 1, of every mode, as commands wrote them: the runs, and how their folder is laid out again.

In `tests/golden/frozen/records/` lie the inputs of the runs, and of each run the video and its record, in which
`{FOLDER}` stands for the folder that they lay in and `{SHA256:FILE}` for the hash of a file that is made by a rule.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from frozen_cases import LATE, LONG, LORA, PROMPT, STATISTICS, image
from frozen_videos import write_inputs
from golden_vectors import GOLDEN, rand
from PIL import Image, ImageSequence
from small_model import SIDE, small_videocrafter_yaml, small_yaml, write_model
from torch import Tensor

from lvdm.media.video_writer import write_video

RECORDS = GOLDEN / "frozen" / "records"
FOLDER = "{FOLDER}"
HASH = re.compile(r"\{SHA256:([^}]*)\}")
PICTURES = ("cat", "dog", "owl")
INPUTS = (*(f"{name}.png" for name in PICTURES), "mask.png", "ball.mp4")

SMALL, TEXT = "models/tiny", "models/text"
MADE = (f"{SMALL}/model.safetensors", f"{TEXT}/model.safetensors", LATE, LORA, STATISTICS)
"""Files that are made by a rule. Their last bits may differ from machine to machine, so records do not fix them."""

_ANIMATE = ("animate", "cat.png", "--prompt", PROMPT)
RUNS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "animate": (*_ANIMATE, "--negative-prompt", "a blue square", "--seed", "7", "--motion", "0.5"),
        "interpolate": ("interpolate", "cat.png", "dog.png", "--prompt", PROMPT, "--guidance-rescale", "0.7"),
        "loop": ("loop", "cat.png", "--prompt", PROMPT),
        "loop_plain": ("loop", "cat.png", "--prompt", PROMPT, "--long", "plain"),
        "keyframes": (*_ANIMATE, "--keyframe", "2=dog.png", "3=owl.png"),
        "text_to_video": ("text-to-video", PROMPT, "--checkpoint", TEXT),
        "keep_mask": (*_ANIMATE, "--keep-mask", "mask.png", "--keep-feather", "2"),
        "prompt_at": (*_ANIMATE, "--prompt-at", "2=it stops"),
        "lora": (*_ANIMATE, "--lora", f"{LORA}:0.5"),
        "late_weights": (*_ANIMATE, "--late-weights", LATE, "--late-below", "0.6"),
        "start_statistics": (*_ANIMATE, "--start-time", "0.9", "--start-statistics", STATISTICS),
        "between": ("interpolate", "cat.png", "dog.png", "--prompt", PROMPT, "--between", "vibid", "--steps", "3"),
        "long": (*_ANIMATE, "--frames", str(LONG), "--playback-fps", "12"),
        "larger": (*_ANIMATE, "--width", str(2 * SIDE), "--height", str(2 * SIDE), "--low-memory"),
        "best": (*_ANIMATE, "--seed", "2", "--num-videos", "3", "--keep", "best"),
        "extend": ("extend", "ball.mp4", "--prompt", "it goes on", "--frames", "2", "--overlap", "2", "--seed", "4"),
    }
)
"""Run -> words of the command line, without `--output`."""


def video_of(run: str) -> str:
    """The file that the run writes: lossless."""
    return f"{run}.apng"


def write_pictures(folder: Path) -> None:
    """Inputs that are committed."""
    for name in PICTURES:
        image(name).save(folder / f"{name}.png")
    mask = torch.ones(SIDE, SIDE).tril().mul(255).byte()
    Image.fromarray(mask.numpy()).save(folder / "mask.png")
    write_video(rand("frozen video", (3, 5, SIDE, SIDE)).mul(0.3).clamp(-1, 1), folder / "ball.mp4", 8)


def write_models(folder: Path) -> None:
    """Inputs that are made by a rule, into `folder`."""
    small = write_model(folder / SMALL, small_yaml())
    write_model(folder / TEXT, small_videocrafter_yaml())
    write_inputs(folder, small / "model.safetensors")


def without_place(record: str, folder: Path) -> str:
    """The text of a record without the folder and the hashes of files made by a rule."""
    for name in MADE:
        record = record.replace(_sha256(folder / name), f"{{SHA256:{name}}}")
    return record.replace(str(folder.resolve()), FOLDER)


def lay_out(folder: Path) -> None:
    """Inputs and records into `folder`, as if the runs had been made there. The models are there already."""
    for name in INPUTS:
        shutil.copyfile(RECORDS / name, folder / name)
    for run in RUNS:
        text = (RECORDS / f"{run}.json").read_text(encoding="utf-8").replace(FOLDER, str(folder.resolve()))
        text = HASH.sub(lambda found: _sha256(folder / found[1]), text)
        (folder / f"{run}.json").write_text(text, encoding="utf-8")


def frames_of(path: Path) -> Tensor:
    """The frames (t, H, W, 3) of an animated PNG, 0 to 255."""
    with Image.open(path) as file:
        frames = [np.asarray(frame.convert("RGB"), dtype=np.int16) for frame in ImageSequence.Iterator(file)]
    return torch.from_numpy(np.stack(frames))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
