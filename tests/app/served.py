"""The page on the small model, once for all tests that look at it, and what they do with it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from lvdm.app.server import Access, serving
from lvdm.hosting.library import Library
from lvdm.hosting.limits import Limits

LIMITS = Limits(
    max_upload=0.3,
    max_image_megapixels=0.04,
    max_megapixels=0.02,
    max_frames=12,
    max_steps=60,
    max_videos=3,
    max_queue=4,
)
CHROMIUM = "/usr/bin/chromium-headless-shell"


@contextlib.contextmanager
def served_page(library: Library, limits: Limits = LIMITS) -> Iterator[str]:
    """Its address."""
    with serving(library, Access(port=0), limits, "cpu", measure=False) as address:
        yield address


@dataclass(eq=False)
class PageClient:
    """A client of the endpoints. gradio's own looks a thousand times a second whether it is to go on."""

    address: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=120))

    @cached_property
    def endpoints(self) -> dict[str, list[dict[str, Any]]]:
        """The parameters of each, as the page describes them."""
        told = self.http.get(f"{self.address}gradio_api/info").json()["named_endpoints"]
        return {name: endpoint["parameters"] for name, endpoint in told.items()}

    def send(self, mode: str, values: Mapping[str, Any]) -> str:
        """The events of a call, as text; what is not given has the default that is described."""
        asked = self.post(mode, **values)
        place = f"{self.address}gradio_api/call/{mode}"
        return self.http.get(f"{place}/{asked.json()['event_id']}").text if asked.is_success else asked.text

    def post(self, mode: str, **values: Any) -> httpx.Response:
        """What the first half of a call answers."""
        given = {found["parameter_name"]: found["parameter_default"] for found in self.endpoints[f"/{mode}"]}
        assert values.keys() <= given.keys(), f"/{mode} has no {set(values) - set(given)}"
        given |= {name: self._uploaded(value) for name, value in values.items()}
        return self.http.post(f"{self.address}gradio_api/call/{mode}", json={"data": list(given.values())})

    def _uploaded(self, value: Any) -> Any:
        """The value as the page sends it: a path is uploaded."""
        if isinstance(value, list):
            return [self._uploaded(item) for item in value]
        if not isinstance(value, Path):
            return value
        answer = self.http.post(f"{self.address}gradio_api/upload", files={"files": (value.name, value.read_bytes())})
        answer.raise_for_status()
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def call(client: PageClient, mode: str, **values: Any) -> Any:
    """What an endpoint gives at its end."""
    said = client.send(mode, values)
    _, ended, data = said.rpartition("event: complete\ndata: ")
    assert ended, said[-2000:]
    return json.loads(data)


def refused(client: PageClient, mode: str, **values: Any) -> str:
    """Why an endpoint refuses."""
    said = client.send(mode, values)
    assert "event: complete" not in said, said[-2000:]
    _, ended, data = said.rpartition("event: error\ndata: ")
    assert ended, said[-2000:]
    return str(json.loads(data))


def left_behind(folder: Path) -> list[str]:
    """The names of all files under `folder`."""
    return sorted(file for _, _, files in os.walk(folder) for file in files)
