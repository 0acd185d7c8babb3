"""Which clips make which batch: a plan without state, so that any batch of a training can be named by its number.

Batch k of the training holds the sample numbers k x G ... k x G + G - 1, where G is the global batch, the sum over all
devices. Videos are grouped into buckets of one clip size. A bucket is gone through in passes, each in an order of its
own, and no video is left out of a pass; a batch may hold the end of one pass and the beginning of the next. Which
bucket a batch comes from is decided by an order over one *period*, in which each bucket has batches in proportion to
its videos. With one bucket the stream of clips does not depend on G at all, and so survives a change of the number of
devices.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import Sampler

from lvdm.data.clips import ClipSize, ClipSource, Draw


@dataclass(frozen=True)
class Bucket:
    """Videos whose clips have one size, by their index in the source; None for the source's own size."""

    members: tuple[int, ...] | range
    size: ClipSize | None = None


class BatchSchedule:
    """The draws of every batch of a training, as a pure function of the seed and the batch's number."""

    def __init__(self, buckets: Sequence[Bucket], global_batch: int, seed: int | str, shuffle: bool = True) -> None:
        """Raises `ValueError` when there is no video at all, or for a batch below 1."""
        self.buckets = [bucket for bucket in buckets if len(bucket.members)]
        if not self.buckets:
            raise ValueError("there are no videos to plan batches of")
        if global_batch < 1:
            raise ValueError(f"a batch holds at least one clip, not {global_batch}")
        self.global_batch = global_batch
        self.seed = seed
        self.shuffle = shuffle
        self._shares = [self._share(len(bucket.members)) for bucket in self.buckets]

    def _share(self, videos: int) -> int:
        """Batches of a bucket in one period. In order, as for validation, they cover every video at least once."""
        return max(1, videos // self.global_batch) if self.shuffle else -(-videos // self.global_batch)

    def __len__(self) -> int:
        """Batches of one period, about one pass over all videos."""
        return sum(self._shares)

    def batch(self, number: int) -> list[Draw]:
        """The draws of batch `number`, counted from the beginning of the training."""
        which, position = self._bucket_of(number)
        bucket = self.buckets[which]
        first = position * self.global_batch
        return [
            Draw(self._member(which, first + offset), number * self.global_batch + offset, bucket.size)
            for offset in range(self.global_batch)
        ]

    def _bucket_of(self, number: int) -> tuple[int, int]:
        """Which bucket batch `number` comes from, and how many batches of that bucket came before it."""
        if len(self.buckets) == 1:
            return 0, number
        period, slot = divmod(number, len(self))
        order = self._period_order(period)
        which = order[slot]
        return which, period * self._shares[which] + order[:slot].count(which)

    @functools.lru_cache(maxsize=4)  # noqa: B019  a plan lives as long as its training
    def _period_order(self, period: int) -> list[int]:
        order = [which for which, share in enumerate(self._shares) for _ in range(share)]
        if self.shuffle:
            random.Random(f"{self.seed}/{period}/buckets").shuffle(order)
        return order

    def _member(self, which: int, position: int) -> int:
        members = self.buckets[which].members
        visit, place = divmod(position, len(members))
        return members[self._pass_order(which, visit)[place] if self.shuffle else place]

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def _pass_order(self, which: int, visit: int) -> Sequence[int]:
        order = list(range(len(self.buckets[which].members)))
        random.Random(f"{self.seed}/{which}/{visit}/order").shuffle(order)
        return order


class PlannedBatches(Sampler[list[Draw]]):
    """The batches of one device: its contiguous part of every global batch, from where the training stands.

    `position` gives the number of the next batch each time an epoch begins. An epoch is one period of the plan.
    """

    def __init__(self, plan: BatchSchedule, position: Callable[[], int], rank: int = 0, world_size: int = 1) -> None:
        if plan.global_batch % world_size:
            raise ValueError(f"a global batch of {plan.global_batch} cannot be shared by {world_size} devices")
        self.plan = plan
        self.position = position
        size = plan.global_batch // world_size
        self._share = slice(rank * size, (rank + 1) * size)

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[Draw]]:
        first = self.position()
        for number in range(first, first + len(self)):
            yield self.plan.batch(number)[self._share]


def assign_buckets(source: ClipSource, sizes: Sequence[ClipSize]) -> list[Bucket]:
    """Put every video of `source` into the bucket whose shape suits it best.

    Among the sizes with no more frames than the video has, the nearest aspect ratio wins, then the most frames, then
    the largest size that need not be enlarged. A video of unknown size goes to the first bucket. No sizes make one
    bucket of the source's own size.
    """
    if not sizes:
        return [Bucket(range(len(source)))]
    members: list[list[int]] = [[] for _ in sizes]
    for index in range(len(source)):
        native = source.native_size(index)
        members[0 if native is None else best_size(native, sizes)].append(index)
    return [Bucket(tuple(chosen), size) for chosen, size in zip(members, sizes, strict=True)]


def best_size(native: ClipSize, sizes: Sequence[ClipSize]) -> int:
    """Index of the size that suits a video of `native` size, see `assign_buckets`."""
    fitting = [i for i, size in enumerate(sizes) if size.num_frames <= native.num_frames] or range(len(sizes))

    def distance(i: int) -> tuple[float, int, bool, int]:
        size = sizes[i]
        stretch = abs(math.log(native.width / native.height) - math.log(size.width / size.height))
        enlarged = size.height > native.height or size.width > native.width
        return round(stretch, 6), -size.num_frames, enlarged, -size.height * size.width

    return min(fitting, key=distance)
