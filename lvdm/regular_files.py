"""The one answer to whether a file can be read: a pipe, a device or a socket in its place is waited for without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def unreadable_reason(path: str | Path) -> str | None:
    """Why no file can be read at `path`, to follow its name in a message; None where a regular file lies there.

    Links are followed. Nothing is opened: opening a named pipe waits until somebody writes to it.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself"
        return f"cannot be read ({error.strerror or error})"
    except ValueError:  # a null byte
        return "is no name of a file"
    if stat.S_ISDIR(mode):
        return "is a folder, give a file"
    return None if stat.S_ISREG(mode) else "is not a regular file"
