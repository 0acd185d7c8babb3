"""The plan of batches: nothing left out, nothing dependent on devices or on interruptions."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from lvdm.data.clips import Clip, ClipDataset, ClipSize, Draw
from lvdm.data.sampling import BatchSchedule, Bucket, PlannedBatches, assign_buckets

WIDE, TALL, STILL = ClipSize(16, 320, 512), ClipSize(16, 512, 320), ClipSize(1, 320, 512)


class Sizes:
    """A source of videos with the given native sizes; a clip tells the random number that it was made with."""

    def __init__(self, *sizes: ClipSize | None) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def clip(self, index: int, rng: random.Random, size: ClipSize | None = None) -> Clip:
        return {"path": str(index), "random": rng.random(), "size": size}

    def native_size(self, index: int) -> ClipSize | None:
        return self.sizes[index]


def draws(plan: BatchSchedule, count: int) -> list[Draw]:
    return [draw for number in range(count) for draw in plan.batch(number)]


@pytest.mark.parametrize("batch", [1, 3, 7, 12])
def test_one_pass_shows_every_video_once(batch: int) -> None:
    stream = draws(BatchSchedule([Bucket(range(10))], batch, seed=1), 40)
    assert [draw.number for draw in stream] == list(range(40 * batch)), "samples are counted without gaps"
    for visit in range(4):
        shown = sorted(draw.index for draw in stream[10 * visit : 10 * visit + 10])
        assert shown == list(range(10)), f"pass {visit} shows {shown}"


def test_the_stream_of_one_bucket_does_not_depend_on_the_batch_size() -> None:
    streams = [draws(BatchSchedule([Bucket(range(11))], batch, seed=5), 60 // batch) for batch in (2, 3, 4)]
    assert streams[0] == streams[1] == streams[2], "another number of devices should see the same clips in order"


def test_passes_and_seeds_differ_and_no_shuffling_keeps_the_order() -> None:
    shuffled = draws(BatchSchedule([Bucket(range(20))], 20, seed=5), 2)
    assert [d.index for d in shuffled[:20]] != [d.index for d in shuffled[20:]], "passes have orders of their own"
    other = draws(BatchSchedule([Bucket(range(20))], 20, seed=6), 1)
    assert [d.index for d in other] != [d.index for d in shuffled[:20]], "the seed decides the order"
    plain = draws(BatchSchedule([Bucket(range(3))], 2, seed=5, shuffle=False), 3)
    assert [d.index for d in plain] == [0, 1, 2, 0, 1, 2]


def test_batches_have_one_size_and_buckets_their_share() -> None:
    plan = BatchSchedule(
        [Bucket(tuple(range(12)), WIDE), Bucket(tuple(range(12, 18)), TALL), Bucket((18,), STILL)], 3, 0
    )
    assert len(plan) == 4 + 2 + 1, "a bucket smaller than a batch still has one in each period"
    for period in range(3):
        batches = [plan.batch(period * 7 + slot) for slot in range(7)]
        sizes = Counter(draw.size for batch in batches for draw in batch)
        assert sizes == {WIDE: 12, TALL: 6, STILL: 3}, f"period {period}: {sizes}"
        assert all(len({draw.size for draw in batch}) == 1 for batch in batches), "a batch mixes sizes"
        shown = Counter(draw.index for batch in batches for draw in batch)
        assert all(shown[index] == 1 for index in range(18)), f"period {period} shows {shown}"


def test_any_batch_can_be_named_without_those_before_it() -> None:
    buckets = [Bucket(tuple(range(9)), WIDE), Bucket(tuple(range(9, 14)), TALL)]
    walked = BatchSchedule(buckets, 2, seed=3)
    history = [walked.batch(number) for number in range(50)]
    assert BatchSchedule(buckets, 2, seed=3).batch(37) == history[37]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_devices_share_the_global_batch(world_size: int) -> None:
    plan = BatchSchedule([Bucket(range(30))], 8, seed=2)
    parts = [list(PlannedBatches(plan, lambda: 5, rank, world_size)) for rank in range(world_size)]
    for number, batches in enumerate(zip(*parts, strict=True)):
        assert [draw for batch in batches for draw in batch] == plan.batch(5 + number)


def test_an_epoch_goes_on_where_the_training_stands() -> None:
    plan = BatchSchedule([Bucket(range(6))], 2, seed=2)
    position = iter([0, 3, 4])
    batches = PlannedBatches(plan, lambda: next(position))
    assert [[plan.batch(start + i) for i in range(3)] for start in (0, 3, 4)] == [list(batches) for _ in range(3)]


def test_videos_go_to_the_bucket_that_suits_them() -> None:
    source = Sizes(ClipSize(90, 720, 1280), ClipSize(90, 1280, 720), ClipSize(1, 720, 1280), None)
    buckets = assign_buckets(source, [WIDE, TALL, STILL])
    assert [bucket.members for bucket in buckets] == [(0, 3), (1,), (2,)]
    assert assign_buckets(source, []) == [Bucket(range(4))]


def test_a_clip_depends_on_seed_and_number_alone() -> None:
    def made(seed: int, *chosen: Draw) -> list[Any]:
        return [clip["random"] for clip in ClipDataset(Sizes(None, None), seed).__getitems__(chosen)]

    first, second = Draw(0, 10), Draw(1, 11, WIDE)
    assert made(1, first, second) == [*made(1, first), *made(1, second)], "a clip depends on its batch"
    assert made(1, first) != made(2, first)
    assert made(1, first) != made(1, Draw(0, 12)), "the same video should give another clip the next time"
    (clip,) = ClipDataset(Sizes(None, None), 1).__getitems__([second])
    assert (clip["number"], clip["size"], clip["path"]) == (11, WIDE, "1")


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="no videos"):
        BatchSchedule([Bucket(())], 2, seed=0)
    with pytest.raises(ValueError, match="cannot be shared by 2"):
        PlannedBatches(BatchSchedule([Bucket(range(4))], 3, seed=0), lambda: 0, 0, 2)


def test_in_order_a_period_covers_every_video() -> None:
    plan = BatchSchedule([Bucket(range(5))], 2, seed=0, shuffle=False)
    assert {draw.index for draw in draws(plan, len(plan))} == set(range(5)), "validation should leave no clip out"
