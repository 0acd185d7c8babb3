"""`dynamicrafter info` on files as large as the released ones, without a configuration beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from manifests import write_released
from safetensors.torch import save_file
from typer.testing import CliRunner

from lvdm.cli.app import app

BOTH = "512 or 512_interp"


def rows(*args: object) -> dict[str, str]:
    """Label -> text of what `info` prints, read without the hash, which would take a minute for 10 GB."""
    result = CliRunner().invoke(app, ["info", *map(str, args), "--no-hash"], env={"COLUMNS": "400"})
    assert result.exit_code == 0, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    lines = (line.partition("  ") for line in result.stdout.splitlines())
    found: dict[str, str] = {}
    for label, _, text in lines:
        found[label.strip()] = f"{found.get(label.strip(), '')} {text.strip()}".strip()
    return found


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("256", ("256", "eps", "no", "256x256", "frame stride, 1 to 6, larger is more motion", "i2v")),
        ("1024", ("1024", "v", "yes", "1024x576", "frames per second, 5 to 15, smaller is more motion", "i2v")),
    ],
)
def test_contents_prove_the_256_and_the_1024_model(model: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    found = rows(write_released(tmp_path / "downloads" / "good.safetensors", model))
    name, parameterization, zero_snr, size, fs, capability = expected
    assert found["family"] == f"dynamicrafter: {name}"
    assert found["predicts"] == f"{parameterization}, zero terminal SNR: {zero_snr}"
    assert found["trained at"].startswith(f"{size}, 16 frames")
    assert found["fs"].startswith(fs)
    assert found["can do"] == capability
    assert found["sha256"] == "not computed"


def test_what_the_two_512_models_do_not_share_is_told_of_both(tmp_path: Path) -> None:
    found = rows(write_released(tmp_path / "downloads" / "good.safetensors", "512"))
    assert found["family"] == f"dynamicrafter: {BOTH}"
    assert found["trained at"] == "512x320, 16 frames", "both are; there is no doubt to tell of"
    assert "if it is 512: frames per second, 15 to 30" in found["fs"]
    assert "if it is 512_interp: frames per second, 5 to 30" in found["fs"]
    assert found["can do"] == "if it is 512: i2v; if it is 512_interp: interpolation"
    assert f"it can be {BOTH}, whose contents are alike" in found["note"]


def test_a_videocrafter_file_is_told_by_its_layout(tmp_path: Path) -> None:
    found = rows(write_released(tmp_path / "downloads" / "good.safetensors", "crafter_t2v_512_v1"))
    assert found["family"] == "videocrafter t2v: vc1"
    assert found["predicts"] == "eps, zero terminal SNR: no"
    assert found["trained at"].startswith("512x320, 16 frames")
    assert (found["fs"], found["can do"]) == ("not read by this model", "t2v")
    assert "image encoder" not in found, "a text-to-video model has none"


def test_a_file_without_schedule_leaves_the_size_open(tmp_path: Path) -> None:
    path = write_released(tmp_path / "downloads" / "pruned.safetensors", "1024", with_schedule=False)
    found = rows(path)
    assert found["predicts"].startswith("v, ")
    assert "if it is 512: 512x320" in found["trained at"]
    assert "if it is 1024: 1024x576" in found["trained at"]
    (path.parent / "dynamicrafter_1024_v1").mkdir()
    named = path.rename(path.parent / "dynamicrafter_1024_v1" / "model.safetensors")
    assert rows(named)["trained at"].startswith("1024x576, 16 frames (by the name")


def test_another_model_is_unknown_and_the_way_out_is_told(tmp_path: Path) -> None:
    save_file({"unet.conv_in.weight": torch.zeros(32, 8, 3, 3)}, tmp_path / "other.safetensors")
    found = rows(tmp_path / "other.safetensors")
    assert found["fs"] == found["can do"] == "unknown"
    assert "name its configuration" in found["note"]


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    """And not the configuration that is not beside it."""
    (tmp_path / "cat.png").write_bytes(b"image")
    result = CliRunner().invoke(app, ["info", str(tmp_path / "cat.png")])
    assert result.exit_code == 2
    assert "cat.png is no model: neither weights (.safetensors, " in " ".join(result.stderr.split())


def test_a_configuration_beside_the_weights_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = write_released(tmp_path / "downloads" / "good.safetensors", "1024")
    for content, reason in (("", "has no top-level `model:` key"), ("model: hello\n", "should be a mapping with")):
        (path.parent / "config.yaml").write_text(content)
        found = rows(path)
        assert found["predicts"] == "v, zero terminal SNR: yes", "the file says so itself"
        assert "the configuration beside it was not read" in found["note"]
        assert reason in found["note"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no top-level"),
        ("model: hello\n", "should be a mapping"),
        ("model: {target: os.system}\nsampling: {name: x, height: 64, width: 64}\n", "is not allowed"),
    ],
)
def test_a_configuration_that_is_named_and_cannot_be_read_is_an_error(
    content: str, reason: str, tmp_path: Path
) -> None:
    path = write_released(tmp_path / "model.safetensors", "1024")
    (tmp_path / "own.yaml").write_text(content)
    for words in ([str(path), "--config", str(tmp_path / "own.yaml")], [str(tmp_path / "own.yaml")]):
        result = CliRunner().invoke(app, ["info", *words, "--no-hash"])
        assert result.exit_code == 2
        assert reason in " ".join(result.output.split())
        assert "trained at" not in result.output, "the card of other weights is no answer"


def test_a_schedule_that_contradicts_the_configuration_is_said(tmp_path: Path) -> None:
    path = write_released(tmp_path / "model.safetensors", "256")
    config = Path(__file__).parents[2] / "configs" / "inference_1024_v1.0.yaml"
    assert "predicts v, and the noise schedule in the file is one for eps" in rows(path, "--config", config)["note"]
