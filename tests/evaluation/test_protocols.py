"""A protocol has a name, and another name as soon as a field is another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lvdm.evaluation.protocols import FOLDER, ProtocolError, load_protocol, parse_overrides, protocol_names

FACTS = {
    "dynamicrafter-2023": {"height": 256, "width": 256, "frames": 16, "stride": 3, "clips": 2048, "ddof": 1},
    "stylegan-v-fvd2048-16f": {"resize": "none", "frames": 16, "stride": 1, "clips": 2048, "ddof": 0},
    "lvdm-2022": {"height": 256, "width": 256, "frames": 16, "clips": 2048, "ddof": 1},
    "procedural-v1": {"height": 64, "width": 64, "frames": 16, "stride": 1, "extractors": ("stpyr-v1", "tiny-clip")},
    "interpolation-v1": {"height": 320, "width": 512, "frames": 16, "paired": True, "extractors": ()},
}


def test_the_published_protocols_are_there_with_their_facts() -> None:
    assert protocol_names() == sorted(FACTS)
    for name, facts in FACTS.items():
        protocol = load_protocol(name)
        assert protocol.name == name
        assert {key: getattr(protocol, key) for key in facts} == facts


@pytest.mark.parametrize("name", sorted(FACTS))
def test_another_field_is_another_name_and_the_same_value_is_not(name: str) -> None:
    own = load_protocol(name)
    assert load_protocol(name, {"frames": own.frames, "clips": own.clips}) == own
    changed = load_protocol(name, {"stride": own.stride + 1})
    assert changed.name.startswith("custom+")
    assert len(changed.name) == len("custom+") + 8
    assert changed.name == load_protocol(name, {"stride": own.stride + 1}).name, "the name should only depend on fields"
    assert changed.name != load_protocol(name, {"stride": own.stride + 2}).name


def test_a_file_of_ones_own_cannot_pass_for_a_published_protocol(tmp_path: Path) -> None:
    tree = yaml.safe_load((FOLDER / "lvdm-2022.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    assert load_protocol(str(tmp_path / "mine.yaml")).name == "mine"
    (tmp_path / "lvdm-2022.yaml").write_text(yaml.safe_dump(tree))
    assert load_protocol(str(tmp_path / "lvdm-2022.yaml")) == load_protocol("lvdm-2022")
    (tmp_path / "lvdm-2022.yaml").write_text(yaml.safe_dump({**tree, "clips": 100}))
    assert load_protocol(str(tmp_path / "lvdm-2022.yaml")).name.startswith("custom+")


def test_overrides_are_read_as_yaml() -> None:
    values = parse_overrides(["frames=32", "extractors=[stpyr-v1]", "paired=false", "height=null"])
    assert values == {"frames": 32, "extractors": ["stpyr-v1"], "paired": False, "height": None}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"frame": 32}, "did you mean 'frames'"),
        ({"frames": "many"}, "should be a whole number"),
        ({"frames": 0}, "at least 1"),
        ({"resize": "none"}, "takes no height and width"),
        ({"height": None}, "resize = 'crop' goes with height = None"),
        ({"ddof": 2}, "should be 0 or 1"),
        ({"metrics": []}, "at least one group"),
        ({"metrics": ["fid"]}, "is not known"),
        ({"paired": False, "metrics": ["reconstruction"]}, "needs `paired: true`"),
    ],
)
def test_wrong_fields_are_refused_in_one_line(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_protocol("dynamicrafter-2023", overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["frames", "name=x", "frames=["])
def test_wrong_settings_are_refused(setting: str) -> None:
    with pytest.raises(ProtocolError):
        parse_overrides([setting])


def test_an_unknown_protocol_names_those_there_are() -> None:
    with pytest.raises(ProtocolError, match="choose dynamicrafter-2023, interpolation-v1, lvdm-2022"):
        load_protocol("fvd")
