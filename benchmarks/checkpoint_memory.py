"""Peak host memory of converting and loading a checkpoint of the released size (2.6 billion parameters, 10.4 GB).

    python benchmarks/checkpoint_memory.py --folder /tmp/somewhere

Writes a synthetic file with the keys and shapes of the released 512 checkpoint (random bytes, 10.4 GB, not sparse),
runs each case in a process of its own, and prints a table. Needs 27 GB of free disk, and free memory of 1.2 times the
largest target. What is measured is anonymous memory (`RssAnon` of /proc/self/status, sampled every 10 ms, Linux only):
pages of mapped files are the kernel's cache, which it drops when memory is short. The interpreter with torch imported
is subtracted and shown in the last column.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "tests" / "golden" / "manifest_512.json.gz"
CONFIG = ROOT / "configs" / "inference_512_v1.0.yaml"
DTYPES = {"float32": 4, "float16": 2, "bfloat16": 2}
CONVERT_LIMIT = 3e9
LOAD_RATIO_LIMIT = 1.2


def write_synthetic(path: Path) -> None:
    """A safetensors file with the released keys and shapes, and small random float32 values."""
    import numpy as np

    header: dict[str, Any] = {}
    offset = 0
    with gzip.open(MANIFEST, "rt") as lines:
        for entry in map(json.loads, lines):
            size = 4 * int(np.prod(entry["shape"], dtype=np.int64))
            header[entry["key"]] = {"dtype": "F32", "shape": entry["shape"], "data_offsets": [offset, offset + size]}
            offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    block = np.random.default_rng(0).standard_normal(1 << 24, dtype=np.float32).tobytes()
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for start in range(0, offset, len(block)):
            file.write(block[: min(len(block), offset - start)])


class PeakMemory(threading.Thread):
    """Samples this process's anonymous memory until stopped; `peak` in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.01):
            self.peak = max(self.peak, anonymous_memory())


def anonymous_memory() -> int:
    """Bytes of anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("RssAnon is not in /proc/self/status; this benchmark needs Linux")


def work(case: dict[str, str]) -> dict[str, float]:
    """Run one case in this process."""
    import torch

    from lvdm.checkpoint import convert, load_into, read_checkpoint
    from lvdm.config import load_model_config

    dtype = getattr(torch, case["dtype"])
    model = None
    if case["task"] == "load":
        with torch.device("meta"):
            model = load_model_config(CONFIG).build()
    baseline = anonymous_memory()
    sampler, started = PeakMemory(), time.perf_counter()
    sampler.start()
    if model is None:
        convert(case["source"], case["destination"], dtype)
    else:
        load_into(model, read_checkpoint(case["source"]), dtype)
    seconds = time.perf_counter() - started
    sampler.stopped.set()
    sampler.join()
    return {"peak": max(sampler.peak, anonymous_memory()) - baseline, "baseline": baseline, "seconds": seconds}


def run_case(case: dict[str, str]) -> dict[str, float]:
    """Run one case in a process of its own."""
    command = [sys.executable, __file__, "--worker", json.dumps(case)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the large files go")
    parser.add_argument(
        "--load", nargs="*", choices=DTYPES, default=["float16", "float32"], help="precisions to load in"
    )
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.path.insert(0, str(ROOT))
        print(json.dumps(work(arguments.worker)))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="checkpoint-memory-") as name:
        report(Path(name), arguments.load)


def report(folder: Path, load_dtypes: list[str]) -> None:
    """Run all cases with files in `folder` and print the table; exits with an error if a limit is exceeded."""
    full, pickled, half = folder / "full.safetensors", folder / "full.ckpt", folder / "half.safetensors"
    write_synthetic(full)
    size = full.stat().st_size
    print(
        f"{size / 1e9:.2f} GB in float32; limits: {CONVERT_LIMIT / 1e9:g} GB to convert, {LOAD_RATIO_LIMIT} x to load\n"
    )
    print("| case | peak anonymous GB | of the target's bytes | seconds | interpreter GB |\n|---|---|---|---|---|")
    failures = []
    for task, source, target, dtype in (
        ("convert", full, pickled, "float32"),
        ("convert", pickled, half, "float16"),
        *(("load", pickled, None, dtype) for dtype in load_dtypes),
        *(("load", full, None, dtype) for dtype in load_dtypes),
    ):
        result = run_case({"task": task, "source": str(source), "destination": str(target), "dtype": dtype})
        ratio = result["peak"] / (size * DTYPES[dtype] / 4)
        label = f"{task} {source.name}{f' -> {target.name}' if target else ''} ({dtype})"
        cells = (
            f"{result['peak'] / 1e9:.2f}",
            f"{ratio:.3f}",
            f"{result['seconds']:.0f}",
            f"{result['baseline'] / 1e9:.2f}",
        )
        print(f"| {label} | {' | '.join(cells)} |", flush=True)
        if (task == "convert" and result["peak"] > CONVERT_LIMIT) or (task == "load" and ratio > LOAD_RATIO_LIMIT):
            failures.append(label)
    if failures:
        sys.exit(f"over the limit: {', '.join(failures)}")


if __name__ == "__main__":
    main()
