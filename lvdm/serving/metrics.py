"""What a server counts, in the form that Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_VIDEO_SECONDS = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """The numbers of one server, in a registry of their own; several threads may count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.videos = Counter(
            "dynamicrafter_jobs", "Jobs at their end, by how they ended.", ["status"], registry=self.registry
        )
        self.queued = Gauge("dynamicrafter_jobs_queued", "Jobs that wait.", registry=self.registry)
        self.running = Gauge("dynamicrafter_jobs_running", "Jobs at work.", registry=self.registry)
        self.steps = Counter("dynamicrafter_steps", "Steps of sampling.", registry=self.registry)
        self.video_seconds = Histogram(
            "dynamicrafter_job_seconds",
            "From the start of a completed job to its end.",
            buckets=_VIDEO_SECONDS,
            registry=self.registry,
        )
        self.requests = Counter(
            "dynamicrafter_http_requests", "Answers.", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "dynamicrafter_http_request_seconds",
            "From a request to the end of its answer.",
            ["route"],
            registry=self.registry,
        )

    def text(self, queued: int, running: int) -> bytes:
        """All of them, with the present length of the queue."""
        self.queued.set(queued)
        self.running.set(running)
        return generate_latest(self.registry)
