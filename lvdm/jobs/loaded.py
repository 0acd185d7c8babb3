"""The model that was used last stays loaded: what a page or a server makes its next video with."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from lvdm.content_hash import stamp
from lvdm.jobs.model import ChosenModel
from lvdm.pipeline import DynamiCrafterPipeline


class LoadedModel:
    """Holds one pipeline. Several threads may ask for it; another model takes the place of the one before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: Hashable = None
        self._pipeline: DynamiCrafterPipeline | None = None

    def load(self, model: ChosenModel) -> DynamiCrafterPipeline:
        """The pipeline of `model`; loaded where it is not the last one, or its files have changed. Raises `ValueError`.

        The old one is let go before the new one is loaded: there may be memory for one alone.
        """
        files = [model.files.config, model.files.checkpoint, *(path for path, _ in model.added.loras)]
        if model.added.encoders is not None:
            files.append(model.added.encoders)
        key = repr(model.files), repr(model.added), repr(model.machine), tuple(stamp(path) for path in files)
        with self._lock:
            if self._pipeline is None or key != self._key:
                self._pipeline = None
                self._pipeline, self._key = model.load(), key
            return self._pipeline
