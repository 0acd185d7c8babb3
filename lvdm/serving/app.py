"""The server put together: routes, answers for what goes wrong, and the thread that makes videos."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from lvdm.hosting.bodies import BodyTooLargeError
from lvdm.hosting.words import in_words_of_guests
from lvdm.media.atomic import OutputError
from lvdm.serving.gate import Gate, error_tree
from lvdm.serving.routes import make_router
from lvdm.serving.service import Service
from lvdm.serving.settings import Settings
from lvdm.serving.store import QueueFullError
from lvdm.versions import installed_version

logger = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The server as an ASGI application. Raises `SettingsError` and `StoreError`."""
    service = Service(settings)

    @asynccontextmanager
    async def at_work(app: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        yield
        service.worker.stop()
        service.store.close()

    app = FastAPI(
        title="DynamiCrafter",
        summary="Images and prompts become short videos.",
        version=installed_version("dynamicrafter") or "0",
        lifespan=at_work,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(make_router(service))
    app.add_middleware(_Gated, settings=settings, service=service)
    _answer_errors(app, service)
    return app


class _Gated(Gate):
    """`Gate` with the arguments that Starlette gives."""

    def __init__(self, app: ASGIApp, settings: Settings, service: Service) -> None:
        super().__init__(app, settings, service.metrics)  # type: ignore[arg-type]


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Say what is wrong as one line in JSON."""

    def answer(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse(error_tree(status, message), status, headers)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail)
        if detail in ("Not Found", "Method Not Allowed"):  # Starlette's own
            detail = "no such address, or not with this method; GET /openapi.json has them all"
        return answer(error.status_code, detail, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def wrong_address(request: Request, error: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = dict(error.errors()[0])
        return answer(422, f"{first['loc'][-1]}: {str(first['msg'])[0].lower()}{str(first['msg'])[1:]}")

    @app.exception_handler(BodyTooLargeError)
    async def too_large(request: Request, error: BodyTooLargeError) -> JSONResponse:
        return answer(413, str(error), {"connection": "close"})

    @app.exception_handler(QueueFullError)
    async def full(request: Request, error: QueueFullError) -> JSONResponse:
        return answer(429, str(error), {"retry-after": str(service.retry_after())})

    @app.exception_handler(sqlite3.Error)
    @app.exception_handler(OSError)
    @app.exception_handler(OutputError)
    async def no_room(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s", error)
        return answer(503, "the server cannot store the request; its log says why")

    @app.exception_handler(ValueError)
    async def refused(request: Request, error: ValueError) -> JSONResponse:
        return answer(400, in_words_of_guests(str(error), service.settings.models))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        return answer(500, "the server failed; its log says why")
