"""Kills, and the same again and again: what docs/reliability.md promises, at length and on the small model.

    python tests/endurance.py batches 100        # kills of a process that makes a list of videos
    python tests/endurance.py trainings 20       # trainings that are killed and go on
    python tests/endurance.py jobs 500           # of a server, with kills between them
    python tests/endurance.py generations 1000   # in one process, whose memory is to stay flat
    python tests/endurance.py rows 20000         # of a list, planned

Like `planted_mistakes.py` it is no part of the suite, of which it takes its parts. Prints what it found; exits with an
`AssertionError` at the first promise that is broken. Linux only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE / "batch"), str(HERE / "fit")]

from small_model import picture, write_small_model  # noqa: E402

from lvdm.model_files import CHECKPOINTS_VARIABLE  # noqa: E402


def batches(count: int) -> str:
    """Kill a batch of six videos at random moments, and begin it anew where it was finished."""
    from test_kills_and_shares import LIST, finish, finished, start, wait_for

    Path("list.csv").write_text(LIST)
    moments, before, kills, whole = random.Random(0), dict[Path, int](), 0, finish("whole")
    while kills < count:
        process = start("killed")
        wait_for("killed", len(before), process)
        process.join(moments.uniform(0.0, 4.0))
        if process.is_alive():
            process.kill()
            kills += 1
            tell(kills, count)
        process.join()
        now = finished("killed")
        assert {path: now.get(path) for path in before} == before, "a finished video was lost or made again"
        before = now
        if len(before) == len(whole):
            compare(finish("killed"), whole)
            for path in Path("killed").iterdir():
                path.unlink()
            before = {}
    compare(finish("killed"), whole)
    return f"{kills} kills; no finished video was lost or made again, and every byte is that of a run alone"


def compare(found: Mapping[str, bytes], whole: Mapping[str, bytes]) -> None:
    """Raise `AssertionError` with the names and sizes of videos that are not the same, temporary ones among them."""
    names = sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))
    sizes = {name: (len(found.get(name, b"")), len(whole.get(name, b""))) for name in names}
    assert not sizes, f"videos of a killed run differ, bytes there and alone: {sizes}"


def trainings(count: int) -> str:
    """Stop trainings at random steps, by SIGKILL and SIGTERM in turn, and let them go on to the end."""
    from test_interruptions import AVERAGED, TRAINED, Run, difference

    expected, steps = Run(Path("whole")).finish(), list[int]()
    for number in range(count):
        run = Run(Path(f"run{number}"))
        run.stop_at_random(signal.SIGTERM if number % 2 else signal.SIGKILL, seed=number)
        steps.append(run.newest()["global_step"])
        found = difference(run.finish(), expected, TRAINED, AVERAGED)
        assert found == 0.0, f"off by {found} when stopped at step {steps[-1]}"
        tell(number + 1, count)
    return f"{count} stopped trainings, at steps {min(steps)} to {max(steps)}; every bit of their weights is the same"


def jobs(count: int) -> str:
    """Ask a server for videos of five seeds, and kill it each time that some more of them are made."""
    from serving_client import CAT, data_url
    from serving_process import Client, killed_at_the_end

    def waiting(client: Client) -> int:
        pages = [client.call("GET", f"/v1/videos?limit=100&status={state}") for state in ("queued", "running")]
        return sum(len(page.json()["data"]) for page in pages)

    moments, asked, kills, made = random.Random(0), dict[str, int](), 0, 0
    fields = {"prompt": "a ball rolls", "input_reference": data_url(CAT), "num_inference_steps": 1}
    while True:
        with killed_at_the_end(Path("jobs"), Path("checkpoints/tiny"), Path("log")) as client:
            goal = min(count, made + moments.randint(1, max(1, count // 12)))
            while made < goal:
                seed = len(asked) % 5
                if len(asked) < count:
                    answer = client.call("POST", "/v1/videos", json={**fields, "seed": seed}).json()
                    if "id" in answer:
                        asked[answer["id"]] = seed
                        continue
                time.sleep(0.1)  # the queue is full, or all are asked for
                made = len(asked) - waiting(client)
            time.sleep(moments.uniform(0, 0.5))
            if made == count:
                contents = {
                    (seed, client.call("GET", f"/v1/videos/{job}/content").content) for job, seed in asked.items()
                }
                assert len(contents) == min(5, count), "a job is missing, or videos of one seed differ"
                return f"{count} jobs, {kills} kills of the server; none is lost, and those of one seed are the same"
        kills += 1
        tell(made, count)


def generations(count: int) -> str:
    """Make so many videos with one pipeline, by four methods in turn, and look at the memory of this process."""
    from lvdm.media.video_writer import write_video
    from lvdm.pipeline import DynamiCrafterPipeline

    pipe = DynamiCrafterPipeline.from_pretrained("checkpoints/tiny", device="cpu", dtype="fp32")
    methods: tuple[dict[str, Any], ...] = ({}, {"loop": True}, {"free_u": "b1=1.2,s1=0.9"}, {"anchor": "exact"})
    usual: dict[str, Any] = {"num_inference_steps": 2, "fix_final_step": True}
    sizes = list[int]()
    for number in range(count):
        made = pipe(picture(), "x", seed=number, **usual, **methods[number % len(methods)])
        write_video(made.video[0], Path("video.mp4"), 8)
        if (number + 1) % (count // 10) == 0:
            sizes.append(resident_megabytes())
            tell(number + 1, count)
    assert sizes[-1] < 1.05 * sizes[0], f"the memory grows: {sizes} MB"
    return f"{count} videos in one process, whose memory was {sizes} MB after each tenth of them"


def rows(count: int) -> str:
    """Plan a list of so many rows of one image: time of the processor."""
    from lvdm.batch.planning import plan_batch

    Path("list.csv").write_text("image,prompt,seed\n" + "".join(f"cat.png,x,{seed}\n" for seed in range(count)))
    begun = time.process_time()
    plan_batch(Path("list.csv"), output="out")
    return f"{count} rows planned in {time.process_time() - begun:.1f} s of CPU"


def resident_megabytes() -> int:
    """What this process holds in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1000 for line in lines if line.startswith("VmRSS"))


def tell(done: int, count: int) -> None:
    """Print how far it is."""
    print(f"{done} of {count}", flush=True)


TASKS: Mapping[str, Callable[[int], str]] = {
    "batches": batches,
    "trainings": trainings,
    "jobs": jobs,
    "generations": generations,
    "rows": rows,
}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_small_model(Path("checkpoints/tiny"))
        os.environ[CHECKPOINTS_VARIABLE] = str(Path("checkpoints").resolve())
        for seed, name in enumerate(("cat", "a", "b", "c")):
            picture(seed=seed).save(f"{name}.png")
        begun = time.monotonic()
        print(f"{TASKS[chosen.task](chosen.count)}; {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
