"""Settings are checked before anything heavy is loaded."""

from __future__ import annotations

import logging
import math

import pytest

from lvdm.media.geometry import padded_size
from lvdm.model_card import RELEASED
from lvdm.model_files import CHECKPOINTS_VARIABLE, PRESETS, find_model, find_preset
from lvdm.request.settings import GenerationSettings, choose_fs
from lvdm.sizes import choose_size


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("height", 0, "height 0 is not possible; use a whole number from 16 to"),
        ("width", -64, "width -64 is not possible"),
        ("width", 100_000, "width 100000 is not possible"),
        ("num_frames", 0, "num_frames 0 is not possible; use a whole number from 1"),
        ("num_frames", 2.5, "num_frames 2.5"),
        ("num_inference_steps", 0, "num_inference_steps 0"),
        ("num_inference_steps", 1001, "num_inference_steps 1001"),
        ("num_videos_per_prompt", 0, "num_videos_per_prompt 0"),
        ("decode_chunk_size", 0, "decode_chunk_size 0"),
        ("vae_tile", 4, "vae_tile 4 is not possible; use a whole number from 8"),
        ("guidance_scale", math.nan, "guidance_scale nan"),
        ("guidance_scale", -1.0, "guidance_scale -1"),
        ("guidance_rescale", 1.1, "guidance_rescale 1.1"),
        ("eta", 2.0, "eta 2.0"),
        ("motion", 1.5, "motion 1.5 is not possible; use a number from 0 to 1"),
        ("sampler", "dimm", "sampler 'dimm' is not known; did you mean 'ddim'"),
        ("timestep_spacing", "trailing", "did you mean 'uniform_trailing'"),
        ("fit", "crops", "did you mean 'crop'"),
        ("image_token_policy", "liner", "did you mean 'linear'"),
        ("mode", "anmate", "did you mean 'animate'"),
    ],
)
def test_impossible_values_are_refused_with_the_way_out(setting, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        GenerationSettings(**{setting: value})
    assert "\n" not in str(caught.value), "an error is one line"


def test_only_one_speed_may_be_given():
    with pytest.raises(ValueError, match="fps and motion set the same thing"):
        GenerationSettings(fps=10, motion=0.5)


def test_interpolation_needs_two_frames():
    with pytest.raises(ValueError, match="num_frames 1 is not possible; use a whole number from 2"):
        GenerationSettings(mode="interpolate", num_frames=1)


@pytest.mark.parametrize("name", RELEASED)
def test_a_card_gives_the_defaults_and_given_values_go_first(name):
    card = RELEASED[name]
    mode = "animate" if card.can("i2v") else "interpolate"
    settings = GenerationSettings.from_card(card, mode=mode, eta=0.5, guidance_scale=None)
    assert settings.eta == 0.5
    assert settings.guidance_scale == card.guidance_scale
    assert settings.timestep_spacing == card.timestep_spacing
    assert choose_fs(card, settings) == card.fs_default


def test_samplers_without_noise_drop_the_eta_of_the_card_but_not_one_that_is_given():
    assert GenerationSettings.from_card(RELEASED["512"], sampler="unipc").eta == 0
    with pytest.raises(ValueError, match="adds no noise"):
        GenerationSettings.from_card(RELEASED["512"], sampler="unipc", eta=1.0)


def test_motion_has_the_same_direction_for_every_checkpoint():
    calm, lively = (GenerationSettings(motion=value) for value in (0.0, 1.0))
    assert [choose_fs(RELEASED["256"], s) for s in (calm, lively)] == [1, 6]
    assert [choose_fs(RELEASED["512"], s) for s in (calm, lively)] == [30, 15]


def test_the_wrong_unit_is_refused_and_a_far_value_is_warned_about(caplog):
    with pytest.raises(ValueError, match=r"256 does not take fps.*frame stride, 1 to 6.*use frame_stride"):
        GenerationSettings.from_card(RELEASED["256"], fps=24)
    with pytest.raises(ValueError, match=r"512 does not take frame_stride.*use fps"):
        GenerationSettings.from_card(RELEASED["512"], frame_stride=3)
    with caplog.at_level(logging.WARNING, logger="lvdm"):
        GenerationSettings.from_card(RELEASED["512"], fps=3)
    assert "fs 3 is outside what 512 was trained on" in caplog.text


@pytest.mark.parametrize(
    ("asked", "image", "expected"),
    [
        ((None, None), (320, 512), (320, 512)),
        ((None, None), (1080, 1920), (320, 512)),
        ((None, None), (512, 320), (512, 320)),
        ((None, None), (1000, 1000), (384, 384)),
        ((320, None), (1000, 1000), (320, 320)),
        ((None, 512), (1000, 1000), (512, 512)),
        ((100, 70), (5, 5), (100, 70)),
    ],
)
def test_the_size_follows_the_image_unless_it_is_given(asked, image, expected):
    assert choose_size(*asked, image, (320, 512), 64) == padded_size(*expected, 64)


def test_a_missing_preset_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"put it at .*dynamicrafter_1024_v1.model\.ckpt"):
        find_preset("1024")
    weights = tmp_path / PRESETS["1024"].folder / "model.ckpt"
    weights.parent.mkdir()
    weights.write_bytes(b"")
    found = find_preset("1024")
    assert found.checkpoint == weights
    assert found.config.name == "inference_1024_v1.0.yaml"
    assert find_model(weights) == found, "a weight file in a preset's folder brings the preset's configuration"


def test_unknown_models_are_named(tmp_path):
    with pytest.raises(ValueError, match="neither a file, a folder nor a preset"):
        find_model(tmp_path / "nothing")
    with pytest.raises(ValueError, match="did you mean 'interp'"):
        find_preset("interpp")
    (tmp_path / "config.yaml").write_text("model: {}")
    with pytest.raises(ValueError, match="without weights"):
        find_model(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint .*gone\.ckpt does not exist"):
        find_model(tmp_path, tmp_path / "gone.ckpt")
