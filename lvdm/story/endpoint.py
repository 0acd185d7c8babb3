"""Requests to an endpoint with the API of OpenAI: off unless its address is given. What it answers is data.

Nothing else is contacted: redirects are not followed, and images are taken from the answer, not from an address in it.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from lvdm.documents import parse_json, short_text
from lvdm.hosting.access import is_loopback
from lvdm.media.images import ImageError, load_image
from lvdm.story.script import StoryError

KEY_VARIABLE = "DYNAMICRAFTER_STORY_KEY"
"""The environment variable with the endpoint's key, if it wants one."""
MAX_TEXT, MAX_IMAGE = 1_000_000, 50_000_000
"""Bytes of the largest answers that are read."""
_BLOCK = 65_536


class EndpointError(StoryError):
    """An endpoint that cannot be used, or an answer that is none."""


@dataclass(frozen=True)
class Endpoint:
    """An address such as http://127.0.0.1:8080/v1, and the model that is asked for there.

    timeout  seconds until the answer has to be there, all of it
    Raises `EndpointError` for an address that is none, and for a key that would be sent without encryption.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise EndpointError(f"endpoint {self.url[:80]!r} is no address ({error})") from error
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
            raise EndpointError(f"endpoint {self.url[:80]!r} is no address; give one such as http://127.0.0.1:8080/v1")
        if self.key and parts.scheme == "http" and not is_loopback(host):
            raise EndpointError(f"the key would go to {host} without encryption; use https, or unset {KEY_VARIABLE}")
        if not 0 < self.timeout <= 3600:
            raise EndpointError(f"timeout {self.timeout:g} is not possible; use 1 to 3600 seconds")

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    def post(self, path: str, body: Mapping[str, Any], max_bytes: int) -> Any:
        """The JSON value that is answered. Raises `EndpointError`."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        address = f"{self.url.rstrip('/')}/{path}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if is_loopback(urlsplit(self.url).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        end = time.monotonic() + self.timeout
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout) as response:
                content = self._read(response, max_bytes, end)
        except urllib.error.HTTPError as error:
            with error:
                said = short_text(error.read(2000).decode("utf-8", "replace"))
            raise EndpointError(f"{self.place} refused the request with {error.code}: {said}") from error
        except TimeoutError as error:
            raise self._too_late() from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._too_late() from error
            raise EndpointError(f"{self.place} cannot be reached ({reason}); is it running?") from error
        except http.client.HTTPException as error:
            raise EndpointError(f"{self.place} does not speak HTTP ({short_text(repr(error))})") from error
        try:
            return parse_json(content, "the answer")
        except ValueError as error:
            raise EndpointError(f"{self.place}: {error}") from error

    def _read(self, response: Any, max_bytes: int, end: float) -> bytes:
        parts, count = list[bytes](), 0
        while block := response.read1(_BLOCK):
            parts.append(block)
            count += len(block)
            if count > max_bytes:
                raise EndpointError(f"{self.place}: the answer is larger than {max_bytes / 1e6:g} MB, which none is")
            if time.monotonic() > end:
                raise self._too_late()
        return b"".join(parts)

    def _too_late(self) -> EndpointError:
        return EndpointError(f"{self.place} did not answer within {self.timeout:g} s; try again, or give more time")


def ask(endpoint: Endpoint, system: str, user: str) -> str:
    """The text that a model answers to a conversation of two messages. Raises `EndpointError`."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    body = {"model": endpoint.model, "messages": messages, "response_format": {"type": "json_object"}}
    text = _inside(endpoint, endpoint.post("chat/completions", body, MAX_TEXT), "choices", 0, "message", "content")
    if not isinstance(text, str):
        raise EndpointError(f"{endpoint.place}: choices[0].message.content should be text, it is {short_text(text)}")
    return text


def draw(endpoint: Endpoint, prompt: str, width: int, height: int) -> Image.Image:
    """The image that a model makes of a prompt. Raises `EndpointError`."""
    body = {"model": endpoint.model, "prompt": prompt, "n": 1, "size": f"{width}x{height}"}
    answer = endpoint.post("images/generations", {**body, "response_format": "b64_json"}, MAX_IMAGE)
    coded = _inside(endpoint, answer, "data", 0, "b64_json")
    try:
        content = base64.b64decode(coded, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise EndpointError(f"{endpoint.place}: data[0].b64_json is no image in base64") from error
    with tempfile.TemporaryDirectory(prefix="dynamicrafter-") as folder:
        path = Path(folder) / "answer"
        path.write_bytes(content)
        try:
            return load_image(path)
        except ImageError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise EndpointError(f"{endpoint.place}: data[0].b64_json: {reason}") from error


def _inside(endpoint: Endpoint, value: Any, *keys: str | int) -> Any:
    """What lies at `keys` of an answer. Raises `EndpointError` that names the place where there is nothing."""
    place = ""
    for key in keys:
        place += f"[{key}]" if isinstance(key, int) else f".{key}" if place else key
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise EndpointError(f"{endpoint.place}: the answer has no {place}; it is no OpenAI API") from error
    return value


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that leads elsewhere is an error with its code."""

    def redirect_request(self, *args: Any) -> None:
        return None
