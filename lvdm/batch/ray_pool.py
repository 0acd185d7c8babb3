"""A batch on Ray Data: the same worker as a pool of actors, on this machine or on a cluster of unlike ones.

Bundles go to whichever actor is free, so that a slow machine makes fewer of them. All machines must see the images and
the output folder under the same names. RAY_ADDRESS names a cluster; without it, Ray starts here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import ray
import torch
from ray.data import ActorPoolStrategy

from lvdm.batch.page import LivePage
from lvdm.batch.plan import BatchPlan, Bundle
from lvdm.batch.worker import BatchWorker, Estimate, Reporter
from lvdm.errors import UserError
from lvdm.progress import in_words

logger = logging.getLogger(__name__)


class BundleMaker:
    """The worker as an actor."""

    def __init__(self, plan: BatchPlan, reporter: Reporter, threads: int) -> None:
        reporter.start()
        self._worker = BatchWorker(plan, reporter, threads=threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the bundle of a row; gives the items of it that failed."""
        bundle = [int(number) for number in row["bundle"]]
        return {"bundle": bundle, "failed": sorted(self._worker.make(bundle))}


def make_with_ray(plan: BatchPlan, bundles: Sequence[Bundle], reporter: Reporter) -> None:
    """Make the bundles. Raises `UserError` if a model cannot be loaded, or Ray cannot go on."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, logging_level=logging.WARNING)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = ray.data.from_items([{"bundle": list(bundle)} for bundle in bundles], override_num_blocks=len(bundles))
        accelerated = plan.plans[0].model.device.type != "cpu"
        results = rows.map(
            BundleMaker,
            fn_constructor_args=(plan, reporter, torch.get_num_threads()),
            compute=ActorPoolStrategy(size=_actors(plan, len(bundles), accelerated)),
            num_cpus=1,
            num_gpus=1 if accelerated else 0,
        )
        _watch(plan, bundles, results)
    except ray.exceptions.RayError as error:
        raise UserError(f"Ray: {str(error).strip().splitlines()[-1].strip()}; what is finished stays") from error
    finally:
        if started:
            ray.shutdown()


def _watch(plan: BatchPlan, bundles: Sequence[Bundle], results: Any) -> None:
    """Count the results, and say how long the rest takes."""
    estimate = Estimate([plan.items[number].work for bundle in bundles for number in bundle])
    total, done, page = sum(map(len, bundles)), 0, LivePage(plan)
    for row in results.iter_rows():
        numbers = [int(number) for number in row["bundle"]]
        estimate.add([plan.items[number].work for number in numbers])
        done += len(numbers)
        left = estimate.left()
        logger.info("%d of %d done, %s left", done, total, in_words(left or 0.0))
        page.refresh()


def _actors(plan: BatchPlan, bundles: int, accelerated: bool) -> int:
    """How many there are: as `--devices` says, else one for each GPU of the cluster, or one."""
    there = int(ray.cluster_resources().get("GPU", 0)) if accelerated else 1
    return min(bundles, plan.how.devices or max(1, there))
