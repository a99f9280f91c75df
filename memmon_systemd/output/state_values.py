"""Records as bytes of a fixed size, and back."""

from __future__ import annotations

import struct
from typing import Final

from memmon_systemd.formatting import one_line
from memmon_systemd.output.record import MOST_TIMES, MonitorRecord, Record

HEAD: Final = struct.Struct("=II??Q16sdI128s32s")
TARGET: Final = struct.Struct(f"=?I12s12s512s14s?Qqddi8s?17pdQddI?QQdQdIdI256s{MOST_TIMES}d")
_NAME_BYTES: Final = 256
_CGROUP_BYTES: Final = 512
_MONITOR_BYTES: Final = 128
_NONE_S: Final = -1.0
"""A time that there isn't."""
_NO_SIZE: Final = -1
_ANY_NUMBER: Final = 0xFFFF_FFFF
_LARGEST_BYTES: Final = (1 << 63) - 1


def put_monitor(room: bytearray, monitor: MonitorRecord) -> None:
    """Put what is known of the monitor into the room of the head."""
    HEAD.pack_into(
        room,
        0,
        monitor.pid,
        monitor.uid,
        monitor.is_users,
        monitor.has_ended,
        monitor.start_ticks,
        monitor.boot_id,
        monitor.started_s,
        monitor.unrecorded,
        _bytes(monitor.name, _MONITOR_BYTES),
        monitor.version.encode(),
    )


def get_monitor(values: bytes) -> MonitorRecord:
    """It as it was put there."""
    pid, uid, is_users, has_ended, ticks, boot_id, started_s, unrecorded, name, version = HEAD.unpack_from(
        values
    )
    return MonitorRecord(
        name=_text(name),
        version=_word(version),
        pid=pid,
        start_ticks=ticks,
        boot_id=boot_id,
        uid=uid,
        is_users=is_users,
        started_s=started_s,
        has_ended=has_ended,
        unrecorded=unrecorded,
    )


def put_target(room: bytearray, record: Record) -> None:
    """Put a target into the room of a cell."""
    times = record.budget_times_s[-MOST_TIMES:]
    cgroup = record.cgroup.encode(errors="surrogateescape")
    TARGET.pack_into(
        room,
        0,
        record.is_unit,
        record.pid,
        record.state.encode(),
        (record.hold or "").encode(),
        # A part of a path would be another path.
        cgroup if len(cgroup) < _CGROUP_BYTES else b"",
        (record.metric or "").encode(),
        record.swap,
        min(record.threshold_bytes, _LARGEST_BYTES),
        _NO_SIZE if record.hard_bytes is None else min(record.hard_bytes, _LARGEST_BYTES),
        record.interval_s,
        record.for_s,
        record.signal_number,
        record.action.encode(),
        record.dry_run,
        record.invocation_id,
        _put_s(record.begun_s),
        record.begun_bytes,
        _put_s(record.first_asked_s),
        _put_s(record.asked_s),
        record.asked_in_invocation,
        record.is_escalated,
        record.requests,
        record.failed_requests,
        _put_s(record.last_request_s),
        record.failed_readings,
        _put_s(record.paused_until_s),
        _ANY_NUMBER if record.budget_count is None else min(record.budget_count, _ANY_NUMBER - 1),
        record.budget_window_s,
        len(times),
        _bytes(record.name, _NAME_BYTES),
        *times,
        *(0.0,) * (MOST_TIMES - len(times)),
    )


def get_target(values: bytes) -> Record:
    """It as it was put there."""
    unpacked = TARGET.unpack_from(values)
    *fields, count, name = unpacked[:-MOST_TIMES]
    take = iter(fields).__next__
    return Record(
        name=_text(name),
        is_unit=take(),
        pid=take(),
        state=_word(take()),
        hold=_word(take()) or None,
        cgroup=_text(take()),
        metric=_word(take()) or None,
        swap=take(),
        threshold_bytes=take(),
        hard_bytes=None if (hard := take()) == _NO_SIZE else hard,
        interval_s=take(),
        for_s=take(),
        signal_number=take(),
        action=_word(take()),
        dry_run=take(),
        invocation_id=take(),
        begun_s=_get_s(take()),
        begun_bytes=take(),
        first_asked_s=_get_s(take()),
        asked_s=_get_s(take()),
        asked_in_invocation=take(),
        is_escalated=take(),
        requests=take(),
        failed_requests=take(),
        last_request_s=_get_s(take()),
        failed_readings=take(),
        paused_until_s=_get_s(take()),
        budget_count=None if (most := take()) == _ANY_NUMBER else most,
        budget_window_s=take(),
        budget_times_s=unpacked[-MOST_TIMES:][:count],
    )


def _bytes(name: str, room_bytes: int) -> bytes:
    return name.encode(errors="surrogateescape")[: room_bytes - 1]


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode(errors="surrogateescape")


def _word(field: bytes) -> str:
    """A word that is shown as it is: another user's file could hold what steers a terminal."""
    return one_line(_text(field))


def _put_s(time_s: float | None) -> float:
    return _NONE_S if time_s is None else time_s


def _get_s(field: float) -> float | None:
    return None if field == _NONE_S else field
