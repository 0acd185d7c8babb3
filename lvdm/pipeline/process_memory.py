"""How much memory the whole process takes on a CPU: the peak of its resident memory, as the system counts it.

Beside weights and activations there are the interpreter with its libraries, the pages of the files that are read,
copies that kernels make to lay values out as they like, and frames. `benchmarks/process_memory.py` compares the plan
with what was measured.
"""

from __future__ import annotations

import ctypes
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
LAID_OUT = 1.2
"""Times the values alive: what kernels of the CPU lay out anew."""
KEPT, MOST_KEPT = 1.4, 200_000_000
"""Times the values alive, and bytes at most: what malloc has freed and keeps, unless it gives back what is freed."""
LARGE = 1 << 20
"""Bytes of a block from which on it is given back when it is freed, see `give_back_what_is_freed`."""
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
CARRIED = 4
"""Times the frames, while a frame carrier moves the image's pixels along and encodes them."""
FRAME_BYTES = 3 * 4 * 4
"""Of a pixel of all frames while they are decoded: gathered and in parts, as float32, shown and compared."""


def can_give_back() -> bool:
    """Whether the C library has the setting of `give_back_what_is_freed`: glibc's does."""
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")


def give_back_what_is_freed() -> None:
    """Have the C library hand each large block that is freed back to the system, where it can.

    It keeps blocks of up to 32 MiB otherwise, more or fewer from run to run: peaks of one video differed by 150 MB.
    Handing back costs system time: a twentieth of a video at 256x256, a third of one at 128x128. It holds for the whole
    process and to its end, and changes no number.
    """
    if can_give_back():
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)


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
    plan: MemoryPlan,
    outline: ModelOutline,
    workload: Workload,
    vae_bytes: int,
    files: list[Path],
    carries: bool,
    gives_back: bool = False,
) -> MemoryPlan:
    """`plan`, of a CPU, with all that the process takes.

    files       those that the weights are read from
    carries     whether the model has a frame carrier
    gives_back  whether memory that is freed goes back to the system at once
    """

    def taken(alive: int) -> int:
        return round(LAID_OUT * alive) + (0 if gives_back else min(round(KEPT * alive), MOST_KEPT))

    area = workload.height * workload.width
    frames = FRAME_BYTES * area * workload.num_frames * workload.batch
    single = decoder_activations(outline.autoencoder, replace(workload, vae_tile=None)) * vae_bytes
    # a single frame is decoded beside a copy of itself, so that rounding is that of several
    paired = 0 if outline.autoencoder.whole_clips or workload.vae_tile is not None else 2 * single
    return replace(
        plan,
        process=interpreter_memory() + TOUCHED,
        loading=sum(file.stat().st_size for file in files if file.is_file()),
        encoding=taken(workload.batch * single) + frames * (CARRIED if carries else 1),
        sampling=taken(plan.sampling) + FRAME_BYTES // 2 * area,
        decoding=taken(max(plan.decoding, paired)) + frames,
    )
