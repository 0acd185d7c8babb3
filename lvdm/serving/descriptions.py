"""What the server answers, as types, from which its description (OpenAPI) is made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from lvdm.serving.service import DryRun, Service
from lvdm.serving.store import Job, Status

OPENAI = "OpenAI/"
"""In the User-Agent of OpenAI's own clients, which take any status but queued and in_progress for the end."""


class Failure(BaseModel):
    """Why a job failed."""

    code: str = "failed"
    message: str


class VideoJob(BaseModel):
    """One request and what became of it."""

    id: str
    object: Literal["video"] = "video"
    status: Status | Literal["in_progress"] = Field(description="in_progress is running, to clients made by OpenAI.")
    progress: int = Field(description="Percent of the whole.")
    stage: str | None = Field(None, description="load, encode, sample or decode, while it is running.")
    step: int | None = Field(None, description="Of the stage: how much is done.")
    steps: int | None = Field(None, description="Of the stage: how much there is.")
    mode: str
    model: str
    prompt: str
    seed: int
    size: str | None = Field(None, description="WIDTHxHEIGHT; of extend it is that of the video.")
    seconds: str | None = Field(None, description="Length of the file.")
    num_frames: int
    videos: int = Field(description="How many videos the request is for.")
    files: list[dict[str, str | None]] = Field(description="What was made: video, record, contact_sheet.")
    warnings: list[str]
    changes: list[str] | None = Field(None, description="Of a video made again: what is not as in its record.")
    error: Failure | None = None
    created_at: int = Field(description="Seconds since 1970, as all times here.")
    started_at: int | None = None
    completed_at: int | None = None
    expires_at: int | None = None


class VideoList(BaseModel):
    """One page of jobs."""

    object: Literal["list"] = "list"
    data: list[VideoJob]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Removed(BaseModel):
    """A job that is forgotten."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


class PlannedJob(BaseModel):
    """What a request with dry_run would come to."""

    object: Literal["video.plan"] = "video.plan"
    mode: str
    model: str
    about: dict[str, Any]
    warnings: list[str]


class Model(BaseModel):
    """A model that requests may name."""

    id: str
    object: Literal["model"] = "model"
    width: int
    height: int
    num_frames: int
    playback_fps: int
    capabilities: list[str]
    fs: str = Field(description="What the input fs of the model means.")
    notes: str


class ModelList(BaseModel):
    """The models, the usual one first."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """Whether the server is at work."""

    status: Literal["ok", "the thread that makes videos has ended"]


class Problem(BaseModel):
    """What is wrong, in one line."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    code: int


class ErrorAnswer(BaseModel):
    """The body of every answer that is not what was asked for."""

    error: Problem


def describe_job(job: Job, service: Service, agent: str = "") -> VideoJob:
    """The job as clients see it. agent: what the client calls itself."""
    summary, live = job.about, service.live(job)
    fps, width = summary.get("playback_fps"), summary.get("width")
    return VideoJob(
        id=job.id,
        status="in_progress" if job.status == "running" and OPENAI in agent else job.status,
        progress=100 if job.status == "completed" else 0 if live is None else live.percent,
        stage=None if live is None else live.stage,
        step=None if live is None else live.done,
        steps=None if live is None else live.total,
        mode=job.submission["mode"],
        model=job.submission["model"],
        prompt=summary["prompt"],
        seed=summary["seed"],
        size=None if width is None else f"{width}x{summary['height']}",
        seconds=None if fps is None else f"{summary['num_frames'] / fps:g}",
        num_frames=summary["num_frames"],
        videos=summary["videos"],
        files=[dict(file) for file in job.files],
        warnings=list(job.warnings),
        changes=summary.get("changes"),
        error=None if job.error is None else Failure(message=job.error),
        created_at=int(job.created),
        started_at=_second(job.started),
        completed_at=_second(job.finished),
        expires_at=_second(service.expires(job)),
    )


def describe_dry_run(plan: DryRun) -> PlannedJob:
    """The plan as clients see it."""
    return PlannedJob(
        mode=plan.submission.mode, model=plan.submission.model, about=plan.about, warnings=list(plan.warnings)
    )


def list_models(service: Service) -> ModelList:
    """The models as clients see them."""
    found = []
    for name, model in service.settings.models.items():
        card = model.card
        found.append(
            Model(
                id=name,
                width=card.width,
                height=card.height,
                num_frames=card.num_frames,
                playback_fps=card.playback_fps,
                capabilities=list(card.capabilities),
                fs=card.fs_description,
                notes=card.notes,
            )
        )
    return ModelList(data=found)


def _second(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
