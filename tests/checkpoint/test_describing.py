"""What a checkpoint is, from the keys and shapes of the released ones; no more certainty than there is evidence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from manifests import MAKEYOURVIDEO, write_released
from manifests import VIDEOCRAFTER as MANIFESTS
from safetensors.torch import save_file
from torch import Tensor

from lvdm.checkpoint import CheckpointError, convert, describe, load_into, read_checkpoint
from lvdm.checkpoint.parts import DEPTH_ESTIMATOR
from lvdm.config import load_model_config
from lvdm.model_card import CARDS, RELEASED, VIDEOCRAFTER
from lvdm.pipeline.loading import without_missing_estimator

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("model", "candidates", "parameterization"),
    [("256", ("256",), "eps"), ("512", ("512", "512_interp"), "v"), ("1024", ("1024",), "v")],
)
def test_the_released_layouts(model: str, candidates: tuple[str, ...], parameterization: str, tmp_path: Path) -> None:
    info = describe(write_released(tmp_path / "f" / "model.safetensors", model), with_hash=False)
    assert info.family == "dynamicrafter"
    assert info.candidates == candidates
    assert info.parameterization == parameterization
    assert info.zero_terminal_snr == (model != "256")
    assert info.base_scale == {"256": None, "512": 0.7, "1024": 0.3}[model]
    assert info.missing == ()
    assert info.parameters == (2_609_129_021 if model == "256" else 2_609_129_005)
    counts = {part.name: (part.tensors, part.parameters) for part in info.parts}
    assert counts["UNet"] == ((1532, 1_438_854_996) if model == "256" else (1516, 1_438_854_980))
    assert counts["text encoder"] == (294, 354_032_641)
    assert counts["image encoder"] == (398, 683_800_065)
    assert info.card == (RELEASED[model] if len(candidates) == 1 else None)
    assert len(info.notes) == (0 if len(candidates) == 1 else 1)


@pytest.mark.parametrize("name", VIDEOCRAFTER)
def test_videocrafters_layouts_prove_which_model_it_is(name: str, tmp_path: Path) -> None:
    path = write_released(tmp_path / "f" / "model.safetensors", MANIFESTS[name])
    info = describe(path, with_hash=False)
    assert info.family == ("videocrafter i2v" if name == "vc-i2v" else "videocrafter t2v")
    assert info.candidates == (name,)
    assert info.card == VIDEOCRAFTER[name]
    assert (info.parameterization, info.zero_terminal_snr) == ("eps", False)
    assert info.base_scale == {"vc1": None, "vc1024": 0.3}.get(name, 0.7)
    assert (info.missing, info.notes) == ((), ())
    pruned = write_released(tmp_path / "p" / "model.safetensors", MANIFESTS[name], False, False)
    assert describe(pruned, with_hash=False).candidates == (name,), "no schedule and no encoders are needed"


@pytest.mark.parametrize("estimator", [True, False], ids=["with_estimator", "without_estimator"])
def test_make_your_video_is_named_by_its_keys(estimator: bool, tmp_path: Path) -> None:
    left_out = () if estimator else (DEPTH_ESTIMATOR,)
    info = describe(
        write_released(tmp_path / "f" / "model.safetensors", MAKEYOURVIDEO, without=left_out), with_hash=False
    )
    assert (info.family, info.candidates, info.card) == ("makeyourvideo", ("myv",), CARDS["myv"])
    assert (info.parameterization, info.zero_terminal_snr, info.base_scale) == ("eps", False, None)
    assert info.missing == (() if estimator else ("depth estimator",))
    assert info.parameters == 2_166_672_341 - (0 if estimator else 123_146_985)
    assert estimator or any("--depth-model" in note for note in info.notes), "says how to go on without it"


@pytest.mark.parametrize("estimator", [True, False], ids=["with_estimator", "without_estimator"])
def test_make_your_video_fits_strictly_with_and_without_its_estimator(estimator: bool, tmp_path: Path) -> None:
    left_out = () if estimator else (DEPTH_ESTIMATOR,)
    path = write_released(tmp_path / "f" / "model.safetensors", MAKEYOURVIDEO, without=left_out)
    checkpoint = read_checkpoint(path)
    whole = load_model_config(CONFIGS / "inference_makeyourvideo_256_v1.0.yaml")
    component = without_missing_estimator(whole, checkpoint)
    assert (component == whole) == estimator
    with torch.device("meta"):
        model = component.build()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes == {key: checkpoint.shape(key) for key in checkpoint}


@pytest.mark.parametrize(
    ("manifest", "config", "expected"),
    [
        (
            "makeyourvideo_256",
            "inference_512_v1.0.yaml",
            r"a Make-Your-Video checkpoint; use configs/inference_makeyourvideo_256_v1\.0\.yaml",
        ),
        ("crafter_t2v_512_v2", "inference_512_v1.0.yaml", r"\(vc2\); use configs/inference_t2v_512_v2\.0\.yaml"),
        ("crafter_i2v_512", "inference_512_v1.0.yaml", r"\(vc-i2v\); use configs/inference_i2v_512_v1\.0\.yaml"),
        ("crafter_t2v_1024", "inference_t2v_512_v2.0.yaml", r"\(vc1024\); use configs/inference_t2v_1024_v1\.0\.yaml"),
        ("512", "inference_i2v_512_v1.0.yaml", "a DynamiCrafter checkpoint"),
    ],
)
def test_a_file_of_the_other_family_names_its_configuration(
    manifest: str, config: str, expected: str, tmp_path: Path
) -> None:
    path = write_released(tmp_path / "f" / "model.safetensors", manifest)
    with torch.device("meta"):
        model = load_model_config(CONFIGS / config).build()
    with pytest.raises(CheckpointError, match=expected):
        load_into(model, read_checkpoint(path))


def test_a_pruned_file_leaves_three_candidates(tmp_path: Path) -> None:
    path = write_released(tmp_path / "f" / "model.safetensors", "512", with_schedule=False, with_towers=False)
    info = describe(path, with_hash=False)
    assert info.candidates == ("512", "1024", "512_interp")
    assert info.missing == ("schedule", "text encoder", "image encoder")
    assert info.card is None
    assert info.capabilities == ()
    assert info.parameterization == "v", "all three predict v"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dynamicrafter_512_interp_v1/model.safetensors", "512_interp"),
        ("dynamicrafter_512_v1/model.safetensors", "512"),
        ("other/dynamicrafter_512_interp.safetensors", "512_interp"),
        ("dynamicrafter_1024_v1/model.safetensors", None),
    ],
)
def test_a_name_decides_only_among_what_the_contents_allow(name: str, expected: str | None, tmp_path: Path) -> None:
    info = describe(write_released(tmp_path / name, "512"), with_hash=False)
    assert info.card == (RELEASED[expected] if expected else None)
    assert info.candidates == ((expected,) if expected else ("512", "512_interp"))


def test_a_configuration_decides_and_a_contradiction_is_told(tmp_path: Path) -> None:
    path = write_released(tmp_path / "f" / "model.safetensors", "512")
    info = describe(path, CONFIGS / "inference_512_interp_v1.0.yaml", with_hash=False)
    assert info.card == RELEASED["512_interp"]
    assert info.capabilities == ("interpolation",)
    wrong = describe(path, CONFIGS / "inference_256_v1.0.yaml", with_hash=False)
    assert any("use its own configuration" in note for note in wrong.notes)


def test_other_families(tmp_path: Path) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    stream = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k_ip.weight"
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({first: torch.zeros(320, 4, 3, 3)}, "videocrafter t2v"),
        ({first: torch.zeros(320, 4, 3, 3), "image_proj_model.proj.weight": torch.zeros(2)}, "videocrafter i2v"),
        ({first: torch.zeros(32, 8, 3, 3), stream: torch.zeros(2)}, "dynamicrafter, small"),
        ({"unet.conv_in.weight": torch.zeros(320, 8, 3, 3)}, "unknown"),
    ]
    for tensors, family in cases:
        save_file(tensors, tmp_path / "a.safetensors")
        info = describe(tmp_path / "a.safetensors")
        assert info.family == family
        assert info.candidates == ()


def test_a_small_model_is_described_by_its_card(weights: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    save_file(weights["512"], tmp_path / "a.safetensors")
    assert describe(tmp_path / "a.safetensors").card is None
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", torch.float16, card=RELEASED["256"])
    info = describe(tmp_path / "b.safetensors")
    assert info.card == RELEASED["256"]
    assert info.card_source == "stored in the file"
    assert info.sha256
    dtypes = {part.name: [name for name, _ in part.dtypes] for part in info.parts}
    assert dtypes["schedule"] == ["float32"]
    assert dtypes["UNet"] == ["float16"]
