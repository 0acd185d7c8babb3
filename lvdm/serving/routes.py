"""The addresses of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from lvdm.documents import read_json
from lvdm.hosting.records import public_record
from lvdm.serving.asking import Fields, fields_of_form, fields_of_json
from lvdm.serving.descriptions import (
    ErrorAnswer,
    Health,
    ModelList,
    PlannedJob,
    Removed,
    VideoJob,
    VideoList,
    describe_dry_run,
    describe_job,
    list_models,
)
from lvdm.serving.schema import request_body
from lvdm.serving.service import DryRun, Service
from lvdm.serving.store import FINAL, Job, Status

MAX_FIELDS, MAX_FILES = 300, 64
"""Of a form."""
MEDIA_TYPES = {
    **{".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".webp": "image/webp"},
    **{".apng": "image/apng", ".png": "image/png", ".zip": "application/zip"},
}
"""Of every file that can be fetched; what a system's own list says differs."""
PLANNERS = 2
"""Requests that are looked at together: further ones wait without a thread, which others need."""
POLL_SECONDS, HEARTBEAT_SECONDS = 0.1, 15.0
"""Of a stream of events: how often a job is looked at, and how often something is sent so that nobody hangs up."""

Variant = Literal["video", "record", "contact_sheet"]
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "It cannot be made; the message says why."},
    401: {"model": ErrorAnswer, "description": "The key is missing or wrong."},
    413: {"model": ErrorAnswer, "description": "It is too large."},
    415: {"model": ErrorAnswer, "description": "It is neither JSON nor a form."},
    422: {"model": ErrorAnswer, "description": "A value in the address is not possible."},
    429: {"model": ErrorAnswer, "description": "The queue is full; Retry-After says in how many seconds to ask again."},
}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "There is no such job."},
    422: _ERRORS[422],
}


def make_router(service: Service) -> APIRouter:
    """All routes of a server."""
    router = APIRouter()
    _add_videos(router, service)
    _add_files(router, service)

    @router.get("/v1/models", summary="The models that requests may name")
    async def models() -> ModelList:
        return list_models(service)

    @router.get("/healthz", summary="Whether the server is at work", responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        if service.worker.alive:
            return Health(status="ok")
        response.status_code = 503
        return Health(status="the thread that makes videos has ended")

    @router.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
    async def metrics() -> Response:
        text = service.metrics.text(service.store.count("queued"), service.store.count("running"))
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router


def _add_videos(router: APIRouter, service: Service) -> None:
    limiter = CapacityLimiter(PLANNERS)

    @router.post(
        "/v1/videos",
        summary="Ask for a video",
        response_model=VideoJob | PlannedJob,
        responses=_ERRORS,
        openapi_extra={"requestBody": request_body(service.settings.models)},
    )
    async def create(request: Request) -> VideoJob | PlannedJob:
        service.check_room()  # before the body is read
        fields = await _read_fields(request, service.settings.limits.upload_bytes)
        taken = await to_thread.run_sync(service.add, fields, limiter=limiter)
        return describe_dry_run(taken) if isinstance(taken, DryRun) else describe_job(taken, service, _agent(request))

    @router.get("/v1/videos", summary="The jobs, in pages", responses={400: _ERRORS[400], 422: _ERRORS[422]})
    async def listing(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
        order: Literal["asc", "desc"] = "desc",
        status: Status | None = None,
    ) -> VideoList:
        last = None if after is None else service.store.get(after)
        if after is not None and last is None:
            raise HTTPException(400, "after names no job that is there; begin with the first page")
        number = None if last is None else last.number
        found = service.store.page(limit + 1, number, order == "asc", status)
        data = [describe_job(job, service, _agent(request)) for job in found[:limit]]
        ends = (data[0].id, data[-1].id) if data else (None, None)
        return VideoList(data=data, first_id=ends[0], last_id=ends[1], has_more=len(found) > limit)

    @router.get("/v1/videos/{id}", summary="How far a job is", responses=_MISSING)
    async def get(id: str, request: Request) -> VideoJob:
        return describe_job(_job(service, id), service, _agent(request))

    @router.delete(
        "/v1/videos/{id}",
        summary="Cancel a job; forget one that is at its end",
        response_model=VideoJob | Removed,
        responses=_MISSING,
    )
    def delete(id: str) -> VideoJob | Removed:
        job = _job(service, id)
        if job.status in FINAL and service.remove(job):
            return Removed(id=job.id)
        service.cancel(job)
        return describe_job(_job(service, id), service)


def _add_files(router: APIRouter, service: Service) -> None:
    @router.get(
        "/v1/videos/{id}/content",
        summary="A file that a completed job made",
        response_class=FileResponse,
        responses={**_MISSING, 409: {"model": ErrorAnswer, "description": "The job is not completed."}},
    )
    def content(
        id: str,
        variant: Variant = "video",
        number: Annotated[int, Query(ge=1, le=1000, description="Which of several videos.")] = 1,
    ) -> Response:
        job = _job(service, id)
        if job.status != "completed":
            raise HTTPException(409, f"the job is {job.status}; its files are there once it is completed")
        path = service.file(job, number, variant)
        if path is None:
            raise HTTPException(404, f"the job has no {variant} number {number}")
        if variant == "record":
            return JSONResponse(public_record(read_json(path)))
        headers = {"X-Content-Type-Options": "nosniff"}
        return FileResponse(path, 200, headers, MEDIA_TYPES[path.suffix], filename=f"{job.id}{path.suffix}")

    @router.get(
        "/v1/videos/{id}/events",
        summary="The job whenever it changes, as server-sent events",
        response_class=StreamingResponse,
        responses={**_MISSING, 200: {"content": {"text/event-stream": {}}}},
    )
    async def events(id: str) -> StreamingResponse:
        _job(service, id)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(service, id), media_type="text/event-stream", headers=headers)


async def _events(service: Service, id: str) -> AsyncIterator[str]:
    """The job as an event, now and whenever it is another; the last one is that of its end."""
    last, quiet = "", 0.0
    while not service.worker.stopping:
        job = service.store.get(id)
        if job is None:
            return
        text = describe_job(job, service).model_dump_json()
        if text != last:
            last, quiet = text, 0.0
            yield f"event: {job.status}\ndata: {text}\n\n"
        if job.status in FINAL:
            return
        await asyncio.sleep(POLL_SECONDS)
        quiet += POLL_SECONDS
        if quiet >= HEARTBEAT_SECONDS:
            quiet = 0.0
            yield ": still here\n\n"


async def _read_fields(request: Request, most: int) -> Fields:
    """The fields of the body, of which a text has at most so many bytes. Raises `ValueError`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        text = await request.body()
        return await run_in_threadpool(fields_of_json, text)
    if kind != "multipart/form-data":
        raise HTTPException(415, "the body is neither JSON nor a form; send application/json or multipart/form-data")
    items: list[tuple[str, str | bytes]] = []
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=most) as form:
        for name, value in form.multi_items():
            items.append((name, await value.read() if isinstance(value, UploadFile) else value))
    return await run_in_threadpool(fields_of_form, items)


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")


def _job(service: Service, id: str) -> Job:
    job = service.store.get(id)
    if job is None:
        raise HTTPException(404, "there is no such job; it may have expired")
    return job
