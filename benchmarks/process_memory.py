"""The memory plan of a CPU against the peak of the process: 5 % too low at most, and 25 % too high.

    python benchmarks/process_memory.py                  # the embedded model and a random one of middle size
    python benchmarks/process_memory.py --only tiny

Each setting is a run of `dynamicrafter`'s own code in a process of its own, with one step: further steps take no more.
The peak is that of the whole process (`VmHWM`), videos written and measured; Linux only. Exits with 1 where the promise
of docs/memory.md is broken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from lvdm.checkpoint.writing import write_safetensors
from lvdm.config import load_model_config, load_yaml
from lvdm.model_files import REPOSITORY

OVER, UNDER = 1.05, 1.25
IMAGE = REPOSITORY / "prompts" / "tiny" / "08_red_star.png"
CLIP = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 224, "layers": 8, "width": 256, "head_width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4},
}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("tiny", {}),
    ("tiny", {"height": 256, "width": 256, "scale": "off"}),
    ("tiny", {"height": 320, "width": 320, "scale": "off", "decode_chunk_size": 16}),
    ("small", {}),
    ("small", {"max_memory": "1200MB"}),
    ("tiny", {"height": 256, "width": 256, "scale": "off", "max_memory": "1400MB"}),
    ("tiny", {"height": 384, "width": 384, "scale": "off", "max_memory": "1600MB"}),
    ("mid", {"height": 128, "width": 192, "guidance_scale": 1.0}),
    ("mid", {"height": 192, "width": 256, "guidance_scale": 2.0, "num_frames": 8}),
    ("mid", {"height": 192, "width": 256, "guidance_scale": 2.0, "num_frames": 8, "max_memory": "2000MB"}),
    ("clips", {"height": 128, "width": 128, "guidance_scale": 1.0, "num_frames": 8}),
]


def mid_size_model(folder: Path, whole_clips: bool = False) -> None:
    """A model of the released layout with random weights: a fifth of the channels, half of the autoencoder's."""
    tree = load_yaml(REPOSITORY / "configs" / "inference_512_v1.0.yaml")
    params = tree["model"]["params"]
    params["unet_config"]["params"] |= {"model_channels": 64, "context_dim": 256}
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = 64
    if whole_clips:
        params["first_stage_config"]["target"] = "lvdm.models.autoencoder.DualReferenceAutoencoder"
    for name in ("cond_stage_config", "img_cond_stage_config"):
        params[name]["params"]["model_cfg"] = CLIP
    resampler = {"dim": 256, "depth": 2, "dim_head": 64, "heads": 4, "embedding_dim": 256, "output_dim": 256}
    params["image_proj_stage_config"]["params"] |= resampler
    tree["sampling"] |= {"name": "mid", "height": 192, "width": 320, "capabilities": ["i2v", "interpolation"]}
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    with torch.device("meta"):
        model = load_model_config(folder / "config.yaml").build()
    generator = torch.Generator().manual_seed(0)
    tensors = {
        key: 0.02 * torch.randn(value.shape, generator=generator) if value.is_meta else value
        for key, value in model.state_dict().items()
    }
    write_safetensors(folder / "model.safetensors", tensors)


def measure(keywords: dict[str, Any]) -> dict[str, int]:
    """Make one video in this process: what was planned, and the peak."""
    from lvdm.jobs import memory, run

    planned: list[int] = []
    announce = run.announce_memory

    def heard(model: Any, request: Any, batch: int) -> None:
        planned.append(memory.plan_for(model, request, batch).total)
        announce(model, request, batch)

    run.announce_memory = heard  # type: ignore[assignment]
    mode = "interpolate" if "end_image" in keywords else "animate"
    run.make_videos(mode, **keywords)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return {"planned": planned[0], "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("tiny", "small", "mid", "clips"))
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        paths = {
            name: Path(arguments.worker[name])
            for name in ("image", "end_image", "config", "output")
            if name in arguments.worker
        }
        print(json.dumps(measure({**arguments.worker, **paths})))
        return
    broken = False
    print("| model | settings | planned | peak | planned / peak |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="process-memory-") as name:
        for number, (model, settings) in enumerate(SETTINGS):
            if arguments.only not in (None, model):
                continue
            given = {"image": str(IMAGE), "prompt": "the red star moves", "num_inference_steps": 1, **settings}
            given["output"] = str(Path(name) / f"{number}.mp4")
            if model in ("tiny", "small"):
                given["preset"] = model
            else:
                folder = Path(name) / model
                if not folder.exists():
                    mid_size_model(folder, whole_clips=model == "clips")
                given["config"] = str(folder / "config.yaml")
            if model == "clips":
                given["end_image"] = str(IMAGE)
            command = [sys.executable, __file__, "--worker", json.dumps(given)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            ratio = found["planned"] / found["peak"]
            broken |= not 1 / OVER <= ratio <= UNDER
            text = ", ".join(f"{key} {value}" for key, value in settings.items()) or "as it is"
            print(
                f"| {model} | {text} | {found['planned'] / 1e6:.0f} MB | {found['peak'] / 1e6:.0f} MB | {ratio:.2f} |",
                flush=True,
            )
    if broken:
        sys.exit(1)


if __name__ == "__main__":
    main()
