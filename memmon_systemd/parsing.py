"""From what a user writes to values: sizes, shares, times, signals and names. Forgotten once it is done."""

from __future__ import annotations

import os
import re
import signal

from memmon_systemd.errors import UsageError
from memmon_systemd.formatting import format_seconds, one_line
from memmon_systemd.settings import UNBOUNDED, Rate, Share, Size, Threshold

SHORTEST_INTERVAL_S = 0.01
LOWEST_THRESHOLD_BYTES = 1 << 20
LONGEST_TIME_S = 365.25 * 86400
LONGEST_NAME_BYTES = 255  # NAME_MAX; also systemd's limit for the name of a unit
_TOO_MANY_BYTES = 1 << 63  # the kernel's memory limits are signed 64-bit numbers of bytes
_TOO_LONG_TO_QUOTE = 60

_BYTES = {"": 1 << 20, "b": 1} | {
    letter + rest: 1 << (10 * power)
    for power, letter in enumerate("kmgt", start=1)
    for rest in ("", "b", "ib")
}
_NANOSECONDS = {  # the names and values of systemd.time(7); they are case-sensitive there too
    name: value
    for names, value in (
        ("usec us \u00b5s \u03bcs", 1_000),
        ("msec ms", 1_000_000),
        (" seconds second sec s", 1_000_000_000),
        ("minutes minute min m", 60 * 1_000_000_000),
        ("hours hour hr h", 3_600 * 1_000_000_000),
        ("days day d", 86_400 * 1_000_000_000),
        ("weeks week w", 604_800 * 1_000_000_000),
        ("months month M", 2_629_800 * 1_000_000_000),
        ("years year y", 31_557_600 * 1_000_000_000),
    )
    for name in names.split(" ")
}

_NUMBER = r"\s*(\d{1,40})(?:\.(\d{1,40}))?\s*"
_SIZE = re.compile(_NUMBER + r"([A-Za-z]*)\s*", re.ASCII)
_SHARE = re.compile(_NUMBER + r"%\s*", re.ASCII)
_TIME_PART = re.compile(_NUMBER + "([A-Za-z\u00b5\u03bc]*)\\s*", re.ASCII)
_RATE_ENDING = re.compile(r"\s*/\s*s\s*$", re.ASCII)
_COUNT = re.compile(r"\s*\d{1,6}\s*", re.ASCII)
_SIGNAL_NUMBER = re.compile(r"\d{1,4}", re.ASCII)
_HOOK = re.compile(r"[A-Za-z0-9:_.\\%-]+(?:@[A-Za-z0-9:_.\\%@-]*)?\.service", re.ASCII)
"""The letters of a unit's name (systemd.unit(5)), and specifiers."""
_BAD_SPECIFIER = re.compile(r"%(?![nNpi%])|(?<!%)%(?:%%)*$", re.ASCII)
_UNIT_TYPES = tuple(
    f".{kind}"
    for kind in "service socket target timer path mount automount swap slice scope device".split()  # noqa: SIM905
)
_REALTIME_SIGNAL = re.compile(r"SIGRT(?:MIN(?:\+(\d{1,3}))?|MAX(?:-(\d{1,3}))?)", re.ASCII)


def quoted(text: str) -> str:
    """A value for a message, in quotes and on one line, cut where it is long."""
    cut = text if len(text) <= _TOO_LONG_TO_QUOTE else text[:_TOO_LONG_TO_QUOTE] + "..."
    return f"'{one_line(cut)}'"


def _scaled(whole: str, fraction: str | None, unit: int) -> int:
    digits = fraction or ""
    scale: int = 10 ** len(digits)
    return int(whole + digits) * unit // scale


def _parse_bytes(text: str, number: str, kind: str, what_works: str) -> int:
    match = _SIZE.fullmatch(number)
    unit = _BYTES.get(match[3].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{quoted(text)} is not a {kind}: use {what_works}")
    size_bytes = _scaled(match[1], match[2], unit)
    if size_bytes == 0:
        raise UsageError(f"{quoted(text)} is not a {kind} above zero: use {what_works}")
    if size_bytes >= _TOO_MANY_BYTES:
        raise UsageError(f"{quoted(text)} is too large: use less than {_TOO_MANY_BYTES >> 40}T")
    return size_bytes


def parse_size(text: str, works: str = "MiB (500) or a suffix (1.5G, 512MiB)") -> int:
    """Bytes from "500" (MiB), "1.5G", "512MiB" or "1048576B"; every suffix is 1024-based.

    UsageError, which says what `works`, for anything else, for nothing (0) and for 2^63 bytes or more.
    """
    return _parse_bytes(text, text, "size", works)


def parse_rate(text: str) -> int:
    """Bytes per second from a size with or without "/s" behind it; UsageError as parse_size."""
    works = "MiB per second (500) or a suffix (1.5G, 512MiB/s)"
    return _parse_bytes(text, _RATE_ENDING.sub("", text), "rate", works)


def parse_threshold(text: str) -> Threshold:
    """A Size of 1 MiB or more, or a Share from "80%" (above 0, at most 100); UsageError for anything else."""
    match = _SHARE.fullmatch(text)
    if match is None:
        size_bytes = parse_size(text, "MiB (500), a suffix (1.5G, 512MiB) or a share of the limit (80%)")
        if size_bytes < LOWEST_THRESHOLD_BYTES:
            raise UsageError(f"{quoted(text)} is less than 1 MiB: use {_what_was_meant(text)}")
        return Size(size_bytes)
    percent = float(f"{match[1]}.{match[2] or 0}")
    if not 0 < percent <= 100:
        raise UsageError(f"{quoted(text)} is not a usable share: use more than 0% and at most 100%")
    return Share(percent)


def _what_was_meant(text: str) -> str:
    """By a threshold below 1 MiB: 0.8 is a share or a part of 1G, and 500K has the wrong suffix."""
    number = text.strip()
    if number.replace(".", "").isdecimal():
        return f"{float(number) * 100:g}% for a share, or a suffix ({number}G)"
    return "at least 1M; without a suffix a number is MiB (500)"


def parse_time(text: str, *, least_s: float = 0.0) -> float:
    """Seconds from a number of seconds or a time span as in systemd.time(7), such as "1min 30s".

    UsageError for anything else, for less than least_s and for more than a year; zero is allowed
    where least_s is zero. As in systemd "m" is a minute and "M" a month.
    """
    total_ns = 0
    position = 0
    while position < len(text) or position == 0:
        match = _TIME_PART.match(text, position)
        unit_ns = _NANOSECONDS.get(match[3]) if match else None
        if match is None or unit_ns is None:
            what = "never ends" if text.strip().lower() == "infinity" else "is not a time"
            works = "seconds (2.5) or a time span (500ms, 1min 30s)"
            raise UsageError(f"{quoted(text)} {what}: use {works}")
        total_ns += _scaled(match[1], match[2], unit_ns)
        position = match.end()
    if total_ns > LONGEST_TIME_S * 1_000_000_000:
        raise UsageError(f"{quoted(text)} is too long: use at most 1y")
    if total_ns < least_s * 1_000_000_000:
        least = format_seconds(least_s).replace(" ", "")
        raise UsageError(f"{quoted(text)} is too short: use at least {least}")
    return total_ns / 1_000_000_000


def parse_interval(text: str) -> float:
    """Seconds as parse_time, at least 10 ms."""
    return parse_time(text, least_s=SHORTEST_INTERVAL_S)


def parse_repeat(text: str) -> float:
    """Seconds as parse_interval; "infinity" is never again."""
    return float("inf") if text.strip() == "infinity" else parse_interval(text)


def parse_budget(text: str) -> Rate:
    """A Rate from "10/1h", or any number from "infinity"; UsageError for anything else, and for 0."""
    if text.strip() == "infinity":
        return UNBOUNDED
    count, slash, window = text.partition("/")
    works = "use a number of requests and a time, such as 10/1h, or infinity"
    if not slash or not _COUNT.fullmatch(count):
        raise UsageError(f"{quoted(text)} is not a budget: {works}")
    if int(count) == 0:
        raise UsageError(f"{quoted(text)} allows no request at all: {works}")
    try:
        return Rate(int(count), parse_time(window, least_s=1.0))
    except UsageError as error:
        raise UsageError(f"{quoted(text)}: {error}") from None


def parse_count(text: str) -> int:
    """A whole number from 1 on; UsageError for anything else."""
    if not _COUNT.fullmatch(text) or int(text) == 0:
        raise UsageError(f"{quoted(text)} is not a number of units: use a whole number from 1 on")
    return int(text)


def parse_boolean(text: str) -> bool:
    """What systemd takes for a boolean: 1, yes, y, true, t, on, and their opposites; UsageError."""
    word = text.strip().lower()
    if word in ("1", "yes", "y", "true", "t", "on"):
        return True
    if word in ("0", "no", "n", "false", "f", "off"):
        return False
    raise UsageError(f"{quoted(text)} is not a boolean: use yes or no")


def parse_signal_or_auto(text: str) -> int | None:
    """As parse_signal; None for "auto", which is the unit's own."""
    return None if text.strip().lower() == "auto" else parse_signal(text)


def parse_signal(text: str) -> int:
    """The number of "SIGTERM", "term", "15" or "SIGRTMIN+3"; UsageError if there is no such one."""
    name = text.strip().upper()
    full_name = name if name.startswith("SIG") else "SIG" + name
    number: int | None = signal.Signals.__members__.get(full_name)
    if _SIGNAL_NUMBER.fullmatch(name):
        number = int(name)
    elif match := _REALTIME_SIGNAL.fullmatch(full_name):
        number = _realtime_number(match)
    # valid_signals() leaves out the two that the C library keeps for its threads.
    if number is None or number not in signal.valid_signals():
        raise UsageError(f"{quoted(text)} is not a signal: {_what_signals_work(full_name)}")
    return int(number)


def _realtime_number(match: re.Match[str]) -> int | None:
    first: int | None = getattr(signal, "SIGRTMIN", None)  # macOS has none
    last: int | None = getattr(signal, "SIGRTMAX", None)
    if first is None or last is None:
        return None
    if match[0].startswith("SIGRTMIN"):
        number = first + int(match[1] or 0)
    else:
        number = last - int(match[2] or 0)
    return number if first <= number <= last else None


def _what_signals_work(full_name: str) -> str:
    import difflib  # only on the way out: a settled monitor need not hold it

    close = difflib.get_close_matches(full_name, signal.Signals.__members__, n=1, cutoff=0.75)
    guess = f"{close[0]}, another name" if close else "a name such as SIGTERM or SIGUSR1"
    return f"use {guess}, or a number that kill -l lists (1 to {max(signal.valid_signals())})"


def parse_hook(text: str) -> str:
    """The name of a service, with ".service" added where it has no type; UsageError for anything else.

    It may have the specifiers %n, %N, %p, %i and %% of the unit that is asked (systemd.unit(5)).
    """
    name = parse_name(text.strip())
    if _BAD_SPECIFIER.search(name):
        raise UsageError(
            f"{quoted(text)} has another specifier than %n, %N, %p, %i: write %% for a percent sign"
        )
    if not name.endswith(_UNIT_TYPES):
        name += ".service"
    if not name.endswith(".service") or not _HOOK.fullmatch(name):
        raise UsageError(f"{quoted(text)} is not a service: use a name such as mail-me@%n.service")
    return name


def parse_name(text: str) -> str:
    """The name of a unit or a process, as it was; UsageError for what can be neither."""
    if not text.strip():
        works = "a unit (myapp.service) or a process-name prefix"
        raise UsageError(f"{quoted(text)} is not a name: use {works}")
    if text.strip() == "%":
        raise UsageError("'%' is not a name: use no space in a share (-m 80%)")
    if "/" in text:
        raise UsageError(f"{quoted(text)} is not a name: use one without a slash, no path")
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029" for c in text):
        raise UsageError(f"{quoted(text)} is not a name: use one without control characters")
    try:
        length = len(os.fsencode(text))
    except UnicodeEncodeError:
        raise UsageError(f"{quoted(text)} is not a name: use one that can be encoded") from None
    if length > LONGEST_NAME_BYTES:
        raise UsageError(f"{quoted(text)} is too long: use at most {LONGEST_NAME_BYTES} bytes")
    return text
