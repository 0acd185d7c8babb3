"""What a batch costs beside its videos: CPU time outside of generating, measuring and writing them.

    OMP_NUM_THREADS=1 python benchmarks/batch_overhead.py [--videos N] [--steps N] [--rounds N]

The embedded model animates the example images in one process. The bare pipeline is what has to be done in any case, and
its time is taken inside of the batch: so both are of one run, and the noise of a busy machine is in neither alone. All
else is overhead: Lightning's loop, what lies in the folder, the page. Planning is not, as one video needs it, too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest import mock

from lvdm.batch.planning import plan_batch
from lvdm.batch.run import run_batch
from lvdm.data.lists import STDIN
from lvdm.jobs.loaded import LoadedModel
from lvdm.jobs.plan import PlannedVideo
from lvdm.jobs.run import Event, PlanWork
from lvdm.pipeline import DynamiCrafterPipeline

SOURCE = Path(__file__).parent.parent / "prompts/tiny"


class Quiet:
    """Says nothing."""

    def start(self) -> None: ...

    def progress(self, title: str) -> AbstractContextManager[None]:
        """No bar."""
        return nullcontext()

    def show(self, lines: Iterable[str]) -> None: ...


def measure(text: str, folder: str, steps: int, pipeline: DynamiCrafterPipeline) -> tuple[float, float]:
    """CPU seconds of a batch of the list `text` into a new `folder`, and of its videos alone."""
    plan, inside = plan_batch(STDIN, text, output=folder, num_inference_steps=steps), list[float]()
    make = PlanWork.make

    def timed(execution: PlanWork, videos: Sequence[PlannedVideo]) -> Iterator[Event]:
        begin = time.process_time()
        events = list(make(execution, videos))
        inside.append(time.process_time() - begin)
        yield from events

    begin = time.process_time()
    with (
        mock.patch.object(LoadedModel, "load", return_value=pipeline),
        mock.patch.object(PlanWork, "make", timed),
    ):
        run_batch(plan, Quiet())
    return time.process_time() - begin, sum(inside)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8, help="up to 8 in each round")
    parser.add_argument("--steps", type=int, default=10, help="of sampling; the card says 25")
    parser.add_argument("--rounds", type=int, default=3, help="that count")
    args = parser.parse_args()
    prompts = (SOURCE / "test_prompts.txt").read_text(encoding="utf-8").splitlines()
    pairs = zip(sorted(SOURCE.glob("*.png")), prompts, strict=True)
    text = "\n".join(["image,prompt", *(f'{image},"{prompt}"' for image, prompt in list(pairs)[: args.videos])])
    pipeline, shares = DynamiCrafterPipeline.from_pretrained("tiny"), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds + 1):
            whole, videos = measure(text, f"{folder}/{number}", args.steps, pipeline)
            shares.append(whole / videos - 1)
            print(f"round {number}: videos {videos:.2f} s, batch {whole:.2f} s, {shares[-1]:+.2%}", flush=True)
    print(f"overhead of the batch: {statistics.median(shares[1:]):+.2%} of CPU time, median of {args.rounds} rounds")


if __name__ == "__main__":
    main()
