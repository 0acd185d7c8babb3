"""Small videos, a small model and a training YAML, and the cache that the command makes of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml
from small_model import small_yaml, write_small_model
from typer.testing import CliRunner, Result

from lvdm.cli.app import app

LENGTHS = {"a": 12, "b": 9, "short": 3, "d": 7}
"""Frames of the videos; a clip needs 4."""

OPTIONS: dict[str, Any] = {"video_length": 4, "frame_stride": 3, "random_fs": True}


def write_noise_video(path: Path, num_frames: int, seed: int, height: int = 40, width: int = 56) -> None:
    """Random blocks of colour, others in every frame."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for _ in range(num_frames):
            blocks = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(blocks, format="rgb24")))
        container.mux(stream.encode())


def write_training(folder: Path, **model: Any) -> Path:
    """Videos (one too short, one broken), the model's weights, and train.yaml; returns its path."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    for seed, (name, length) in enumerate(LENGTHS.items()):
        write_noise_video(videos / f"{name}.mp4", length, seed)
        (videos / f"{name}.txt").write_text(f"a video called {name}")
    (videos / "broken.mp4").write_bytes(b"no video at all")
    (videos / "broken.txt").write_text("nothing")
    write_small_model(folder / "model")
    tree = small_yaml()
    del tree["sampling"]
    tree["model"]["params"] |= {"rand_cond_frame": True, "uncond_prob": 0.3, **model}
    tree["model"]["pretrained_checkpoint"] = str(folder / "model" / "model.safetensors")
    source = {"data_dir": str(videos), "resolution": [32, 32], **OPTIONS}
    tree["data"] = {
        "target": "utils_data.DataModuleFromConfig",
        "params": {"batch_size": 2, "train": {"target": "lvdm.data.video_folder.VideoFolder", "params": source}},
    }
    tree["lightning"] = {"trainer": {"max_steps": 2, "accelerator": "cpu", "log_every_n_steps": 1}}
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def change(config: Path, to: Path, **edits: Any) -> Path:
    """The YAML `config` with values replaced at dotted paths (__ for a dot), written to `to`; returns `to`."""
    tree = yaml.safe_load(config.read_text())
    for place, value in edits.items():
        *outer, last = place.split("__")
        node = tree
        for key in outer:
            node = node[key]
        node[last] = copy.deepcopy(value)
    to.write_text(yaml.safe_dump(tree))
    return to


def run_cache(config: Path, folder: Path, *options: str) -> Result:
    """`dynamicrafter data cache`."""
    arguments = ["data", "cache", str(folder), "--config", str(config), "--device", "cpu", *options]
    return CliRunner().invoke(app, arguments)
