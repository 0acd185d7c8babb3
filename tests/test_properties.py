"""Laws that hold for all values, tried with those that hypothesis thinks of."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lvdm.batch.plan import BatchItem, BatchPlan
from lvdm.data.prompts import safe_name, unique_names
from lvdm.declaration.run_parameters import BatchParameters
from lvdm.diffusion.parameterization import eps_from_v, eps_from_x0, q_sample, velocity, x0_from_eps, x0_from_v
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.documents import parse_json, parse_yaml
from lvdm.media.file_names import natural_order
from lvdm.media.geometry import contained_size, covering_size, fit_box, padded_size
from lvdm.media.video_formats import EncoderInput
from lvdm.request.digest import digest_of
from lvdm.request.layers import DERIVED, SAME_THING, Values, all_parameters
from lvdm.sizes import choose_size


def law(*strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`given` with few examples, which are the same each time."""
    few = settings(max_examples=25, deadline=None, database=None, derandomize=True)
    return lambda test: few(given(*strategies)(test))


SIDES = st.integers(16, 600)
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="$"), max_size=8)
NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text("abxy", min_size=1, max_size=4)
TREES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@law(SIDES, SIDES, st.sampled_from([8, 64]), st.integers(0, 2**31))
def test_padding_and_cropping_is_there_and_back(height: int, width: int, multiple: int, seed: int) -> None:
    size = padded_size(height, width, multiple)
    assert size.height % multiple == size.width % multiple == 0
    assert 0 <= size.height - height < multiple
    assert 0 <= size.width - width < multiple
    for outer, begin, inner in ((size.height, size.inner.top, height), (size.width, size.inner.left, width)):
        assert 0 <= outer - inner - 2 * begin <= 1, "the image does not lie in the middle"
    image = torch.rand(1, height, width, generator=torch.Generator().manual_seed(seed))
    padded = size.pad(image)
    assert padded.shape[1:] == (size.height, size.width)
    assert torch.equal(size.crop(padded), image)
    assert padded.min() == image.min(), "the border is repeated, and nothing new comes in"


@law(SIDES, SIDES, SIDES, SIDES)
def test_what_fits_inside_and_what_covers(height: int, width: int, target_height: int, target_width: int) -> None:
    size, target = (height, width), (target_height, target_width)
    covering, contained = covering_size(size, target), contained_size(size, target)
    assert all(a >= b for a, b in zip(covering, target, strict=True))
    assert all(a <= b for a, b in zip(contained, target, strict=True))
    assert target_height in (covering[0], contained[0])
    for found in (covering, contained):  # the aspect stays, but for whole pixels
        scale = [found[i] / size[i] for i in (0, 1)]
        assert abs(scale[0] - scale[1]) <= 1 / min(height, width) + 1e-9
    for mode in ("pad", "crop", "stretch"):
        box = fit_box(size, target, mode)  # type: ignore[arg-type]
        above, below = box.top, target_height - box.top - box.height
        assert 0 <= below - above <= 1, "the image does not lie in the middle"


@law(st.none() | SIDES, st.none() | SIDES, SIDES, SIDES)
def test_sizes_that_are_asked_for_are_those_that_are_made(
    height: int | None, width: int | None, image_height: int, image_width: int
) -> None:
    size = choose_size(height, width, (image_height, image_width), (64, 64), 8)
    assert height is None or size.inner.height == height
    assert width is None or size.inner.width == width
    if height is None and width is None:
        assert size.is_exact
        assert 0.5 < size.height * size.width / 64**2 < 2, "the area of the training is left"


@law(
    st.floats(1e-5, 0.01), st.floats(1, 50), st.integers(2, 1500), st.booleans(), st.floats(0.1, 1), st.integers(1, 400)
)
def test_every_schedule_goes_from_the_image_to_noise(
    start: float, growth: float, timesteps: int, zero: bool, base: float, turning: int
) -> None:
    config = ScheduleConfig(start, min(start * growth, 0.9), timesteps, "v", zero, True, base, turning)
    schedule = NoiseSchedule.from_config(config)
    abar = schedule.alphas_cumprod.double()
    assert schedule.num_train_timesteps == timesteps
    assert (abar.diff() <= 0).all(), "signal comes back"
    assert 0 <= abar[-1] <= abar[0] < 1
    assert not zero or abar[-1].abs() < 1e-6
    scale = schedule.scale(torch.arange(timesteps))
    assert (scale.diff() <= 0).all()
    assert scale[0] <= 1
    assert scale[-1] >= torch.tensor(base) - 1e-6


@law(st.integers(0, 998), st.integers(0, 2**31))
def test_each_parameterization_gives_back_what_was_mixed(t: int, seed: int) -> None:
    schedule = NoiseSchedule.from_config(ScheduleConfig(parameterization="v"))
    x_0, noise = torch.randn(2, 1, 4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    steps = torch.tensor([t])
    x_t, v = q_sample(x_0, noise, steps, schedule), velocity(x_0, noise, steps, schedule)
    for found, expected in (
        (x0_from_v(x_t, v, steps, schedule), x_0),
        (eps_from_v(x_t, v, steps, schedule), noise),
        (x0_from_eps(x_t, noise, steps, schedule), x_0),
        (eps_from_x0(x_t, x_0, steps, schedule), noise),
    ):
        assert torch.allclose(found, expected, atol=1e-6), f"step {t}"


@law(st.sampled_from(["uniform", "uniform_trailing", "quad"]), st.integers(2, 1200), st.data())
def test_steps_descend_within_any_training(spacing: Any, num_train: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, num_train))
    steps = make_timesteps(spacing, count, num_train)
    assert steps.shape == (count,)
    assert (steps.diff() < 0).all()
    assert steps[-1] >= 0
    assert steps[0] < num_train


@law(st.floats(0.01, 1000), st.integers(1, 3000), st.sampled_from([100, 1000]))
def test_times_of_frames_do_not_drift(fps: float, count: int, per_second: int) -> None:
    rate = Fraction(fps).limit_denominator(1001)
    edges = EncoderInput(iter(()), rate, None, {}).edges(count, per_second)
    assert len(edges) == count + 1
    assert edges[0] == 0
    assert all(before <= after for before, after in itertools.pairwise(edges))
    assert all(abs(edge - number * per_second / rate) <= 0.5 for number, edge in enumerate(edges))


NAMES = st.sampled_from(sorted(all_parameters()))
LAYER = st.dictionaries(NAMES, st.integers(0, 3), max_size=6)


@law(LAYER, LAYER, LAYER, st.sets(NAMES))
def test_the_upper_layer_wins_and_nothing_else_changes(
    lower: dict[str, int], middle: dict[str, int], upper: dict[str, int], derived: set[str]
) -> None:
    base = Values().under(lower, "record", derived & set(lower))
    values = base.under(middle, "row").under(upper, "typed")
    assert values.typed() == upper
    for name, value in middle.items():
        if name not in upper and not any(name in group and set(group) & set(upper) for group in SAME_THING):
            assert values.values[name] == value, f"{name} of the row is lost"
    above = set(middle) | set(upper)
    for name, value in lower.items():
        replaced = name in above or any(name in group and set(group) & above for group in SAME_THING)
        stale = name in base.derived and set(DERIVED.get(name, ())) & above
        assert (values.values.get(name) == value and values.layers.get(name) == "record") == (
            not replaced and not stale
        )
    assert set(values.values) == set(values.layers)
    assert set(values.values) <= set(lower) | above
    assert base.under({}, "typed") == base


def shuffled(tree: Any, order: Any) -> Any:
    """The same tree with the keys of its mappings in another order, and whole numbers as floats."""
    if isinstance(tree, dict):
        return {key: shuffled(tree[key], order) for key in order(list(tree))}
    if isinstance(tree, list):
        return [shuffled(item, order) for item in tree]
    return float(tree) if type(tree) is int and abs(tree) < 2**53 else tree


def plain(tree: Any) -> str:
    """A text that is the same for trees that mean the same."""
    return json.dumps(shuffled(tree, sorted))


@law(st.dictionaries(st.text("abc", max_size=2), TREES, max_size=4), st.randoms(use_true_random=False), TREES)
def test_digests_tell_meanings_apart_and_nothing_else(facts: dict[str, Any], random: Any, other: Any) -> None:
    digest = digest_of(facts)
    assert digest == digest_of(shuffled(facts, lambda keys: random.sample(keys, len(keys))))
    changed = {**facts, "a": other}
    assert (digest == digest_of(changed)) == (plain(facts) == plain(changed))


@law(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([64, 128]), st.sampled_from([1, 1, 3])), max_size=30),
    st.integers(1, 8), st.integers(1, 5),
)  # fmt: skip
def test_shares_of_a_batch_are_all_of_it_once(kinds: list[tuple[int, int, int]], size: int, processes: int) -> None:
    items = []
    for plan, side, copies in kinds:
        size_of = padded_size(side, side, 64)
        inputs, chosen = SimpleNamespace(guide_video=None), SimpleNamespace(num_frames=4)
        request = SimpleNamespace(size=size_of, settings=chosen, inputs=inputs)
        items.append(BatchItem(1, "", "", plan, tuple(SimpleNamespace(request=request) for _ in range(copies))))
    batch = BatchPlan(Path(), (), tuple(items), (), BatchParameters(batch_size=size))  # type: ignore[arg-type]
    bundles = batch.bundles(range(len(items)))
    shares = [bundles[rank::processes] for rank in range(processes)]
    found = [number for share in shares for bundle in share for number in bundle]
    assert sorted(found) == list(range(len(items)))
    for bundle in bundles:
        assert 1 <= len(bundle) <= size
        assert len({(kinds[number][0], kinds[number][1]) for number in bundle}) == 1, "a bundle mixes sizes or models"
        assert len(bundle) == 1 or all(kinds[number][2] == 1 for number in bundle)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@law(st.lists(st.text("aB1/.: ", max_size=5), max_size=20))
def test_names_of_a_list_are_its_own(stems: list[str]) -> None:
    names = unique_names([safe_name(stem) for stem in stems])
    assert len({name.casefold() for name in names}) == len(stems)
    assert unique_names(names) == names
    for name in names:
        assert Path(name).name == name
        assert safe_name(name) == name


@law(st.lists(st.integers(0, 10**12), unique=True, max_size=20), st.text("ab_", max_size=3))
def test_numbers_in_names_count_as_numbers(numbers: list[int], stem: str) -> None:
    names = [f"{stem}{number}.png" for number in numbers]
    assert natural_order(names) == [f"{stem}{number}.png" for number in sorted(numbers)]


@law(TREES)
def test_documents_are_read_as_they_were_written(tree: Any) -> None:
    assert parse_json(json.dumps(tree), "x") == tree
    found = parse_yaml(yaml.safe_dump({"a": tree}), "x")["a"]
    assert plain(found) == plain(tree) or math.isclose(float(found), float(tree))
