"""How large the body of a request may be, checked before it is read where the client says it, and while it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from lvdm.errors import UserError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyTooLargeError(UserError):
    """A request with a larger body than is taken."""


class Body:
    """The body of a request: no more than `most` bytes of it, and the rest is read before there is an answer.

    An answer that comes before the body is sent would be lost: the connection is closed under the client's hands.
    """

    def __init__(self, receive: Receive, most: int, headers: Mapping[str, str]) -> None:
        self._receive, self._most, self._total, self._whole = receive, most, 0, False
        self._asks_first = headers.get("expect", "").lower() == "100-continue"

    async def receive(self) -> Message:
        """The next message. Raises `BodyTooLargeError` where it is too long."""
        message = await self._receive()
        self._total += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._total > self._most:
            raise BodyTooLargeError(too_large(self._most))
        return message

    async def drain(self) -> None:
        """Read what is left, up to as much again; not of a client that waits for an answer before it sends it."""
        if self._asks_first and self._total == 0:
            return
        while not self._whole and self._total <= 2 * self._most:
            message = await self._receive()
            self._total += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request, by their names in small letters."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def too_large(most: int) -> str:
    """Why a larger request is refused (bytes)."""
    return f"the request is larger than {most / 1e6:g} MB; send smaller files"


def is_longer(headers: Mapping[str, str], most: int) -> bool:
    """Whether a request says that its body has more than `most` bytes, or says it in a way that no client does."""
    length = headers.get("content-length", "0")
    return not length.isdecimal() or len(length) > 15 or int(length) > most


class LimitedBodies:
    """An ASGI application around another one, which is asked nothing with a larger body than `most` says of a path."""

    def __init__(self, app: Application, most: Callable[[str], int]) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, most = headers_of(scope), self._most(scope["path"])
        body = Body(receive, most, headers)
        if not is_longer(headers, most):
            await self._app(scope, body.receive, send)  # what is longer than it says breaks off where it is read
            return
        await body.drain()
        text = too_large(most).encode()
        answered = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": [*answered, (b"connection", b"close")]})
        await send({"type": "http.response.body", "body": text})
