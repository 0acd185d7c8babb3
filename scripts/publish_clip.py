"""Turn the CLIP encoders that `configs/training_tiny/clip.yaml` trained into the file that `tiny-clip` reads.

python -m scripts.publish_clip logs/tiny/clip/weights.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from lvdm.checkpoint import checkpoint_hash, read_checkpoint
from lvdm.checkpoint.converting import HASH_KEY, SOURCE_KEY
from lvdm.checkpoint.writing import write_safetensors
from lvdm.config import ConfigError, load_model_config
from lvdm.evaluation.features.clip_encoders import ClipEncoders, encoder_tensors
from lvdm.evaluation.features.registry import ENCODERS_FILE
from lvdm.models.video_config import LatentVisualDiffusionConfig


def publish(weights: Path, config: Path, output: Path) -> int:
    """Write the CLIP encoders of `weights`, in float16 and nothing else, and return how many tensors they have.

    config: the video model's YAML, which says what they are. Raises `ConfigError` and `CheckpointError`.
    """
    params = load_model_config(config).params
    if not isinstance(params, LatentVisualDiffusionConfig):
        raise ConfigError(f"{config} does not describe a video model, so it has no CLIP encoders")
    encoders = ClipEncoders(params)
    tensors = encoder_tensors(encoders, read_checkpoint(weights))
    half = {key: value.to(torch.float16) for key, value in tensors.items()}
    write_safetensors(output, half, {"format": "pt", SOURCE_KEY: weights.name, HASH_KEY: checkpoint_hash(weights)})
    return len(half)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="the weights that the run exported, or a checkpoint of it")
    parser.add_argument("--config", type=Path, default=Path("checkpoints/tiny/config.yaml"), help="the video model's")
    parser.add_argument("--output", type=Path, default=Path("checkpoints/tiny") / ENCODERS_FILE)
    args = parser.parse_args()
    count = publish(args.weights, args.config, args.output)
    print(f"{args.output}: {count} tensors, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
