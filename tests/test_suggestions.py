"""The one hint that follows an unknown name."""

from __future__ import annotations

import pytest

from lvdm.suggestions import suggest


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ddmi", "did you mean 'ddim'?"),
        ("i3d", "did you mean 'i3d-logits'?"),  # too short to be spelled alike: it is its beginning
        ("zzz", "use one of ddim, unipc, i3d-logits"),
        ("", "use one of ddim, unipc, i3d-logits"),
        (7, "use one of ddim, unipc, i3d-logits"),
    ],
)
def test_the_nearest_name_or_all_of_them(name: object, hint: str) -> None:
    assert suggest(name, ["ddim", "unipc", "i3d-logits"]) == hint


def test_names_spelled_alike_go_before_those_that_begin_alike() -> None:
    assert suggest("uni", ["uniform_trailing", "unis"]) == "did you mean 'unis'?"


def test_a_mapping_is_its_names_and_nothing_known_is_said() -> None:
    assert suggest("x", {"a": 1, "b": 2}) == "use one of a, b"
    assert suggest("x", ()) == "there are none"


def test_a_whole_word_of_a_name_is_near():
    known = ["fps", "num_inference_steps", "num_frames"]
    assert suggest("steps", known) == "did you mean 'num_inference_steps'?", "people write steps for the long name"
    assert suggest("tep", known) == "use one of fps, num_inference_steps, num_frames", "a part is no word"
