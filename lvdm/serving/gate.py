"""Who may ask, and how much they may send: looked at before a route sees a request. Counts the answers, too."""

from __future__ import annotations

import hmac
import json
import time
from typing import Any
from urllib.parse import urlsplit

from lvdm.hosting.access import is_loopback
from lvdm.hosting.bodies import Application, Body, Message, Receive, Scope, Send, headers_of, is_longer, too_large
from lvdm.serving.metrics import Metrics
from lvdm.serving.settings import Settings

OPEN = ("/healthz",)
"""What is answered without a key."""
CHANGING = ("POST", "PUT", "PATCH", "DELETE")


class Gate:
    """An ASGI application around another one.

    Without a key only this machine may ask: pages of other sites, in a browser of its user, are kept out by the names
    that they ask under (Host) and come from (Origin).
    """

    def __init__(self, inner: Application, settings: Settings, metrics: Metrics) -> None:
        self._inner, self._settings, self._metrics = inner, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        begun, status = time.monotonic(), 500
        body = Body(receive, self._settings.limits.upload_bytes, headers_of(scope))

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                await body.drain()
            await send(message)

        try:
            refused = self._refusal(scope)
            if refused is None:
                await self._inner(scope, body.receive, counted)
            else:
                await _answer(counted, *refused)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(time.monotonic() - begun)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and message for a request that goes no further."""
        headers, most = headers_of(scope), self._settings.limits.upload_bytes
        key = self._settings.api_key
        if key is not None and scope["path"] not in OPEN:
            kind, _, shown = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode("utf-8"), key.encode("utf-8")):
                return 401, "the API key is missing or wrong; send it as Authorization: Bearer KEY"
        if key is None:
            if not _is_here(f"//{headers.get('host', '')}"):
                return 403, "this server answers under the name of this machine alone, such as 127.0.0.1"
            origin = headers.get("origin")
            if origin is not None and scope["method"] in CHANGING and not _is_here(origin):
                return 403, "pages of other sites may not use this server"
        if is_longer(headers, most):
            return 413, too_large(most)
        return None


def error_tree(status: int, message: str) -> dict[str, Any]:
    """The body of an answer that says what is wrong."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    message = message.encode("utf-8", "backslashreplace").decode()  # half characters of a client's JSON
    return {"error": {"message": message, "type": kind, "code": status}}


def _is_here(address: str) -> bool:
    """Whether an address, such as http://127.0.0.1:8000, names this machine."""
    try:
        host = urlsplit(address).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)


async def _answer(send: Send, status: int, message: str) -> None:
    body = json.dumps(error_tree(status, message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
