"""What a video costs as it gets longer: peak memory and seconds per frame, each length in a process of its own.

    python benchmarks/long_video.py                 # the embedded model on the CPU
    python benchmarks/long_video.py --model mid     # a random model, in between the embedded and the released ones
    python benchmarks/long_video.py --device cuda

`memory` is what the process (on a GPU: torch) held at most; `activations` is what one evaluation of the network took
beyond its inputs. Decoding includes writing the file, to which frames go as they are decoded. Seconds are of the
process, not of the clock, on the CPU: others on the machine do not count. FIFO samples and decodes by turns: all of it
counts as sampling.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
import yaml
from allocator_peak import allocator_peak

from lvdm.checkpoint.writing import write_safetensors
from lvdm.config import load_model_config, load_yaml
from lvdm.declaration.values import LongVideo
from lvdm.media.video_writer import write_video
from lvdm.model_files import find_preset
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.choosing import choose_offload, trained_window
from lvdm.plugins.chunked import Chunked
from lvdm.plugins.freelong import FreeLong
from lvdm.plugins.freenoise import FreeNoise
from lvdm.plugins.hooks import Plugin, Samples, attached, plain_hooks

LENGTHS = (16, 64, 256)
MID = {"model_channels": 64, "num_head_channels": 64}
MID_SIDE = 192
"""Pixels: three times the sides of the embedded model, four times its activations for each pixel."""


@dataclass(frozen=True)
class Row:
    """One measured length. Bytes, and seconds for each frame and step."""

    num_frames: int
    method: str
    memory: int
    activations: int | None
    sampling: float
    decoding: float


def measure(folder: Path, num_frames: int, method: str, device: str, side: int | None, steps: int) -> Row:
    """Generate one video in this process."""
    torch.set_num_threads(1)
    pipe = DynamiCrafterPipeline.from_pretrained(folder, device=device)
    image = torch.rand(3, side or 64, side or 64, generator=torch.Generator().manual_seed(0))
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, float] = {}

    def note(progress: object) -> None:
        stage, done, total = progress.stage, progress.done, progress.total  # type: ignore[attr-defined]
        seconds.setdefault(stage, clock())
        if done == total:
            seconds[stage] = clock() - seconds[stage]

    with tempfile.TemporaryDirectory() as temporary:
        result = pipe(
            image,
            "a red disc moves to the left",
            num_frames=num_frames,
            long_video=cast(LongVideo, method),
            num_inference_steps=steps,
            height=side,
            width=side,
            on_progress=note,
            frames_to=lambda parts: write_video(parts, Path(temporary) / "video.mp4", 8),
        )
    if method == "fifo" and num_frames > pipe.runtime.model.trained_frames:  # sampled and decoded by turns
        per_frame = (seconds["sample"] + seconds["decode"]) / num_frames / steps, 0.0
    else:
        per_frame = seconds["sample"] / num_frames / steps, seconds["decode"] / num_frames
    activations = network_peak(pipe, num_frames, method, result.latents.shape[-1]) if device == "cpu" else None
    return Row(num_frames, method, result.peak_memory or 0, activations, *per_frame)


@torch.inference_mode()
def network_peak(pipe: DynamiCrafterPipeline, num_frames: int, method: str, side: int) -> int:
    """Most bytes of activations in one guided evaluation of the network."""
    model, settings = pipe.runtime.model, pipe.settings(num_frames=num_frames, long_video=method)
    config, samples = model.unet.config, Samples((1,), (0,))
    num_frames = min(num_frames, model.trained_frames) if method == "fifo" else num_frames
    offload = choose_offload(num_frames, settings.chunk_frames, low_memory=False, on_cpu=True)
    windowed = {"freenoise": FreeNoise, "freelong": FreeLong}.get(settings.long_video)
    plugins: list[Plugin] = [windowed(*trained_window(model.temporal_length))] if windowed else []
    if settings.chunk_frames is not None:
        plugins.append(Chunked(settings.chunk_frames, offload))
    x = torch.randn(2, config.in_channels, num_frames, side, side)
    assert config.context_dim is not None
    tokens = torch.randn(2, config.text_length + config.image_tokens_per_frame * num_frames, config.context_dim)
    with attached(plugins, model.unet, plain_hooks(samples, model.branches), samples).layers.active():
        return allocator_peak(lambda: model.unet(x, torch.tensor([500, 500]), tokens))


def mid_size_model(folder: Path) -> None:
    """A model of the embedded one's layout with twice its channels and random weights."""
    tree = load_yaml(find_preset("tiny").config)
    tree["model"]["params"]["unet_config"]["params"] |= MID
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    torch.manual_seed(0)
    model = load_model_config(folder / "config.yaml").build()
    write_safetensors(folder / "model.safetensors", model.state_dict())


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, compared with the first."""
    lines = ["| frames | method | memory | activations | sampling | decoding |", "|---|---|---|---|---|---|"]
    first = rows[0]
    for row in rows:
        activations = "" if row.activations is None else f"{row.activations / 1e6:.1f} MB"
        lines.append(
            f"| {row.num_frames} | {row.method} | {row.memory / 1e6:.0f} MB ({row.memory / first.memory - 1:+.0%}) | "
            f"{activations} | {1e3 * row.sampling:.1f} ms ({row.sampling / first.sampling - 1:+.0%}) | "
            f"{1e3 * row.decoding:.1f} ms |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure all lengths, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("tiny", "mid"), default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--methods", nargs="+", default=("plain", "freenoise"))
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "FRAMES", "METHOD"), help="measure this one here")
    args = parser.parse_args()
    side = MID_SIDE if args.model == "mid" else None
    if args.one:
        folder, num_frames, method = args.one
        print(json.dumps(asdict(measure(Path(folder), int(num_frames), method, args.device, side, args.steps))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = find_preset("tiny").config.parent
        if args.model == "mid":
            folder = Path(temporary)
            mid_size_model(folder)
        rows = []
        for num_frames, method in [(n, m) for m in args.methods for n in args.lengths]:
            command = [sys.executable, __file__, "--model", args.model, "--device", args.device]
            command += ["--steps", str(args.steps), "--one", str(folder), str(num_frames), method]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(Row(**json.loads(done.stdout.splitlines()[-1])))
            print(rows[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
