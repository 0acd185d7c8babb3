"""What the cards of the released models say, and that motion means the same for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lvdm.config import ConfigError
from lvdm.model_card import RELEASED, ModelCard
from lvdm.motion_levels import BEYOND, MotionLevel, candidate_levels, level_at, placed_levels, rising_levels
from lvdm.request.settings import GenerationSettings

CARD = {"name": "own", "height": 64, "width": 64, "fs_meaning": "stride", "fs_min": 1, "fs_max": 3, "fs_default": 2}
CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.mark.parametrize("name", RELEASED)
def test_motion_has_the_same_direction_for_every_model(name: str) -> None:
    card = RELEASED[name]
    calm, lively = card.level_for_motion(0.0).fs, card.level_for_motion(1.0).fs
    expected = (card.fs_min, card.fs_max) if card.fs_meaning == "stride" else (card.fs_max, card.fs_min)
    assert (calm, lively) == expected, f"{name}: motion 0..1 should cover the trained range"
    values = [card.level_for_motion(i / 20).fs for i in range(21)]
    rising = card.fs_meaning == "stride"
    assert values == sorted(values, reverse=not rising), f"{name}: fs is not monotonic in motion: {values}"


@pytest.mark.parametrize("motion", [-0.1, 1.5, float("nan")])
def test_motion_outside_its_range_is_refused(motion: float) -> None:
    with pytest.raises(ValueError, match="from 0"):
        RELEASED["256"].level_for_motion(motion)


def test_motion_follows_measured_levels_where_a_card_has_them(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "sampling: {name: own, height: 64, width: 64, fs_meaning: stride, fs_min: 1, fs_max: 3, fs_default: 2,\n"
        "  motion_levels: [{fs: 1}, {fs: 3}, {fs: 3, truncated_start: 0.9, low_pass: 0.5}]}\n"
    )
    card = ModelCard.from_yaml(tmp_path / "own.yaml")
    assert [card.level_for_motion(m).fs for m in (0.0, 0.24, 0.25, 1.0)] == [1, 1, 3, 3], "the nearest level counts"
    calm, lively = (GenerationSettings.from_card(card, motion=motion) for motion in (0.5, 1.0))
    assert (calm.truncated_start, calm.low_pass, lively.truncated_start, lively.low_pass) == (1.0, 0.0, 0.9, 0.5)
    for given in ({"truncated_start": 1.0}, {"free_init": "iterations=2"}, {"camera": "hold"}, {"long_video": "fifo"}):
        own = GenerationSettings.from_card(card, motion=1.0, eta=0.0, **given)
        assert (own.truncated_start, own.low_pass) == (1.0, 0.0), f"{given} should decide"
    with pytest.raises(ConfigError, match=r"fs 4 is outside of 1\.\.3"):
        ModelCard.from_tree({"sampling": {**CARD, "motion_levels": [{"fs": 4}]}}, "here")


def test_levels_count_only_where_they_rise_by_more_than_chance() -> None:
    flows = [[1.0, 2.0, 3.0], [1.1, 2.1, 3.1], [1.0, 2.3, 3.0], [1.3, 2.3, 3.4]]
    assert rising_levels(flows) == [0, 1, 3], "level 2 is as lively as level 1 but for chance"
    with pytest.raises(ValueError, match="3 or more"):
        rising_levels([[1.0, 2.0]])
    placed = placed_levels([MotionLevel(1), MotionLevel(2), MotionLevel(3)], [0.1, 0.4, 0.5])
    assert [level.at for level in placed] == [0.0, 0.75, 1.0], "motion is not spaced as it was measured"
    assert [level_at(placed, m).fs for m in (0.0, 0.3, 0.375, 0.87, 0.88)] == [1, 1, 2, 2, 3]
    levels = candidate_levels([1, 1, 2, 2, 3])
    assert [level.fs for level in levels] == [1, 2, 3, *[3] * len(BEYOND)], "each fs comes once, the liveliest goes on"


def test_a_stride_given_to_a_frame_rate_model_is_noticed() -> None:
    assert "frames per second" in (RELEASED["512"].check_fs(3) or "")
    assert RELEASED["256"].check_fs(3) is None


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("inference_256_v1.0.yaml", "256"),
        ("inference_512_v1.0.yaml", "512"),
        ("inference_1024_v1.0.yaml", "1024"),
        ("inference_512_interp_v1.0.yaml", "512_interp"),
        ("training_512_v1.0/config_interp.yaml", "512_interp"),
    ],
)
def test_the_yaml_of_a_released_model_gives_its_card(config: str, name: str, tmp_path: Path) -> None:
    tree = yaml.safe_load((CONFIGS / config).read_text())
    tree.pop("sampling", None)
    bare = tmp_path / Path(config).name
    bare.write_text(yaml.safe_dump(tree))
    assert ModelCard.from_yaml(bare) == RELEASED[name], "told by the original YAML alone"
    assert ModelCard.from_yaml(CONFIGS / config).name == name, "told by the YAML as we ship it"


def test_a_sampling_block_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    block = "sampling: {name: mine, height: 64, width: 64, fs_meaning: stride, fs_min: 1, fs_max: 3, fs_default: 2%s}\n"
    path.write_text(block % ", capabilities: [i2v, interpolation]")
    card = ModelCard.from_yaml(path)
    assert card.can("interpolation")
    assert card.num_frames == 16
    path.write_text(block % ", guidance: 3.0")
    with pytest.raises(ConfigError, match="unknown key 'guidance'"):
        ModelCard.from_yaml(path)
    path.write_text((block % "").replace("fs_default: 2", "fs_default: 7"))
    with pytest.raises(ConfigError, match="fs_default 7"):
        ModelCard.from_yaml(path)


def test_an_unknown_yaml_without_a_block_says_what_to_add(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("model: {target: x, params: {image_size: [8, 8]}}\n")
    with pytest.raises(ConfigError, match="sampling"):
        ModelCard.from_yaml(path)
