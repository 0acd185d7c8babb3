"""Places to listen at: whom they let in, and whether they are free."""

from __future__ import annotations

import errno
import ipaddress
import socket

from lvdm.errors import UserError


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_free(host: str, port: int) -> None:
    """Raise `UserError` where no server can listen, as another one does already."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port {port} is taken by another program; choose another one") from error
        raise UserError(f"--host {host} with --port {port} is not possible: {error.strerror or error}") from error
