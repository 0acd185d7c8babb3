"""A full queue: the answer over HTTP and by the page, and when to ask again."""

from __future__ import annotations

import json
from collections.abc import Callable

from lvdm.hosting.bodies import Application, Message, Receive, Scope, Send

LONGEST_WAIT = 600
"""Seconds that a client should wait before it asks again, at most."""
USUAL_WAIT = 10.0
"""Seconds, where nothing was made yet."""


def queue_full(most: int) -> str:
    """Why a request is turned away while `most` wait."""
    return f"{most} jobs wait already; ask again later"


def retry_after(usual_seconds: float | None) -> int:
    """In how many seconds a place is free, as a rule. usual_seconds: what one job takes; None: not known."""
    return max(1, min(LONGEST_WAIT, round(usual_seconds or USUAL_WAIT)))


class FullQueueAnswers:
    """An ASGI application around that of gradio: its 503 of a full queue becomes 429 in our words, with Retry-After."""

    def __init__(self, app: Application, most: int, seconds: Callable[[], float | None]) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, and look at the answers to requests that make something."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        content = b""

        async def look(message: Message) -> None:
            nonlocal start, content
            if message["type"] == "http.response.start" and message["status"] == 503:
                start = message
            elif start is None:
                await send(message)
            else:
                content += message.get("body", b"")
                if not message.get("more_body", False):
                    await self._answer(send, start, content)

        await self._app(scope, receive, look)

    async def _answer(self, send: Send, start: Message, content: bytes) -> None:
        """Send the answer, in other words if it is about a full queue."""
        if b"Queue is full" in content:
            content = json.dumps({"detail": queue_full(self._most)}).encode()
            others = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
            waiting = (b"retry-after", str(retry_after(self._seconds())).encode())
            length = (b"content-length", str(len(content)).encode())
            start = {**start, "status": 429, "headers": [*others, length, waiting]}
        await send(start)
        await send({"type": "http.response.body", "body": content})
