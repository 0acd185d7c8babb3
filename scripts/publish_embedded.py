"""Turn a finished training run into the embedded model: config.yaml, small.yaml, model.safetensors, training.csv.

python -m scripts.publish_embedded logs/tiny/carried/config.yaml logs/tiny/carried/weights.safetensors \
    --part frame_carrier.mask. logs/tiny/carrier-2/weights.safetensors \
    --part frame_carrier.motion. logs/tiny/words/weights.safetensors [--metrics CSV ...]
python -m scripts.publish_embedded logs/tiny/structure/config.yaml logs/tiny/structure/weights.safetensors \
    --output outputs/tiny-structure
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from lvdm.checkpoint import convert, read_checkpoint
from lvdm.checkpoint.writing import write_safetensors
from lvdm.config import load_yaml
from lvdm.media.atomic import atomic_path
from lvdm.model_card import ModelCard

CARD: dict[str, Any] = {
    "name": "tiny",
    "height": 64,
    "width": 64,
    "num_frames": 16,
    "fs_meaning": "stride",
    "fs_min": 1,
    "fs_max": 3,
    "fs_default": 2,
    "capabilities": ["i2v", "interpolation"],
    "towers_agree": False,
    "guidance_scale": 1.0,
    "guidance_rescale": 0.7,
    "eta": 0.0,
    "num_inference_steps": 8,
    "timestep_spacing": "uniform_trailing",
    "fix_final_step": True,
    "image_token_policy": "linear",
    "playback_fps": 8,
    "motion_levels": [{"fs": 1}, {"fs": 2}, {"fs": 3}],  # the carried distance is proportional to fs
    "notes": "Trained from scratch on generated clips of moving sprites and emoji, some of them on photographs under "
    "CC BY 4.0 and CC0 (attribution: lvdm/data/picture_files/NOTICE); Apache-2.0 like the code; no watermark. Carries "
    "the image along (frame carrier), which the paper does not.",
}
SMALL: dict[str, Any] = CARD | {
    "name": "small",
    "height": 128,
    "width": 128,
    "notes": f"{CARD['notes']} Trained at 64 x 64.",
}
"""The same weights at twice the size: networks of convolutions and a carrier of pixels have none of their own."""
STRUCTURE: dict[str, Any] = {
    "name": "tiny-structure",
    "height": 64,
    "width": 64,
    "num_frames": 16,
    "fs_meaning": "none",
    "fs_min": 8,
    "fs_max": 8,
    "fs_default": 8,
    "capabilities": ["structure"],
    "keeps_image": False,
    "towers_agree": False,
    "guidance_scale": 2.0,
    "guidance_rescale": 0.7,
    "eta": 0.0,
    "num_inference_steps": 12,
    "timestep_spacing": "uniform_trailing",
    "fix_final_step": True,
    "playback_fps": 8,
    "notes": "Trained on generated clips with the depth that their generator knows. The autoencoder is that of tiny, "
    "the text encoder began as its; Apache-2.0 like the code; no watermark.",
}
TRAINING_ONLY = (
    "interpolation_probability",
    "high_noise_probability",
    "high_noise_start",
    "moving_region_weight",
    "carried_frames",
    "cond_stage_trainable",
    "depth_range",
    "drop_depth",
)


def inference_tree(training: dict[str, Any], card: dict[str, Any] = CARD) -> dict[str, Any]:
    """The YAML tree that users load: the training's model without what only training reads, and the card."""
    params = {key: value for key, value in training["model"]["params"].items() if key not in TRAINING_ONLY}
    text_encoder = params["cond_stage_config"]["params"]
    params["cond_stage_config"] = params["cond_stage_config"] | {"params": text_encoder | {"freeze": True}}
    return {"model": {"target": training["model"]["target"], "params": params}, "sampling": card}


def write_configurations(training: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the configurations into `folder`, two but for a model that follows depth; returns that of `config.yaml`."""
    follows_depth = training["model"]["target"].endswith("LatentDepthDiffusion")
    cards = {"config.yaml": STRUCTURE} if follows_depth else {"small.yaml": SMALL, "config.yaml": CARD}
    for name, card in cards.items():
        tree = inference_tree(training, card)
        with atomic_path(folder / name) as path:
            path.write_text(
                f"# The embedded model ({card['name']}), written by scripts/publish_embedded.py.\n"
                + yaml.safe_dump(tree, sort_keys=False)
            )
    return tree


def write_merged(weights: Path, parts: Sequence[tuple[str, Path]], output: Path) -> None:
    """Write `weights` with all tensors whose names begin with a prefix taken from another file.

    parts: prefixes and the files that they are taken from. Raises `CheckpointError`, and `ValueError` for a file that
    does not have just those tensors of the prefix that `weights` has, of the same shapes.
    """
    tensors = dict(read_checkpoint(weights))
    for prefix, path in parts:
        taken = {key: value for key, value in read_checkpoint(path).items() if key.startswith(prefix)}
        replaced = {key: value for key, value in tensors.items() if key.startswith(prefix)}
        if not taken or {k: v.shape for k, v in taken.items()} != {k: v.shape for k, v in replaced.items()}:
            raise ValueError(
                f"{path} and {weights} differ in the tensors of {prefix}; give a prefix that both have whole"
            )
        tensors |= taken
    write_safetensors(output, {key: value.contiguous() for key, value in tensors.items()})


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="the config.yaml that the run left")
    parser.add_argument("weights", type=Path, help="its exported weights or a checkpoint")
    parser.add_argument(
        "--part",
        nargs=2,
        action="append",
        default=[],
        metavar=("PREFIX", "FILE"),
        help="take the tensors whose names begin with PREFIX from FILE; may be given often",
    )
    parser.add_argument(
        "--metrics", type=Path, nargs="*", default=[], help="metrics.csv files, in the order of the stages"
    )
    parser.add_argument("--output", type=Path, default=Path("checkpoints/tiny"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    training = load_yaml(args.config)
    tree = write_configurations(training, args.output)
    card = ModelCard.from_tree(tree, str(args.output / "config.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged.safetensors"
        write_merged(args.weights, [(prefix, Path(path)) for prefix, path in args.part], merged)
        convert(merged, args.output / "model.safetensors", torch.float16, card=card, overwrite=True)
    lines = []
    for stage, metrics in enumerate(args.metrics, start=1):
        header, *rows = metrics.read_text().splitlines()
        lines += [f"stage,{header}"] if stage == 1 else []
        lines += [f"{stage},{row}" for row in rows]
    if lines:
        with atomic_path(args.output / "training.csv") as path:
            path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
