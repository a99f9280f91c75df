"""`memmonctl metrics`: OpenMetrics text, or a file for node_exporter's textfile collector."""

from __future__ import annotations

import os
from typing import Final

from memmon_systemd.ctl.call import Call, CallError
from memmon_systemd.ctl.exposition import classic, openmetrics
from memmon_systemd.ctl.families import families_of
from memmon_systemd.ctl.state import read_states
from memmon_systemd.errors import EXIT_OK
from memmon_systemd.output import whole_file
from memmon_systemd.output.standard import write_error, write_text

_SUFFIX: Final = ".prom"
"""node_exporter reads files with this suffix, and no others."""


def run(call: Call, textfile: str | None = None) -> int:
    """Print them, or write that file; the exit status. Without a monitor there are none but what says so."""
    if textfile is not None and not textfile.endswith(_SUFFIX):
        example = "/var/lib/prometheus/node-exporter/memory-monitor.prom"
        raise CallError(
            f"--textfile: '{textfile}' doesn't end in {_SUFFIX}: node_exporter reads no other: {example}"
        )
    states = read_states(call.directories)
    for one in states.unreadable:
        write_error(f"{one.path}: {one.why}", "memmonctl")
    families = families_of(states)
    if textfile is None:
        write_text(openmetrics(families))
    else:
        replace_file(textfile, classic(families))
    return EXIT_OK


def replace_file(path: str, text: str) -> None:
    """Put a file with this text at the path; CallError.

    Until it is whole it has a name that node_exporter doesn't read.
    """
    try:
        whole_file.replace(path, text.encode(), str(os.getpid()))
    except OSError as error:
        where = (
            "it has to be a directory of node_exporter's --collector.textfile.directory that may be written"
        )
        raise CallError(f"{path} can't be written: {error.strerror or error}: {where}") from None
