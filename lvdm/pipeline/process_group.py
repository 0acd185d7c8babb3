"""Several processes that make one video: each evaluates some branches of guidance and decodes some of the frames.

All of them run the same generation with all of the weights, and draw the same noise. What one has computed it sends to
the others, so that each goes on with the same numbers. They are started by torchrun, and talk by torch.distributed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.device import device_of_local_rank
from lvdm.diffusion.guidance import Branches
from lvdm.errors import UserError
from lvdm.launched import local_process_number, torchrun_processes
from lvdm.plugins.hooks import BranchMaker


@dataclass(frozen=True, eq=False)
class ProcessGroup:
    """This process among `size`, counted from 0.

    backend  a `torch.distributed.ProcessGroup`: gloo on a CPU, nccl on GPUs
    """

    rank: int
    size: int
    backend: Any

    @property
    def writes(self) -> bool:
        """Whether this is the process that measures and writes what all of them made."""
        return self.rank == 0

    def from_process(self, source: int, value: Tensor) -> Tensor:
        """The `value` of the process `source`; in the others it only says shape, dtype and device."""
        sent = value.contiguous()
        self.backend.broadcast(sent, source).wait()
        return sent

    def shared_branches(self, make: BranchMaker) -> BranchMaker:
        """`make` whose branches are evaluated one here and one there; each process gets all outputs, in float32.

        A condition stays with one process, as methods keep features of it (`lvdm.plugins.deep_cache`). Layers that
        branches have in common are computed by each process.
        """
        owners = dict[int, tuple[int, Conditioning]]()

        def shared(conditions: Sequence[Conditioning]) -> Branches:
            for number, condition in enumerate(conditions):
                owners.setdefault(id(condition), (number % self.size, condition))  # held, so that its id stays its own
            sources = [owners[id(condition)][0] for condition in conditions]
            here = [condition for condition, source in zip(conditions, sources, strict=True) if source == self.rank]
            inner = make(here) if here else None

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                own = iter(inner(x_t, t) if inner is not None else ())
                empty = torch.empty_like(x_t, dtype=torch.float32)
                return tuple(
                    self.from_process(source, next(own).float() if source == self.rank else empty.clone())
                    for source in sources
                )

            return branches

        return shared

    def shared_parts(
        self, parts: Iterable[tuple[int, Tensor]], decode: Callable[[int, Tensor], Tensor], factor: int
    ) -> Iterator[Tensor]:
        """What `decode` makes of each part and the number of its first frame, one here and one there, in order.

        From (b, c, k, h, w) to (b, 3, k, factor h, factor w), in float32.
        """
        rest = iter(parts)
        while several := list(islice(rest, self.size)):
            mine = decode(*several[self.rank]).float() if self.rank < len(several) else None
            for source, (_, part) in enumerate(several):
                b, _, k, h, w = part.shape
                empty = torch.empty(b, 3, k, factor * h, factor * w, dtype=torch.float32, device=part.device)
                yield self.from_process(source, mine if source == self.rank and mine is not None else empty)

    def check_same(self, work: str, device: torch.device) -> None:
        """Raise `UserError` unless `work`, a description of what is to be made, is that of process 0."""
        here = torch.frombuffer(bytearray(hashlib.sha256(work.encode()).digest()), dtype=torch.uint8).to(device)
        if not torch.equal(self.from_process(0, here.clone()), here):
            raise UserError(
                f"process {self.rank} is to make other videos than process 0; start all with the same options and files"
            )


@contextmanager
def joined_processes(device: str) -> Iterator[tuple[ProcessGroup | None, str]]:
    """The processes that torchrun has started together with this one, and the name of the device of this one.

    None where this process is alone. `device` is as given: auto, or cpu. Raises `UserError` for another one, which
    would be shared.
    """
    if torchrun_processes() == 1:
        yield None, device
        return
    if device not in ("auto", "cpu"):
        raise UserError(f"--device {device} is a single device, and torchrun started several processes; leave it out")
    own = device_of_local_rank(device, local_process_number())
    torch.distributed.init_process_group("gloo" if own.type == "cpu" else "nccl")
    try:
        backend = torch.distributed.group.WORLD
        yield ProcessGroup(torch.distributed.get_rank(), torch.distributed.get_world_size(), backend), str(own)
    finally:
        torch.distributed.destroy_process_group()
