"""What whoever starts a server decides: who may reach it, how much one request may ask for, where jobs lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lvdm.errors import UserError
from lvdm.hosting.access import is_loopback
from lvdm.hosting.library import ListedModel
from lvdm.hosting.limits import Limits

MIN_KEY = 8
"""Characters of the shortest key: less is guessed."""
KEY_VARIABLE = "DYNAMICRAFTER_API_KEY"
"""Environment variable that holds the key: a flag is seen by everyone who lists the processes."""


class SettingsError(UserError):
    """A server that cannot be started like this; the message says what to give instead."""


@dataclass(frozen=True)
class Settings:
    """One server.

    jobs       folder of the jobs and their files, of this server alone
    models     those that a request may name, the usual one first
    api_key    what every request has to show; None: none, and only this machine can reach the server
    machine    values of `device`, `dtype` and `low_memory` for requests that give none
    keep_days  how long the files of a finished job stay
    """

    jobs: Path
    models: Mapping[str, ListedModel]
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    machine: Mapping[str, Any] = field(default_factory=dict)
    keep_days: float = 7.0

    def __post_init__(self) -> None:
        if self.api_key is None and not is_loopback(self.host):
            raise SettingsError(
                f"--host {self.host} lets other machines in, and anyone on them; give --api-key too, or set "
                f"{KEY_VARIABLE}"
            )
        if self.api_key is not None and (len(self.api_key) < MIN_KEY or not self.api_key.isascii()):
            raise SettingsError(f"--api-key is too short or not ASCII; give at least {MIN_KEY} letters or digits")
        if not self.models:
            raise SettingsError("a server needs a model; give --model NAME=PATH")
