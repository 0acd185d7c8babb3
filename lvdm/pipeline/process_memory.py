"""How much memory the whole process takes on a CPU: the peak of its resident memory, as the system counts it.

Beside weights and activations there are the interpreter with its libraries, the pages of the files that are read,
copies that kernels make to lay values out as they like, and frames. `benchmarks/process_memory.py` compares the plan
with what was measured.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from lvdm.model_outline import ModelOutline
from lvdm.pipeline.memory import MemoryPlan, Workload, decoder_activations
from lvdm.versions import installed_version

LIBRARIES = {True: 500_000_000, False: 890_000_000}
"""Of the process when all is imported, by whether torch is built for the CPU alone."""
TOUCHED = 60_000_000
"""Code and tables of libraries that are first used when a video is made: tokenizer, encoder of the file and so on."""
SAMPLING, DECODING = 1.55, 1.9
"""Times the values alive: what kernels of the CPU lay out anew, and what malloc has freed and keeps."""
CARRIED = 4
"""Times the frames, while a frame carrier moves the image's pixels along and encodes them."""
FRAME_BYTES = 3 * 4 * 4
"""Of a pixel of all frames while they are decoded: gathered and in parts, as float32, shown and compared."""


def interpreter_memory() -> int:
    """Bytes of the process without a model: measured where torch is imported, estimated before."""
    measured = _measured() if "torch" in sys.modules else None
    if measured is not None:
        return measured
    return LIBRARIES[(installed_version("torch") or "").endswith("+cpu")]


@cache
def _measured() -> int | None:
    """What the process holds when it is first asked; later there may be a model in it."""
    import torch

    from lvdm.device import current_memory

    return current_memory(torch.device("cpu"))


def plan_process(
    plan: MemoryPlan, outline: ModelOutline, workload: Workload, vae_bytes: int, files: list[Path], carries: bool
) -> MemoryPlan:
    """`plan`, of a CPU, with all that the process takes.

    files    those that the weights are read from
    carries  whether the model has a frame carrier
    """
    area = workload.height * workload.width
    frames = FRAME_BYTES * area * workload.num_frames * workload.batch
    single = decoder_activations(outline.autoencoder, replace(workload, vae_tile=None)) * vae_bytes
    # a single frame is decoded beside a copy of itself, so that rounding is that of several
    paired = 0 if outline.autoencoder.whole_clips or workload.vae_tile is not None else 2 * single
    return replace(
        plan,
        process=interpreter_memory() + TOUCHED,
        loading=sum(file.stat().st_size for file in files if file.is_file()),
        encoding=round(DECODING * workload.batch * single) + frames * (CARRIED if carries else 1),
        sampling=round(SAMPLING * plan.sampling) + FRAME_BYTES // 2 * area,
        decoding=round(DECODING * max(plan.decoding, paired)) + frames,
    )
