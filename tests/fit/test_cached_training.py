"""Training from a latent cache: as from the videos, without encoders, and refused where the cache does not belong."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cached_clips import OPTIONS, change, run_cache, write_training
from safetensors.torch import load_file, save_file

from lvdm.checkpoint import CheckpointError, convert, part_of, read_checkpoint
from lvdm.checkpoint.completing import ENCODERS
from lvdm.config import ConfigError
from lvdm.fit.cached_training import select_encoders
from lvdm.fit.trainer import main
from lvdm.fit.training_setup import load_training_setup

SOURCE = "data__params__train"
READS_DEPTH: dict[str, Any] = {
    "model__target": "lvdm.models.ddpm3d.LatentDepthDiffusion",
    "model__params__img_cond_stage_config": {"target": "torch.nn.Identity"},
    "model__params__unet_config__params__in_channels": 5,
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "latent-cache.md"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of a training from videos; their cache is in `cache` beside it."""
    config = write_training(tmp_path_factory.mktemp("training"))
    result = run_cache(config, config.parent / "cache", "--dtype", "fp32")
    assert result.exit_code == 0, result.output
    return config


def from_cache(config: Path, **edits: Any) -> Path:
    """The same training from the cache."""
    component = {
        "target": "lvdm.caching.latent_cache.CachedLatents",
        "params": {"folder": str(config.parent / "cache"), "resolution": [32, 32], **OPTIONS},
    }
    return change(config, config.parent / "cached.yaml", **{SOURCE: component, **edits})


def settled(config: Path) -> Any:
    setup = load_training_setup([config])
    return select_encoders(setup.model, setup.data, setup.pretrained)


def train(config: Path, name: str) -> Path:
    """Train and return the folder of the run."""
    logs = config.parent / "logs"
    assert main(["--base", str(config), "--train", "--name", name, "--logdir", str(logs), "--devices", "1"]) == 0
    return logs / name


def losses(run: Path) -> list[float]:
    with next(run.rglob("metrics.csv")).open(newline="") as file:
        rows = [row.get("train/loss_simple") or row.get("train/loss_simple_step") for row in csv.DictReader(file)]
    return [float(value) for value in rows if value]


def test_a_training_from_the_cache_is_the_live_one_without_encoders(config: Path, tmp_path: Path) -> None:
    cached = from_cache(config)
    live_run, cached_run = train(config, "live"), train(cached, "cached")
    assert len(losses(live_run)) == 2
    assert losses(cached_run) == pytest.approx(losses(live_run), rel=1e-4), "the losses should be those of the videos"

    live, slim = (read_checkpoint(newest(run)) for run in (live_run, cached_run))
    assert not any(part_of(key) in ENCODERS for key in slim), "a dropped encoder should have no tensors"
    pretrained = config.parent / "model" / "model.safetensors"
    whole = tmp_path / "whole.safetensors"
    convert(slim.path, whole, encoders=pretrained)
    expected, tensors = load_file(pretrained), load_file(whole)
    assert set(tensors) == set(live)
    for key, value in tensors.items():
        if part_of(key) in ENCODERS:
            assert torch.equal(value, expected[key]), f"{key} should be that of the file the training began with"
    as_pickle = tmp_path / "whole.ckpt"
    convert(slim.path, as_pickle, encoders=live.path)
    assert list(read_checkpoint(as_pickle)) == list(live), "the keys should have the released order"
    with pytest.raises(CheckpointError, match="holds autoencoder and CLIP encoders already"):
        convert(whole, tmp_path / "again.safetensors", encoders=pretrained)
    with pytest.raises(CheckpointError, match="does not hold the autoencoder"):
        convert(slim.path, tmp_path / "again.safetensors", encoders=slim.path)


def test_a_dry_run_tells_of_a_training_from_the_cache_too(config: Path, tmp_path: Path) -> None:
    """The same samples with the same draws, shown as latents, and without the memory of the encoders."""
    told = {}
    for name, path in (("live", config), ("cached", from_cache(config))):
        assert main(["--base", str(path), "--dry-run", "--logdir", str(tmp_path), "--name", name]) == 0
        told[name] = json.loads((tmp_path / name / "dry_run" / "dry_run.json").read_text(encoding="utf-8"))
    for live, slim in zip(told["live"]["clips"], told["cached"]["clips"], strict=True):
        assert slim["cached"] > live["cached"]
        assert (live["caption"], live["draws"]) == (slim["caption"], slim["draws"])
    live, slim = told["live"]["memory"], told["cached"]["memory"]
    assert slim["encoding"] == 0 < live["encoding"]
    assert slim["weights"] < live["weights"]
    assert slim["saved"] == live["saved"], "the trained networks see clips of the same size"


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)


def test_encoders_stay_where_something_needs_them(config: Path) -> None:
    assert settled(config).params.drop_encoders is False
    assert settled(from_cache(config)).params.drop_encoders is True
    assert settled(from_cache(config, model__params__drop_encoders=False)).params.drop_encoders is False
    videos = load_training_setup([config]).tree["data"]["params"]["train"]
    both = from_cache(config, data__params__validation=videos)
    assert settled(both).params.drop_encoders is False, "validation on videos needs the encoders"
    with pytest.raises(ConfigError, match=r"data\.params\.validation gives pixels"):
        settled(change(both, both, model__params__drop_encoders=True))
    with pytest.raises(ConfigError, match=r"data\.params\.train gives pixels"):
        settled(change(config, config.parent / "wrong.yaml", model__params__drop_encoders=True))


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (READS_DEPTH, "cache holds no depth, which this model reads"),
        ({"model__params__cond_stage_trainable": True}, "cached captions cannot train the text encoder"),
        ({f"{SOURCE}__params__condition": "first"}, "rand_cond_frame needs any frame"),
        ({"model__pretrained_checkpoint": []}, "names no weights"),
        ({f"{SOURCE}__params__resolution": [64, 32]}, r"data\.params\.train: .* was made at 32x32, .* says 64x32"),
        ({f"{SOURCE}__params__folder": "nowhere"}, r"data\.params\.train: .*nowhere holds no finished latent cache"),
        ({"model__params__cond_stage_config__params__layer": "last"}, "made with another text encoder than"),
    ],
)
def test_a_cache_that_cannot_serve_the_training_is_refused(config: Path, edits: dict[str, Any], message: str) -> None:
    cached = from_cache(config)
    with pytest.raises(ConfigError, match=message):
        settled(change(cached, cached, **edits))


def test_a_cache_of_other_weights_is_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(config.parent / "model" / "model.safetensors")
    trained = [key for key in tensors if part_of(key) not in ENCODERS]
    other = {key: value + 1 if key in trained else value for key, value in tensors.items()}
    save_file(other, tmp_path / "other.safetensors")
    cached = from_cache(config, model__pretrained_checkpoint=str(tmp_path / "other.safetensors"))
    settled(cached)  # another UNet goes with the same cache
    for prefix, name in (("first_stage_model.encoder", "autoencoder"), ("embedder", "image encoder")):
        other = {key: value + 1e-3 if key.startswith(prefix) else value for key, value in tensors.items()}
        save_file(other, tmp_path / "other.safetensors")
        assert main(["--base", str(cached), "--train", "--logdir", str(tmp_path)]) == 2
        assert f"was made with another {name} than" in capsys.readouterr().err


def test_the_printed_block_trains_from_the_cache(config: Path) -> None:
    printed = run_cache(config, config.parent / "cache", "--dtype", "fp32").output.split("with:")[1]
    component = yaml.safe_load(printed)["data"]["params"]["train"]
    assert component["params"] == {"folder": str(config.parent / "cache"), **OPTIONS}
    assert settled(from_cache(config, **{SOURCE: component})).params.drop_encoders is True


def test_the_blocks_of_the_document_train_from_a_cache(config: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        component = yaml.safe_load(block)["data"]["params"]["train"]
        component["params"]["folder"] = str(config.parent / "cache")
        if "resolution" in component["params"]:
            component["params"]["resolution"] = [32, 32]
        first_only = component["params"].get("condition") == "first"
        edits = {SOURCE: component, "model__params__rand_cond_frame": not first_only}
        assert settled(from_cache(config, **edits)).params.drop_encoders is True, block
