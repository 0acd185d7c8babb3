"""Valid files of every kind that is read, from which the cases of `benchmarks/fuzz.py` are made."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save as safetensors_of

from lvdm.checkpoint.keys import read_shapes
from lvdm.checkpoint.lora import LoraInfo, write_lora
from lvdm.content_hash import content_hash
from lvdm.jobs.run import make_videos
from lvdm.model_files import EMBEDDED, find_preset

SIDE, FRAMES = 32, 3


@dataclass(frozen=True)
class ValidFiles:
    """Contents by name; `trees` are those of the JSON files, and of the body of a request."""

    folder: Path
    contents: Mapping[str, bytes]
    trees: Mapping[str, Any]


def make_valid_files(folder: Path) -> ValidFiles:
    """Make them in `folder`, where those lie that the cases do not change. Makes a video with the embedded model."""
    frames = _frames()
    contents = {**_images(frames), **_videos(frames, folder), **_weights(folder)}
    depth = io.BytesIO()
    np.savez_compressed(depth, depth=frames[..., 0])
    flow = io.BytesIO()
    np.savez_compressed(flow, flow=np.zeros((16, 2, 2, 2), np.float32))
    (folder / "cat.png").write_bytes(contents["image.png"])
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    mask.save(folder / "mask.png")
    clip = folder / "clip.mp4"
    clip.write_bytes(contents["video.mp4"])
    rows = [
        {"image": str(folder / "cat.png"), "prompt": "a ball", "seed": 1, "num_frames": 4, "name": "one"},
        {"image": str(folder / "cat.png"), "prompt": "a ring", "motion": 0.5, "camera": "zoom_in:amount=0.2"},
    ]
    quick: dict[str, Any] = {"num_inference_steps": 1, "num_frames": 2, "width": 64, "height": 64}
    make_videos("animate", image=folder / "cat.png", prompt="a ball", output=folder / "made.mp4", **quick)
    record = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    (folder / "list.csv").write_bytes(_csv(rows))
    body = {"prompt": "a ball", "mode": "animate", "num_frames": 4, "seed": 3, "size": "64x64", "dry_run": True}
    contents |= {
        "config.yaml": find_preset(EMBEDDED).config.read_bytes(),
        "training.yaml": (Path(__file__).parents[1] / "configs/training_512_v1.0/config.yaml").read_bytes(),
        "list.csv": _csv(rows),
        "list.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows),
        "prompts.txt": b"a ball rolls\na ring turns\n",
        "depth.npz": depth.getvalue(),
        "flow.npz": flow.getvalue(),
        "caption.json": json.dumps({"caption": "a ball rolls", "tags": ["ball", "red"]}).encode(),
        "shard.tar": _tar({"a.mp4": contents["video.mp4"], "a.txt": b"a ball"}),
    }
    story = _story(str(folder / "cat.png"))
    contents["story.yaml"] = yaml.safe_dump(story).encode()
    (folder / "story.yaml").write_bytes(contents["story.yaml"])
    trees = {"record.json": record, "extended.json": _extension_record(record, clip), "body.json": body}
    trees |= {"list.jsonl": rows[0], "story.yaml": story}
    return ValidFiles(folder, contents, trees)


def _story(image: str) -> dict[str, Any]:
    """A film of two shots."""
    shots = [
        {"name": "one", "image": image, "prompt": "a ball rolls", "seconds": 1, "transition": "crossfade"},
        {"prompt": "the camera zooms in", "seconds": 1, "image": image, "caption": "A ball"},
    ]
    return {"title": "A film", "size": "64x64", "fps": 8, "seed": 7, "shots": shots}


def _extension_record(record: Mapping[str, Any], clip: Path) -> dict[str, Any]:
    """That of `clip` with new frames, of the parts that it has in common with the record of a video."""
    return {
        "format": "dynamicrafter-extension/1",
        "video": "longer.mp4",
        "source": {"video": str(clip), "sha256": content_hash(clip), "frames": FRAMES},
        "extension": {"num_frames": 2, "overlap": 1, "color_lock": 1.0},
        "playback_fps": 8.0,
        **{name: record["input"][name] for name in ("prompt", "negative_prompt", "seed")},
        **{name: record[name] for name in ("settings", "model")},
        "runtime": {**record["runtime"], "reader": "pyav"},
    }


def _frames() -> np.ndarray:
    """Uint8 (t, H, W, 3): a texture that moves."""
    y, x = np.mgrid[:SIDE, :SIDE]
    shades = [np.stack([x * 8 + 20 * t, y * 8, (x + y) * 4 + 9 * t], axis=-1) % 256 for t in range(FRAMES)]
    return np.stack(shades).astype(np.uint8)


def _images(frames: np.ndarray) -> dict[str, bytes]:
    images = [Image.fromarray(frame) for frame in frames]
    first, others, found = images[0], images[1:], dict[str, bytes]()
    for kind in ("png", "jpeg", "webp", "bmp", "tiff", "gif", "ppm", "tga", "ico", "avif"):
        buffer = io.BytesIO()
        first.save(buffer, kind)
        found[f"image.{kind}"] = buffer.getvalue()
    for kind in ("gif", "webp", "png"):
        buffer = io.BytesIO()
        first.save(buffer, kind, save_all=True, append_images=others, duration=100)
        found[f"animation.{kind}"] = buffer.getvalue()
    deep = io.BytesIO()
    Image.fromarray(frames[0, :, :, 0].astype(np.uint16) * 257).save(deep, "png")
    clear = io.BytesIO()
    first.convert("RGBA").save(clear, "png")
    return found | {"deep.png": deep.getvalue(), "clear.png": clear.getvalue()}


def _videos(frames: np.ndarray, folder: Path) -> dict[str, bytes]:
    kinds = dict.fromkeys(("mp4", "mkv", "mov", "ts"), "libx264") | {"webm": "libvpx-vp9", "avi": "mpeg4"}
    found = {}
    for suffix, codec in kinds.items():
        path = folder / f"made.{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=8)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode())
        found[f"video.{suffix}"] = path.read_bytes()
        path.unlink()
    return found


def _weights(folder: Path) -> dict[str, bytes]:
    """A few tensors of the embedded model, as safetensors and as pickles, and a LoRA of it."""
    shapes = read_shapes(find_preset(EMBEDDED).checkpoint)
    small = [key for key, shape in shapes.items() if 0 < np.prod(shape, dtype=int) < 2000][:12]
    tensors = {key: torch.full(shapes[key], 0.1) for key in small}
    found = {"weights.safetensors": safetensors_of(tensors, {"format": "pt"})}
    for name, state in (("weights.ckpt", {"state_dict": tensors, "global_step": 3}), ("plain.pt", tensors)):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        found[name] = buffer.getvalue()
    buffer = io.BytesIO()
    torch.save({"state_dict": tensors}, buffer, _use_new_zipfile_serialization=False)
    found["legacy.ckpt"] = buffer.getvalue()
    layer = next(key for key, shape in shapes.items() if key.endswith("to_q.weight") and len(shape) == 2)
    rows, columns = shapes[layer]
    path = write_lora(
        folder / "lora.safetensors",
        {layer: (torch.full((2, columns), 0.1), torch.full((rows, 2), 0.1))},
        LoraInfo(2, 2.0, "one layer"),
    )
    return found | {"lora.safetensors": path.read_bytes()}


def _csv(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
