import math
import signal
import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memmon_systemd.errors import UsageError
from memmon_systemd.formatting import format_bytes, format_seconds, one_line, signal_name
from memmon_systemd.parsing import (
    parse_interval,
    parse_name,
    parse_rate,
    parse_signal,
    parse_size,
    parse_threshold,
    parse_time,
)
from memmon_systemd.settings import (
    KillWhom,
    Metric,
    NameKind,
    Settings,
    Share,
    Size,
    TargetSettings,
)

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
MOST_BYTES = (1 << 63) - 1

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="real-time signals are tested with the numbers of Linux"
)
any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates, as from argv, too
# Text that comes close: it reaches the branches that random text hardly finds.
near_text = st.text("0159.-+%/ \n\0kMGtiBbsmhdwyµinsecSIGRTMINMAX\u017f\u212a٣", max_size=12)
PARSERS: tuple[Callable[[str], object], ...] = (
    parse_size,
    parse_rate,
    parse_threshold,
    parse_time,
    parse_interval,
    parse_signal,
    parse_name,
)


def refusal(parse: Callable[[str], object], text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(text)
    return str(caught.value)


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("500", 500 * MIB),
        ("0.5", MIB // 2),
        (" 500 ", 500 * MIB),
        ("1048576B", MIB),
        ("1b", 1),
        ("1K", KIB),
        ("1k", KIB),
        ("1KB", KIB),
        ("1KiB", KIB),
        ("512MiB", 512 * MIB),
        ("512 MiB", 512 * MIB),
        ("512mb", 512 * MIB),
        ("1.5G", GIB + GIB // 2),
        ("1.1G", 1181116006),
        ("2GiB", 2 * GIB),
        ("2T", 2 * TIB),
        ("9223372036854775807B", MOST_BYTES),
    ],
)
def test_a_size_is_read_as_the_manual_says(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes
    if size_bytes >= MIB:
        assert parse_threshold(text) == Size(size_bytes)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "5X", "-5", "+5", "five", "1,5G", "1.G", ".5G", "1e3", "0x10", "5MM", "5 5",
        "nan", "inf", "infinity", "1_000", "٣", "5K" + "B" * 9999, "9" * 9999,
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused_with_what_works(text: str) -> None:
    assert "is not a size: use MiB (500) or a suffix (1.5G, 512MiB)" in refusal(parse_size, text)
    assert "or a share of the limit (80%)" in refusal(parse_threshold, text)


@pytest.mark.parametrize("text", ["0", "0.0", "0G", "0.5B", "0.0000000001"])
def test_a_size_of_nothing_is_refused(text: str) -> None:
    assert "is not a size above zero: use" in refusal(parse_size, text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0.8", "80% for a share, or a suffix (0.8G)"),
        (" 0.855 ", "85.5% for a share, or a suffix (0.855G)"),
        ("0.999999", "99.9999% for a share, or a suffix (0.999999G)"),
        ("500K", "at least 1M; without a suffix a number is MiB (500)"),
        ("1023.9KiB", "at least 1M; without a suffix a number is MiB (500)"),
        ("1048575B", "at least 1M; without a suffix a number is MiB (500)"),
        ("0.0009G", "at least 1M; without a suffix a number is MiB (500)"),
    ],
)
def test_a_threshold_below_1_mib_is_refused_with_what_was_probably_meant(text: str, meant: str) -> None:
    assert refusal(parse_threshold, text) == f"'{text}' is less than 1 MiB: use {meant}"


@pytest.mark.parametrize("text", ["1", "1.0", "1024K", "1048576B", "0.5G", "0.001%"])
def test_a_threshold_of_1_mib_or_a_small_share_is_one(text: str) -> None:
    assert parse_threshold(text).threshold_bytes(1 << 60) >= MIB


@pytest.mark.parametrize("text", ["8388608T", "9223372036854775808B", "9" * 40])
def test_a_size_that_no_machine_has_is_refused_with_the_bound(text: str) -> None:
    assert refusal(parse_size, text).endswith("is too large: use less than 8388608T")


@given(st.integers(1, MOST_BYTES))
def test_a_size_in_bytes_is_read_to_the_byte(size_bytes: int) -> None:
    assert parse_size(f"{size_bytes}B") == size_bytes


@given(st.integers(1, MOST_BYTES), st.integers(1, MOST_BYTES))
def test_a_larger_number_is_never_a_smaller_size(one: int, other: int) -> None:
    low, high = sorted((one, other))
    for suffix in ("B", "K", ""):
        sizes = []
        for number in (low, high):
            text = f"{number >> 20}.{number & 0xFFFFF:07}{suffix}"
            try:
                sizes.append(parse_size(text))
            except UsageError as refused:
                sizes.append(0 if "above zero" in str(refused) else MOST_BYTES)
        assert sizes[0] <= sizes[1]


@given(st.integers(1, 1 << 49))
def test_a_size_as_a_log_line_shows_it_can_be_given_back_as_an_option(size_bytes: int) -> None:
    read_back = parse_size(format_bytes(size_bytes))
    unit = KIB ** int(math.log(size_bytes * 1.0001, KIB))
    assert abs(read_back - size_bytes) <= unit * 0.06


# --- thresholds and rates -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "percent"),
    [("80%", 80), ("80 %", 80), (" 99.5% ", 99.5), ("100%", 100), ("0.1%", 0.1), ("100.0%", 100)],
)
def test_a_share_is_read_in_percent(text: str, percent: float) -> None:
    assert parse_threshold(text) == Share(percent)


@pytest.mark.parametrize("text", ["0%", "0.00%", "200%", "100.1%", "9999999999%"])
def test_a_share_of_nothing_or_of_more_than_all_is_refused(text: str) -> None:
    assert refusal(parse_threshold, text) == (
        f"'{text}' is not a usable share: use more than 0% and at most 100%"
    )


@pytest.mark.parametrize("text", ["%", "-5%", "1e1%", "80%%", "80%G", "eighty%"])
def test_what_is_no_share_is_refused_with_what_works(text: str) -> None:
    assert "a share of the limit (80%)" in refusal(parse_threshold, text)


@given(st.floats(1e-6, 100), st.integers(0, MOST_BYTES), st.integers(0, MOST_BYTES))
@example(100.0, MOST_BYTES, MOST_BYTES - 1)
def test_a_share_is_never_more_than_the_whole_and_grows_with_it(percent: float, one: int, other: int) -> None:
    low, high = sorted((one, other))
    share = Share(percent)
    assert share.threshold_bytes(low) <= share.threshold_bytes(high) <= high
    assert abs(share.threshold_bytes(high) - high * percent / 100) <= max(1, high * 1e-12)


def test_a_share_of_a_limit_is_that_part_of_it() -> None:
    assert Share(80).threshold_bytes(120 * MIB) == 96 * MIB
    assert Share(33.3).threshold_bytes(1000) == 333
    assert Share(100).threshold_bytes(MOST_BYTES) == MOST_BYTES


@given(st.integers(1, MOST_BYTES), st.integers(0, MOST_BYTES))
def test_a_size_is_the_limit_whatever_the_whole(size_bytes: int, whole_bytes: int) -> None:
    assert Size(size_bytes).threshold_bytes(whole_bytes) == size_bytes


@pytest.mark.parametrize("text", ["500 MiB", "1.5 GiB", "80%", "99.5%", "100%", "0.1%"])
def test_a_threshold_is_shown_as_a_user_writes_it(text: str) -> None:
    assert str(parse_threshold(text)) == text


@given(st.integers(1, 10_000))
def test_a_share_can_be_given_back_as_it_is_shown(hundredths: int) -> None:
    share = Share(hundredths / 100)
    assert parse_threshold(str(share)) == share


@pytest.mark.parametrize("text", ["1G", "1G/s", "1 GiB / s", "1024/s", " 1024 "])
def test_a_rate_is_a_size_with_or_without_per_second(text: str) -> None:
    assert parse_rate(text) == GIB


@pytest.mark.parametrize("text", ["1G/h", "/s", "1G/s/s", "80%", "fast"])
def test_what_is_no_rate_is_refused_with_what_works(text: str) -> None:
    assert refusal(parse_rate, text) == (
        f"'{text}' is not a rate: use MiB per second (500) or a suffix (1.5G, 512MiB/s)"
    )


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time_s"),
    [
        ("3", 3.0),
        ("2.5", 2.5),
        ("0", 0.0),
        ("500ms", 0.5),
        ("500 msec", 0.5),
        ("250us", 0.00025),
        ("250\u00b5s", 0.00025),  # the micro sign
        ("250\u03bcs", 0.00025),  # the Greek letter: both are in systemd.time(7)
        ("1usec", 0.000001),
        ("5s", 5.0),
        ("5sec", 5.0),
        ("5 second", 5.0),
        ("5seconds", 5.0),
        ("1min 30s", 90.0),
        ("1min30s", 90.0),
        ("1min 30", 90.0),
        ("1.5min", 90.0),
        ("2m", 120.0),
        ("1minute", 60.0),
        ("2 minutes", 120.0),
        ("2h", 7200.0),
        ("48hr", 172800.0),
        ("1hour 2hours", 10800.0),
        ("1d", 86400.0),
        ("1day 2days", 259200.0),
        ("1w", 604800.0),
        ("2weeks", 1209600.0),
        ("1M", 2629800.0),
        ("1month", 2629800.0),
        ("1y", 31557600.0),
        (" 55s500ms ", 55.5),
        ("300ms20s 5day", 432020.3),
    ],
)
def test_a_time_is_read_as_systemd_reads_it(text: str, time_s: float) -> None:
    assert parse_time(text) == time_s


@pytest.mark.parametrize(
    ("names", "time_s"),
    [
        ("usec us \u00b5s \u03bcs", 0.000001),
        ("msec ms", 0.001),
        ("seconds second sec s", 1),
        ("minutes minute min m", 60),
        ("hours hour hr h", 3600),
        ("days day d", 86400),
        ("weeks week w", 604800),
        ("months month M", 2629800),
        ("years year y", 31557600),
    ],
)
def test_every_unit_of_systemd_time_7_is_known(names: str, time_s: float) -> None:
    for name in names.split():
        assert parse_time(f"1{name}") == parse_time(f" 1 {name} ") == time_s


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "-1",
        "+1",
        "1,5s",
        "1 fortnight",
        "5S",
        "nan",
        "inf",
        "1e3",
        "1.5.5",
        "1min-5s",
    ],
)
def test_what_is_no_time_is_refused_with_what_works(text: str) -> None:
    assert refusal(parse_time, text) == (
        f"'{text}' is not a time: use seconds (2.5) or a time span (500ms, 1min 30s)"
    )


def test_a_time_without_end_is_refused_with_a_line_that_says_so() -> None:
    assert "'infinity' never ends: use seconds" in refusal(parse_time, "infinity")


@pytest.mark.parametrize("text", ["2y", "1y 1us", "400d", "9" * 40])
def test_a_time_of_more_than_a_year_is_refused_with_the_bound(text: str) -> None:
    assert refusal(parse_time, text) == f"'{text}' is too long: use at most 1y"


@pytest.mark.parametrize("text", ["0", "0ms", "1us", "9ms", "9.999ms", "0.001"])
def test_an_interval_that_would_be_a_busy_loop_is_refused_with_the_bound(text: str) -> None:
    assert refusal(parse_interval, text) == f"'{text}' is too short: use at least 10ms"
    assert parse_time(text) < 0.01


@pytest.mark.parametrize(("text", "time_s"), [("10ms", 0.01), ("0.01", 0.01), ("2", 2.0)])
def test_an_interval_of_10_ms_or_more_is_taken(text: str, time_s: float) -> None:
    assert parse_interval(text) == time_s


@given(st.integers(0, 31_557_600_000_000))
def test_a_time_in_microseconds_is_read_to_the_microsecond(time_us: int) -> None:
    assert parse_time(f"{time_us}us") == time_us / 1_000_000


@given(st.one_of(st.floats(0, 1), st.floats(0, 31_557_600)))
def test_a_time_as_a_log_line_shows_it_can_be_given_back_as_an_option(time_s: float) -> None:
    error_s = abs(parse_time(format_seconds(time_s)) - time_s)
    assert error_s <= max(0.5000001e-6, min(0.5000001, time_s * 0.051))


# --- signals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", signal.SIGTERM),
        ("TERM", signal.SIGTERM),
        ("term", signal.SIGTERM),
        ("sigterm", signal.SIGTERM),
        (" 15 ", signal.SIGTERM),
        ("SIGUSR1", signal.SIGUSR1),
        ("SIGKILL", signal.SIGKILL),
    ],
)
def test_a_signal_is_read_by_name_or_number(text: str, number: int) -> None:
    assert parse_signal(text) == number
    assert type(parse_signal(text)) is int


@linux_only
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGRTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmin+3", 37),
        ("SIGRTMIN+30", 64),
        ("SIGRTMAX-1", 63),
        ("RTMAX", 64),
        ("SIGRTMAX-30", 34),
        ("37", 37),
    ],
)
def test_a_real_time_signal_is_counted_from_either_end(text: str, number: int) -> None:
    assert parse_signal(text) == number


@linux_only
@pytest.mark.parametrize(
    "text",
    ["", "0", "-15", "65", "9999", "9" * 9999, "SIG", "SIG15", "SIGFOO", "15.0", "TERM KILL",
     "SIG_IGN", "SIGRTMIN-1", "SIGRTMAX+1", "SIGRTMIN+31", "SIGRTMAX-31", "SIGRTMAX-35", "SIGRTMIN+",
     "RTMIN+٣",     "32", "33"],
)  # fmt: skip
def test_what_is_no_signal_is_refused_with_what_works(text: str) -> None:
    line = refusal(parse_signal, text)
    assert "is not a signal: use " in line
    assert line.endswith("or a number that kill -l lists (1 to 64)")


def test_a_signal_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    assert "use SIGTERM, another name" in refusal(parse_signal, "SIGTREM")
    assert "use SIGUSR1, another name" in refusal(parse_signal, "usr-1")
    assert "use a name such as SIGTERM or SIGUSR1, or a" in refusal(parse_signal, "SIGFOO")


@given(st.sampled_from(sorted(signal.valid_signals())))
def test_every_signal_of_this_system_has_a_name_that_is_read_as_that_signal(number: int) -> None:
    assert signal_name(number).startswith("SIG")
    assert parse_signal(signal_name(number)) == number
    assert parse_signal(str(int(number))) == number


def test_a_signal_is_shown_by_the_name_that_people_know() -> None:
    assert signal_name(signal.SIGTERM) == "SIGTERM"
    assert signal_name(signal.SIGABRT) == "SIGABRT"  # not SIGIOT
    assert signal_name(signal.SIGCHLD) == "SIGCHLD"  # not SIGCLD
    assert signal_name(0) == "signal 0"
    assert signal_name(99) == "signal 99"


@linux_only
def test_a_real_time_signal_is_shown_by_its_distance_from_the_first() -> None:
    assert signal_name(34) == "SIGRTMIN"
    assert signal_name(37) == "SIGRTMIN+3"
    assert signal_name(64) == "SIGRTMIN+30"


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["myapp", "myapp.service", "worker@*.service", "x\\x2dy", "tmux: server", "-", "ä" * 127,
     "a" * 255, "odd\udcff"],
)  # fmt: skip
def test_a_name_is_taken_as_it_is(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "use a unit (myapp.service) or a process-name prefix"),
        (" ", "use a unit (myapp.service) or a process-name prefix"),
        ("/usr/bin/myapp", "without a slash"),
        ("a/b", "without a slash"),
        ("my\napp", "without control characters"),
        ("my\0app", "without control characters"),
        ("my\x1b[2Japp", "without control characters"),
        ("my\x7fapp", "without control characters"),
        ("my\x85app", "without control characters"),
        ("my\u2028app", "without control characters"),
        ("\ud800", "that can be encoded"),
        ("a" * 256, "at most 255 bytes"),
        ("ä" * 128, "at most 255 bytes"),
    ],
)
def test_a_name_that_nothing_can_have_is_refused_with_why(text: str, why: str) -> None:
    assert why in refusal(parse_name, text)


# --- every parser -----------------------------------------------------------------------------


@pytest.mark.parametrize("parse", PARSERS)
@given(text=any_text | near_text)
@example(text="9" * 5000)  # int() refuses more than 4300 digits with a ValueError
@example(text="\ud800")
def test_whatever_is_written_gives_a_value_or_one_line(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except UsageError as refused:
        line = str(refused)
        assert line.isprintable()  # so one line, without control characters or lone surrogates
        assert len(line) < 1000
        assert ": use " in line


def test_the_line_shows_the_value_with_escapes_and_cut() -> None:
    assert refusal(parse_size, "5\n\x1bX").startswith("'5\\n\\x1bX' is not a size")
    assert refusal(parse_size, "x" * 1000).startswith("'" + "x" * 60 + "...' is not a size")


@given(any_text)
def test_one_line_leaves_what_is_printable_and_escapes_the_rest(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    printable = "".join(c for c in text if c.isprintable())
    assert (line == text) == (printable == text)


# --- log lines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (MIB - 1, "1.0 MiB"),  # and not 1024.0 KiB
        (500 * MIB, "500 MiB"),
        (500 * MIB + 1, "500.0 MiB"),  # not whole
        (512 * MIB + 314573, "512.3 MiB"),
        (GIB + GIB // 2, "1.5 GiB"),
        (2 * TIB, "2 TiB"),
        (1 << 50, "1 PiB"),
        ((1 << 64) - 1, "16.0 EiB"),
        (1 << 75, "32768 EiB"),
    ],
)
def test_a_size_is_shown_with_at_most_one_decimal(size_bytes: int, shown: str) -> None:
    assert format_bytes(size_bytes) == shown


@pytest.mark.parametrize(
    ("time_s", "shown"),
    [
        (0, "0 s"),
        (0.00025, "250 us"),
        (0.0009996, "1 ms"),
        (0.5, "500 ms"),
        (0.9996, "1 s"),
        (1.5, "1.5 s"),
        (2.0, "2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (86400 + 7200 + 1, "1 d 2 h 1 s"),
    ],
)
def test_a_time_is_shown_in_the_units_that_fit_it(time_s: float, shown: str) -> None:
    assert format_seconds(time_s) == shown


def test_the_words_of_the_command_line_are_the_words_of_the_log() -> None:
    assert [str(metric) for metric in Metric] == [
        "unreclaimable", "current", "working-set", "anon", "rss", "pss",
    ]  # fmt: skip
    assert [str(kind) for kind in NameKind] == ["auto", "unit", "process", "owner"]
    assert [str(whom) for whom in KillWhom] == ["main", "control", "all"]


def test_with_nothing_but_a_name_and_a_threshold_it_looks_every_2_s_and_sends_the_units_own_signal() -> None:
    settings = Settings(("myapp",), TargetSettings(Size(500 * MIB)))
    asked = settings.target
    assert (asked.interval_s, asked.signal_number) == (2.0, None)
    assert (asked.for_s, asked.repeat_s, asked.growth_bytes_per_s) == (0.0, None, None)
    assert (asked.metric, asked.kill_whom, settings.name_kind) == (None, None, NameKind.AUTO)
    flags = (asked.swap, asked.dry_run, settings.user, settings.once, settings.until_stopped)
    assert not any(flags)
    assert settings.verbosity == 0


@pytest.mark.parametrize(
    "value",
    [Size(1), Share(1.0), TargetSettings(Size(1)), Settings(("a",), TargetSettings(Size(1)))],
    ids=type,
)
def test_settings_can_not_change_while_it_runs(value: object) -> None:
    field = next(iter(type(value).__slots__))  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        setattr(value, field, 2)
    assert not hasattr(value, "__dict__")
