"""What a batch costs beside its videos: CPU time of each over that of the bare pipeline, in one process.

    OMP_NUM_THREADS=1 python benchmarks/batch_overhead.py [--videos N] [--steps N] [--rounds N]

The embedded model animates the example images. Bare is what has to be done in any case: generate, measure, write. Both
have their plan before; the batch does all else: Lightning's loop, what it looks up for each video, the page. They take
turns, with the same loaded model; the first round does not count.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest import mock

from lvdm.batch.plan import ListPlan
from lvdm.batch.planning import plan_batch
from lvdm.batch.run import run_batch
from lvdm.data.lists import STDIN
from lvdm.jobs.loaded import LoadedModel
from lvdm.jobs.record import save_video
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.quality.generated import assess_videos

SOURCE = Path(__file__).parent.parent / "prompts/tiny"


class Quiet:
    """Says nothing."""

    def start(self) -> None: ...

    def progress(self, title: str) -> AbstractContextManager[None]:
        """No bar."""
        return nullcontext()

    def show(self, lines: Iterable[str]) -> None: ...


def bare(plan: ListPlan, pipeline: DynamiCrafterPipeline) -> None:
    """Make the videos of a plan and nothing else."""
    for item in plan.items:
        (video,), own = item.videos, plan.plans[item.plan]
        request = video.request.load(own.store)
        result = pipeline.generate([request], video.request.settings)
        (report,) = assess_videos(pipeline, result, own.playback_fps)
        save_video(pipeline, result, 0, video.output, own.playback_fps, own.drop_last_frame, report)


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process and its threads."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(text: str, folder: str, steps: int, pipeline: DynamiCrafterPipeline) -> tuple[float, float]:
    """CPU seconds of both ways for the videos of the list `text`; new ones, in `folder`."""
    own, shared = (
        plan_batch(STDIN, text, output=f"{folder}/{kind}", num_inference_steps=steps) for kind in ("bare", "batch")
    )
    with mock.patch.object(LoadedModel, "load", return_value=pipeline):
        return seconds(lambda: bare(own, pipeline)), seconds(lambda: run_batch(shared, Quiet()))


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
            alone, shared = compare(text, f"{folder}/{number}", args.steps, pipeline)
            shares.append(shared / alone - 1)
            print(f"round {number}: bare {alone:.2f} s, batch {shared:.2f} s, {shares[-1]:+.2%}", flush=True)
    print(f"overhead of the batch: {statistics.median(shares[1:]):+.2%} of CPU time, median of {args.rounds} rounds")


if __name__ == "__main__":
    main()
