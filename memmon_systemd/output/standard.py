"""What a command says before it ends: its text on the standard output, its error on the standard error."""

from __future__ import annotations

import os
import select
import time
from typing import Final

from memmon_systemd.formatting import one_line
from memmon_systemd.output.sink import cut
from memmon_systemd.output.stream import writer

_STDOUT: Final = 1
_STDERR: Final = 2
_PATIENCE_S: Final = 1.0
"""So long a reader of errors may be busy; one that never reads must not keep the command from its end."""
_PAUSE_S: Final = 0.02


def write_text(text: str) -> None:
    """All of it, or OSError: by `print` a failure would only show at the interpreter's end."""
    data = text.encode(errors="backslashreplace")
    try:
        while data:
            data = data[os.write(_STDOUT, data) :]
    except OSError as error:
        raise OSError(f"the standard output can't be written: {error.strerror}") from None


def write_error(message: str, command: str = "memory-monitor") -> None:
    """One line. Where it can't be written it is lost: the exit status says what it can."""
    line = cut(f"{command}: {one_line(message)}".encode(), select.PIPE_BUF - 1) + b"\n"
    write = writer(_STDERR)
    end_s = time.monotonic() + _PATIENCE_S
    while line:
        try:
            line = line[write(line) :]
        except BlockingIOError:
            pass  # As if nothing had been written.
        except OSError:
            return
        if line:
            if time.monotonic() > end_s:
                return
            time.sleep(_PAUSE_S)
