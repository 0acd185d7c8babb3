"""One model under several generations: who is at work with its weights, and which LoRAs are in them.

Generations run side by side, as they leave the weights as they are. Two things do not go beside them: LoRAs, which are
added to the weights, and low memory mode, which moves them to and from the device.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import Tensor

from lvdm.checkpoint.lora import Lora
from lvdm.errors import UserError


class WeightsInUseError(UserError):
    """Weights cannot change while a generation is at work with them."""


class SharedWeights:
    """What all pipelines around one model agree on; `SharedWeights.of(model)` is the one of a model.

    loras      those in the weights, with their scales, in the order in which they were added
    originals  the weights that they changed as they were, on the CPU
    filling    held by the one thread that moves modules to the device, or computes what all will use
    """

    def __init__(self) -> None:
        self.loras: list[tuple[Lora, float]] = []
        self.originals: dict[str, Tensor] = {}
        self.filling = threading.RLock()
        self._turn = threading.Condition()
        self._generations: Counter[int] = Counter()  # by thread
        self._alone: int | None = None
        self._changing = False

    @classmethod
    def of(cls, model: object) -> SharedWeights:
        """That of `model`, as long as there is the model."""
        with _LOCK:
            return _SHARED.setdefault(model, cls())

    @contextmanager
    def in_use(self, *, alone: bool = False) -> Iterator[None]:
        """Within the block a generation of this thread is at work; begun within another one, it is a part of that.

        Waits while the weights change, and for a generation of another thread that is to be alone; with `alone`, for
        all of other threads.
        """
        me = threading.get_ident()
        with self._turn:
            if not self._generations[me]:
                self._turn.wait_for(lambda: self._is_free(alone))
                self._alone = me if alone else None
            self._generations[me] += 1
        try:
            yield
        finally:
            with self._turn:
                self._generations[me] -= 1
                if not self._generations[me]:
                    del self._generations[me]
                    if self._alone == me:
                        self._alone = None
                self._turn.notify_all()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Within the block the weights change; generations that begin meanwhile wait for its end.

        Raises `WeightsInUseError` while one is at work: to wait for it could take for ever, in its own callbacks.
        """
        with self._turn:
            self._turn.wait_for(lambda: not self._changing)
            if self._generations.total():
                raise WeightsInUseError(
                    "a generation is at work with these weights; load and unload LoRAs before it or when it has ended"
                )
            self._changing = True
        try:
            yield
        finally:
            with self._turn:
                self._changing = False
                self._turn.notify_all()

    def _is_free(self, alone: bool) -> bool:
        busy = self._generations.total() if alone else self._alone is not None
        return not busy and not self._changing


_SHARED: WeakKeyDictionary[object, SharedWeights] = WeakKeyDictionary()
_LOCK = threading.Lock()
