"""Many clients at once ask a server on this machine for videos of the embedded model, some of them for what cannot be.

    python benchmarks/serving_load.py                                  # 50 clients, 500 requests
    python benchmarks/serving_load.py --clients 10 --requests 40

A server of its own is started on a free port of 127.0.0.1 and ends with the test. Every client asks, asks again where
the queue is full, looks at its job until that is made, and fetches the video. It reports requests that were lost
(none may be), latencies of what makes no video (50th and 95th percentile), and the memory of the server at a fifth of
the requests and at the end.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import quantiles
from typing import Any

from PIL import Image

BAD: tuple[dict[str, Any], ...] = (
    {"num_frames": "many"},
    {"num_frame": 4},
    {"input_reference": "/etc/passwd"},
    {"input_reference": "data:image/png;base64,iVBORw0KGgo="},
    {"mode": "extend", "input_reference": None},
    {"model": "none"},
    {"num_inference_steps": 1000},
)
POLL_SECONDS, START_SECONDS = 1.0, 120.0
LONGEST_WAIT = 5.0
"""Seconds after which a client asks again where the queue was full, at most."""


@dataclass
class Seen:
    """What the clients saw together."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)

    def answered(self, what: str, status: int, seconds: float) -> None:
        """Note one answer."""
        with self.lock:
            self.seconds.setdefault(what, []).append(seconds)
            self.statuses[f"{what} {status}"] += 1

    def ended(self, how: str, process: int) -> None:
        """Note the end of one request, and the memory of the server then."""
        with self.lock:
            self.ends[how] += 1
            self.memory.append(resident_bytes(process))


class Client:
    """One client with a connection that it keeps."""

    def __init__(self, port: int, seen: Seen) -> None:
        self._connection, self._seen = HTTPConnection("127.0.0.1", port, timeout=60), seen

    def call(self, what: str, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes, int]:
        """Status, content and Retry-After of an answer."""
        text = None if body is None else json.dumps(body)
        begun = time.perf_counter()
        self._connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        self._seen.answered(what, answer.status, time.perf_counter() - begun)
        return answer.status, content, int(answer.headers.get("Retry-After", "1"))

    def request(self, fields: dict[str, Any]) -> str:
        """Ask for a video until it is taken, wait for it and fetch it; how that ended."""
        while True:
            status, content, wait = self.call("ask", "POST", "/v1/videos", fields)
            if status != 429:
                break
            time.sleep(min(LONGEST_WAIT, wait))
        if status != 200:
            return f"refused with {status}"
        job = json.loads(content)["id"]
        for look in range(10**6):
            now = json.loads(self.call("job", "GET", f"/v1/videos/{job}")[1])
            if now["status"] not in ("queued", "running"):
                break
            self.call(*(("list", "GET", "/v1/videos?limit=100") if look % 8 == 0 else ("health", "GET", "/healthz")))
            time.sleep(POLL_SECONDS)
        if now["status"] != "completed":
            return str(now["status"])
        status, content, _ = self.call("content", "GET", f"/v1/videos/{job}/content")
        return "completed" if status == 200 and content[4:8] == b"ftyp" else f"no video ({status})"


def resident_bytes(process: int) -> int:
    """The memory that the process holds; 0 where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


@contextmanager
def server(queue: int) -> Iterator[tuple[int, int]]:
    """Port and process number of a server that ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", "--port", str(port), "--max-queue", str(queue)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lvdm.cli.launch", *words, "--jobs", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + START_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > end:
                        raise RuntimeError("the server does not start; try dynamicrafter serve") from None
                    time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


def disc_image() -> str:
    """A disc on a plain ground, as a data URL."""
    buffer = io.BytesIO()
    image = Image.new("RGB", (64, 64), (70, 110, 150))
    image.paste((200, 40, 40), (20, 20, 44, 44))
    image.save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def load(clients: int, requests: int, bad: int, fields: dict[str, Any], port: int, process: int) -> Seen:
    """Let the clients make the requests, of which every `bad`-th cannot be made."""
    seen, numbers, lock = Seen(), iter(range(requests)), threading.Lock()

    def work() -> None:
        client = Client(port, seen)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            wrong = BAD[number // bad % len(BAD)] if number % bad == 0 else {}
            try:
                seen.ended(client.request(fields | {"seed": number} | wrong), process)
            except (OSError, HTTPException) as error:
                seen.ended(f"no answer ({type(error).__name__})", process)
                client = Client(port, seen)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def report(seen: Seen, requests: int, bad: int, seconds: float) -> list[str]:
    """What there is to say."""
    wrong = len(range(0, requests, bad))
    completed, refused = seen.ends["completed"], seen.ends["refused with 400"]
    lost = requests - completed - refused
    lines = [
        f"{requests} requests in {seconds:.0f} s: {completed} of {requests - wrong} videos, "
        f"{refused} of {wrong} refused, {lost} lost",
        f"ends: {dict(sorted(seen.ends.items()))}; answers: {dict(sorted(seen.statuses.items()))}",
    ]
    for what, found in sorted(seen.seconds.items()):
        middle, high = (quantiles(found, n=100)[percent - 1] for percent in (50, 95)) if len(found) > 1 else found * 2
        lines.append(f"{what}: {len(found)} answers, p50 {middle * 1e3:.1f} ms, p95 {high * 1e3:.1f} ms")
    fifth = seen.memory[len(seen.memory) // 5]
    lines.append(f"memory of the server: {fifth / 1e6:.0f} MB at a fifth, {seen.memory[-1] / 1e6:.0f} MB at the end")
    return lines


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--bad", type=int, default=5, help="every so many requests, one that cannot be made")
    parser.add_argument("--queue", type=int, default=30, help="jobs that may wait")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--frames", type=int, default=4)
    options = parser.parse_args()
    fields = {"prompt": "the disc moves to the right", "input_reference": disc_image()}
    fields |= {"num_inference_steps": options.steps, "num_frames": options.frames}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else "")
    with server(options.queue) as (port, process):
        begun = time.monotonic()
        seen = load(options.clients, options.requests, options.bad, fields, port, process)
        seconds = time.monotonic() - begun
    for line in report(seen, options.requests, options.bad, seconds):
        print(line)


if __name__ == "__main__":
    main()
