"""Devices and precisions: the only file that knows one accelerator from another."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lvdm.precision import ON_CPU, PrecisionNames, precision_names

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Precision:
    """What the networks compute in. `weights`: denoiser and encoders; `vae`: the autoencoder, never float16."""

    weights: torch.dtype
    vae: torch.dtype

    @property
    def name(self) -> str:
        """fp32, bf16 or fp16, as `choose_precision` takes it."""
        return _NAMES[self.weights]

    @property
    def names(self) -> PrecisionNames:
        """The same without torch."""
        return PrecisionNames(self.name, _NAMES[self.vae])

    def __str__(self) -> str:
        return f"{self.name} (VAE {_NAMES[self.vae]})"


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` takes CUDA or ROCm, else Apple's MPS, else the CPU.

    Raises `ValueError` for a name torch does not know and for a device that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # a device without data, such as meta, is none to compute on
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, AttributeError) as error:
        # ImportError, AttributeError: torch has names, such as hpu, for devices whose package is not installed
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"device {name!r} cannot be used ({reason}); use auto, cpu, or what `dynamicrafter doctor` lists"
        ) from error
    return device


def device_of_rank(rank: int) -> torch.device:
    """The GPU of a process of this machine, counted from 0."""
    return torch.device("cuda", rank)


def name_of_local_rank(rank: int) -> str:
    """The name of the GPU of a process that knows of no others on this machine and may share it, else `auto`."""
    return f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "auto"


def device_of_local_rank(name: str, rank: int) -> torch.device:
    """The device `name`, auto or cpu, of one of several processes of this machine, counted from 0.

    Raises `ValueError` where there are more processes than GPUs.
    """
    device = choose_device(name)
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if rank >= count:
        raise ValueError(f"process {rank + 1} of this machine has no device, there are {count}; start fewer processes")
    return torch.device(device.type, rank)


def fused_attention_kernels(device: torch.device) -> tuple[str, ...]:
    """The fused attention kernels that torch may choose among on a GPU; none on other devices."""
    if device.type != "cuda":
        return ()
    backends = torch.backends.cuda
    enabled = {"flash": backends.flash_sdp_enabled(), "memory-efficient": backends.mem_efficient_sdp_enabled()}
    return tuple(name for name, on in enabled.items() if on) or ("plain kernels only",)


def choose_precision(name: str, device: torch.device, low_memory: bool = False) -> Precision:
    """The precision called `name`: fp32, bf16, fp16, or `auto`.

    `auto` is bf16 on GPUs that compute in it, else fp16 with float32 norms, and fp32 on the CPU. The VAE runs in
    float32, or in bf16 under `low_memory` where the networks do too.
    """
    auto = ON_CPU
    if name == "auto" and device.type != "cpu":
        auto = "bf16" if multiplies_bf16(device) else "fp16"
    names = precision_names(name, low_memory, auto)
    return Precision(DTYPES[names.weights], DTYPES[names.vae])


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16. A CPU without them computes it, but very slowly.

    Where there was AVX2 and no AVX-512, products of matrices took 70 times as long as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


def rounds_float32(device: torch.device) -> bool:
    """Whether convolutions in float32 are computed with rounded factors (TF32), which is torch's default."""
    if device.type != "cuda" or not torch.backends.cudnn.allow_tf32:
        return False
    return torch.cuda.get_device_capability(device)[0] >= 8


def trains_attention_in_float32(device: torch.device) -> bool:
    """Whether float32 is the faster precision for training through torch's fused attention.

    On the CPU its backward pass in bf16 takes ten times as long as in float32, which made it a fifth of a step.
    """
    return device.type == "cpu"


@contextmanager
def computing_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads of the CPU while the block runs; None: as it is. The number is the process's."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def device_name(device: torch.device) -> str:
    """What the device calls itself, e.g. `NVIDIA H200`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def processor_name() -> str:
    """What the CPU calls itself, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished what it was given, so that a clock is right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of `peak_memory`, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes of device memory held since the last reset; on the CPU, of the process since it began.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def watch_peak_memory(device: torch.device) -> Callable[[], int | None]:
    """Start a measurement; what is returned gives the most bytes held since, on Linux of the process where it is a CPU.

    None where the system does not say.
    """
    if device.type != "cpu":
        reset_peak_memory(device)
        return lambda: peak_memory(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM begins anew
    except OSError:
        return lambda: None
    return _resident_peak


def _resident_peak() -> int | None:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def current_memory(device: torch.device) -> int | None:
    """Bytes of device memory held now; on the CPU, of the process. None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def total_memory(device: torch.device) -> int | None:
    """Bytes of memory of the device, None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return None


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken on the device, None where the system does not say; RAM for the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux: the RAM that is built in, where the system says at least that
        pages = "SC_PHYS_PAGES"
        known = getattr(os, "sysconf_names", {})
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") if pages in known else None
    available = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if available is None else int(available) * 1024


def empty_cache(device: torch.device) -> None:
    """Give memory that torch holds but does not use back to the device; on the CPU, what malloc holds to the system."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc, and not of musl
        if trim is not None:
            trim(0)
