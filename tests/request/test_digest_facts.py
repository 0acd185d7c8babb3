"""What a digest is made of, and the words for parameters."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lvdm.content_hash import content_hash
from lvdm.declaration.parameters import SeedParameters
from lvdm.request.digest import InputFile, digest_of, file_facts, files_of_methods, setting_facts
from lvdm.request.layers import Values, check_mode, checked, file_inputs, in_field_names, shown_name
from lvdm.request.settings import GenerationSettings

FACTS = (
    *("anchor", "between", "between_prompt", "camera", "color_lock", "free_init", "free_u", "keep_feather", "low_pass"),
    *("low_pass_until", "weak", "late_below", "start_time", "num_inference_steps", "guidance_scale", "fit", "mode"),
    *("image_guidance_scale", "guidance_rescale", "eta", "sampler", "timestep_spacing", "fix_final_step", "num_frames"),
    *("long_video", "image_token_policy"),
)
"""Settings in the digest of every video. One more makes every finished video again."""


def test_facts_are_the_settings_that_change_pixels_and_are_not_told_otherwise() -> None:
    assert sorted(setting_facts(GenerationSettings())) == sorted(FACTS)
    structure = setting_facts(GenerationSettings(mode="structure"))
    assert sorted(structure) == sorted([*FACTS, "depth_range", "depth_stride"]), "what only this mode reads"
    chunked = setting_facts(GenerationSettings(decode_chunk_size=2, height=64))
    assert chunked == setting_facts(GenerationSettings()), "what changes no pixel, and the size, are told elsewhere"


def test_files_of_methods_are_told_by_their_content(tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    file.write_bytes(b"statistics")
    settings = GenerationSettings(start_statistics=str(file), truncated_start=0.9)
    assert files_of_methods(settings) == [InputFile("start_statistics", content_hash(file), file)]
    assert files_of_methods(GenerationSettings()) == []
    pair = [InputFile("keyframes", "b", frame=2), InputFile("image", "a")]
    assert file_facts(pair) == file_facts(pair[::-1]), "their order means nothing"
    assert file_facts(pair[1:]) != file_facts([InputFile("image", "c")]), "another image is another video"


def test_digests_stay_what_they_were() -> None:
    """Videos are finished by their digests: another one for the same facts makes all of them again."""
    assert digest_of({"prompt": "\u00e9", "seed": 3}).startswith("2291235b7a18")
    assert digest_of({"seed": 2**53}).startswith("7a2253bbecf8")
    assert digest_of({"seed": 2**53}) != digest_of({"seed": 2**53 + 1}), "as floats they would be one"
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"a": math.nan})


def test_parameters_are_checked_by_name_and_by_mode() -> None:
    assert checked({"eta": 0.5, "seed": None}) == {"eta": 0.5}, "None is as if it were left out"
    check_mode(["eta", "overlap"], "extend")
    with pytest.raises(ValueError, match=r"^animate does not read overlap \(--overlap\); leave it out$"):
        check_mode(["eta", "overlap"], "animate")
    with pytest.raises(ValueError, match=r"^animate with key frames does not read keep_mask"):
        check_mode(["keep_mask"], "keyframes")
    assert (shown_name("image"), shown_name("num_frames")) == ("image", "num_frames (--num-frames)")
    files = ("image", "end_image", "keep_mask", "guide_video", "depth", "driving_video", "depth_model")
    assert file_inputs() == files


def test_values_are_made_of_their_layers() -> None:
    values = Values().under({"seed": 3, "eta": 0.5}, "record", ["eta"]).under({"num_videos_per_prompt": 2}, "typed")
    assert values.of(SeedParameters) == {"seed": 3}
    assert values.make(SeedParameters).seed == 3
    assert values.derived == {"eta"}
    assert values.under({"sampler": "unipc"}, "typed").values == {
        "seed": 3,
        "num_videos_per_prompt": 2,
        "sampler": "unipc",
    }, "eta was derived from another sampler"
    faster = Values().under({"fps": 8.0, "seed": 3}, "record").under({"motion": 0.5}, "typed")
    assert faster.values == {"seed": 3, "motion": 0.5}, "fps and motion set the same thing"
    two = Values().under({"fps": 8.0, "preset": "tiny", "seed": 3}, "record")
    now = two.under({"motion": 0.5, "checkpoint": Path("a")}, "typed").values
    assert now == {"seed": 3, "motion": 0.5, "checkpoint": Path("a")}, (
        "only one group of what sets the same is replaced"
    )
    both = Values().under({"depth_model": Path("a"), "depth": Path("b")}, "record").under({"depth": Path("c")}, "typed")
    assert both.values == {"depth": Path("c")}, "an estimator of depth that is given has nothing to do"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("num_frames (--num-frames) 5 is too many", "num_frames 5 is too many"),
        ("give it (depth, --depth)", "give it (depth)"),
        ("use long_video fifo (--long-video fifo)", "use long_video fifo"),
        ("leave out --output, or --lora", "leave out output, or loras"),
        ("--prompt-at 'a' is wrong", "prompts_at 'a' is wrong"),
        ("name weights (--checkpoint)", "name weights (checkpoint)"),
        ("record was made with image (image), by --verbose", "record was made with image (image), by --verbose"),
    ],
)
def test_flags_become_the_names_of_fields(message: str, words: str) -> None:
    assert in_field_names(message) == words


def test_a_value_goes_with_what_says_the_same_and_stays_under_others() -> None:
    below = Values().under({"fs": 8.0, "eta": 1.0}, "record")
    assert below.under({"seed": 3}, "typed").values == {"fs": 8.0, "eta": 1.0, "seed": 3}
    assert below.under({"frame_stride": 2.0}, "typed").values == {"eta": 1.0, "frame_stride": 2.0}
