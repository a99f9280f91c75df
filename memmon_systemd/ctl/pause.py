"""`memmonctl pause` and `memmonctl resume`: a target is monitored, but not asked, for a while.

What is wanted is written beside the state file of each monitor that it concerns. That wakes the monitor, and
what it has understood shows in its state file.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from memmon_systemd.ctl import words
from memmon_systemd.ctl.call import Call, CallError, as_json, targets_of, unknown
from memmon_systemd.ctl.state import MonitorState, States, read_state
from memmon_systemd.errors import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_OK
from memmon_systemd.output import pause_file
from memmon_systemd.output.standard import write_text
from memmon_systemd.output.state_format import UnknownFormError

ALL: Final = "*"
_PATIENCE_S: Final = 3.0
_POLL_S: Final = 0.02


def pause(call: Call, name: str, time_s: float | None) -> int:
    """Pause what a name or a glob means, for a time or until it is resumed; the exit status."""
    states = call.states()
    found = targets_of(states, name)
    pattern = name if _is_glob(name) else found[0][1].name
    until_s = math.inf if time_s is None else time.monotonic() + time_s
    monitors = list({id(state): state for state, _ in found}.values())
    for state in monitors:
        _rewrite(state, lambda pauses: {**pauses, pattern: until_s})
    unseen = [state for state in monitors if not _has_seen(state, pattern, until_s)]
    how_long = "until it is resumed" if time_s is None else f"for {words.span(time_s)}"
    names = sorted({record.name for _, record in found})
    if call.is_json:
        write_text(as_json({"paused": names, "pattern": pattern, "time_s": time_s}))
    else:
        write_text(f"{words.safe(pattern)}: paused {how_long}: {', '.join(map(words.safe, names))}\n")
    return _say_unseen(unseen)


def resume(call: Call, name: str) -> int:
    """End the pauses of a name, or those that a glob matches; the exit status."""
    states = call.states()
    ended: dict[str, list[MonitorState]] = {}
    others: set[str] = set()
    for state in states.running:
        for pattern in _read(state):
            if any(pattern == asked or fnmatchcase(pattern, asked) for asked in (name, f"{name}.service")):
                ended.setdefault(pattern, []).append(state)
            elif any(fnmatchcase(asked, pattern) for asked in (name, f"{name}.service")):
                others.add(pattern)
    if not ended:
        raise CallError(_why_not(states, name, others), EXIT_NOT_FOUND)
    monitors = {id(state): state for concerned in ended.values() for state in concerned}
    for state in monitors.values():
        _rewrite(state, lambda pauses: {key: value for key, value in pauses.items() if key not in ended})
    unseen = [state for state in monitors.values() if not _has_seen(state, next(iter(ended)), None)]
    if call.is_json:
        write_text(as_json({"resumed": sorted(ended)}))
    else:
        write_text("".join(f"{words.safe(pattern)}: resumed\n" for pattern in sorted(ended)))
    return _say_unseen(unseen)


def _why_not(states: States, name: str, others: set[str]) -> str:
    if others:
        pattern = sorted(others)[0]
        asked = "--all" if pattern == ALL else f"'{pattern}'"
        return f"'{words.safe(name)}' is paused by the glob '{words.safe(pattern)}': memmonctl resume {asked}"
    if not any(state.matching(asked) for state in states.running for asked in (name, f"{name}.service")):
        return unknown(states, name)
    return f"'{words.safe(name)}' is not paused"


def _is_glob(name: str) -> bool:
    return any(letter in name for letter in "*?[") and not name.endswith("]")


def _read(state: MonitorState) -> dict[str, float]:
    try:
        return pause_file.read(state.pause_path)
    except ValueError:
        return {}  # It is written anew.
    except OSError as error:
        raise CallError(f"{state.pause_path} can't be read: {error.strerror}") from None


def _rewrite(state: MonitorState, change: Callable[[Mapping[str, float]], Mapping[str, float]]) -> None:
    """Change the file of one monitor; what has ended by itself isn't kept."""
    now_s = time.monotonic()
    changed = change({pattern: until_s for pattern, until_s in _read(state).items() if until_s > now_s})
    try:
        pause_file.write(state.pause_path, changed, str(os.getpid()))
    except PermissionError:
        who = "root" if state.monitor.uid == 0 else f"root or user {state.monitor.uid}"
        raise CallError(f"not permitted: {state.monitor.name} is paused by {who} only") from None
    except OSError as error:
        raise CallError(f"{state.pause_path} can't be written: {error.strerror}") from None


def _has_seen(state: MonitorState, pattern: str, until_s: float | None) -> bool:
    """Wait until the state file says what was wanted; False where it doesn't, within some seconds."""
    end_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end_s:
        try:
            current = read_state(state.path)
        except (OSError, UnknownFormError):
            return False
        paused = [record.paused_until_s for record in current.matching(pattern)]
        if until_s is None:
            # Another pause may cover the same targets.
            still = _read(state)
            if all(one is None or any(one == other for other in still.values()) for one in paused):
                return True
        elif all(one is not None and one >= until_s for one in paused):
            return True
        time.sleep(_POLL_S)
    return False


def _say_unseen(unseen: list[MonitorState]) -> int:
    if not unseen:
        return EXIT_OK
    names = ", ".join(state.monitor.name for state in unseen)
    raise CallError(f"written, but not noticed within {_PATIENCE_S:.0f} s by {names}", EXIT_FAILED)
