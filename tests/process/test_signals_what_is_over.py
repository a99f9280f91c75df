"""A process above the threshold gets the signal, by itself, for as long as it stays above; nothing else."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

SOON_S = 15.0
NAME = f"{MINE}-process"
FAST = ("-i", "0.05")


def rss_bytes(pid: int) -> int:
    """As /proc/PID/smaps counts it, page by page: statm may be some pages behind."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Rss:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None, f"no Rss for {pid}:\n{text}"
    return int(found[1]) * 1024


def statm_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def lines_with(monitor: MonitorProcess, pattern: str) -> list[str]:
    return [line for line in monitor.lines if re.search(pattern, line)]


def wait_for_looks(monitor: MonitorProcess, count: int) -> None:
    """So many more readings by a monitor with -v, each of which is a look at one process."""
    goal = len(lines_with(monitor, r"\]: \w+: rss .* of ")) + count
    eventually(
        lambda: len(lines_with(monitor, r"\]: \w+: rss .* of ")) >= goal,
        SOON_S,
        f"{count} looks",
        monitor.log.__str__,
    )


def test_the_command_line_of_the_tool_that_this_one_follows(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=510)
    below = start_leaker(f"{NAME}-2", mib=490)
    begun_s = time.monotonic()
    monitor = start_monitor("-m", "500", "-i", "3", "-s", "SIGUSR1", NAME)
    leaker.wait_for_signals("SIGUSR1", 2, SOON_S)
    assert time.monotonic() - begun_s > 3.0, "repeated sooner than after the interval"
    monitor.stop()
    assert set(leaker.lines) == {"ready", "SIGUSR1"}
    assert below.lines == ["ready"]
    said = lines_with(monitor, "sent")
    assert len(said) == leaker.lines.count("SIGUSR1")
    above = r"rss 5\d\d(\.\d)? MiB is above 500 MiB after .*"
    assert re.fullmatch(rf"{NAME}\[{leaker.pid}\]: signalled: {above}: sent SIGUSR1", said[0])


def test_only_what_is_strictly_above_the_threshold_is_over(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=3, ignore=True)
    rss = statm_bytes(leaker.pid)  # It sleeps: the kernel's count of its pages doesn't change.
    equal = start_monitor("-m", f"{rss}B", "--once", NAME)
    assert equal.wait_for_end() == 0
    assert leaker.lines == ["ready"]
    above = start_monitor("-m", f"{rss - 1}B", "--once", NAME)
    assert above.wait_for_end() == 3
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)


def test_a_bare_number_is_mebibytes(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=60)
    above = rss_bytes(leaker.pid) // 2**20 + 1
    assert above * 10**6 < rss_bytes(leaker.pid) < above * 2**20
    for size, status in ((f"{above}", 0), (f"{above * 10**6}B", 3)):
        assert start_monitor("-m", size, "--once", "-n", NAME).wait_for_end() == status


def test_every_matching_process_is_measured_and_signalled_by_itself(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    # Together far above the threshold.
    leakers = [start_leaker(f"{NAME}{number}", mib=30, ignore=True) for number in range(3)]
    monitor = start_monitor("-m", "50", *FAST, "-v", f"{MINE}-proc")
    monitor.wait_ready()
    wait_for_looks(monitor, 10)
    assert [leaker.lines for leaker in leakers] == [["ready"]] * 3
    leakers[1].grow(30)
    leakers[1].wait_for_signals("SIGTERM", 2, SOON_S)
    assert [leakers[0].lines, leakers[2].lines] == [["ready"]] * 2
    leakers[2].grow(30)
    leakers[2].wait_for_signals("SIGTERM", 1, SOON_S)
    assert leakers[0].lines == ["ready"]


def test_a_process_that_leaks_is_signalled_when_it_passes_the_threshold(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, grow_kib_s=20 * 1024)
    monitor = start_monitor("-m", "20", "-i", "0.2", NAME)
    monitor.wait_ready()
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    assert leaker.process.wait(SOON_S) == 0
    monitor.wait_for_line(rf"^{NAME}\[{leaker.pid}\]: ended$", SOON_S)


def test_it_looks_more_often_near_the_threshold_than_the_interval_says(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=10)
    monitor = start_monitor("-m", "60", "-i", "1h", "--growth", "100M", NAME)
    monitor.wait_ready()
    leaker.grow(60)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)


def test_the_signal_is_repeated_while_it_stays_above_and_nothing_further_is_done(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor("-m", "10", *FAST, NAME)
    monitor.wait_ready()
    leaker.wait_for_signals("SIGTERM", 10, SOON_S)
    assert set(leaker.lines) == {"ready", "SIGTERM"}
    assert leaker.running


def test_it_is_not_repeated_before_the_time_of_repeat(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor("-m", "10", *FAST, "-v", "--repeat", "1h", NAME)
    monitor.wait_ready()
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    wait_for_looks(monitor, 20)
    assert leaker.lines == ["ready", "SIGTERM"]


def test_repeat_can_be_longer_than_the_interval_and_shorter(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20, ignore=True)
    begun_s = time.monotonic()
    longer = start_monitor("-m", "10", *FAST, "--repeat", "1", "-s", "USR1", NAME)
    shorter = start_monitor("-m", "10", "-i", "1h", "--repeat", "0.1", "-s", "USR2", NAME)
    longer.wait_ready()
    shorter.wait_ready()
    leaker.wait_for_signals("SIGUSR2", 5, SOON_S)
    leaker.wait_for_signals("SIGUSR1", 3, SOON_S)
    assert time.monotonic() - begun_s > 2.0, "three signals, one second apart"


def test_one_that_falls_within_and_passes_the_threshold_again_waits_for_the_repeat(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, ignore=True)
    monitor = start_monitor("-m", "10", *FAST, "--repeat", "1h", NAME)
    monitor.wait_ready()
    leaker.grow(20)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    leaker.shrink(20)
    monitor.wait_for_line("ok: within again: ", SOON_S)
    statuses = len(monitor.notify.values("STATUS"))
    leaker.grow(20)
    eventually(
        lambda: len(monitor.notify.values("STATUS")) > statuses, SOON_S, "it sees it", monitor.log.__str__
    )
    assert leaker.lines.count("SIGTERM") == 1


def test_with_for_it_acts_only_once_it_has_been_over_for_so_long(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, ignore=True)
    monitor = start_monitor("-m", "10", *FAST, "--for", "1", "--repeat", "1h", NAME)
    monitor.wait_ready()
    begun_s = time.monotonic()
    leaker.grow(20)
    monitor.wait_for_line(
        rf"^{NAME}\[\d+\]: over: rss .* is above 10 MiB; signalled if it stays above for 1 s$", SOON_S
    )
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    assert time.monotonic() - begun_s > 1.0


def test_with_for_a_dip_below_the_threshold_begins_the_time_anew(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, ignore=True)
    monitor = start_monitor("-m", "10", *FAST, "--for", "2", NAME)
    monitor.wait_ready()
    leaker.grow(20)
    monitor.wait_for_line("over: ", SOON_S)
    leaker.shrink(20)
    monitor.wait_for_line("ok: within again", SOON_S)
    risen_s = time.monotonic()
    leaker.grow(20)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    assert time.monotonic() - risen_s > 2.0
    assert len(lines_with(monitor, "over: rss")) == 2


def test_a_dry_run_says_what_it_would_send_and_sends_nothing(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20)
    monitor = start_monitor("-m", "10", *FAST, "--dry-run", "-s", "HUP", NAME)
    would = r"is above 10 MiB after .*: would send SIGHUP \(dry run\)$"
    eventually(lambda: len(lines_with(monitor, would)) >= 5, SOON_S, "said 5 times", monitor.log.__str__)
    monitor.stop()
    assert not lines_with(monitor, "sent")
    assert leaker.lines == ["ready"]


@pytest.mark.parametrize(
    ("size", "name", "status", "signals"),
    [("100", NAME, 0, 0), ("10", NAME, 3, 1), ("10", f"{MINE}-nobody", 4, 0)],
    ids=["within", "over", "not found"],
)
def test_once_looks_once_and_tells_by_its_status(
    size: str,
    name: str,
    status: int,
    signals: int,
    start_leaker: Callable[..., Leaker],
    start_monitor: Callable[..., MonitorProcess],
) -> None:
    leaker = start_leaker(NAME, mib=20, ignore=True)
    monitor = start_monitor("-m", size, "-i", "1h", "--once", name)
    assert monitor.wait_for_end() == status, monitor.log
    leaker.process.terminate()  # What was sent before is said before.
    leaker.wait_for_signals("SIGTERM", signals + 1, SOON_S)
    assert leaker.lines.count("SIGTERM") == signals + 1


def test_quiet_says_only_actions(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, ignore=True)
    monitor = start_monitor("-m", "10", *FAST, "-q", "--repeat", "1h", NAME)
    monitor.wait_ready()
    leaker.grow(20)
    leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    leaker.shrink(20)
    monitor.wait_for_status("within again", SOON_S)
    monitor.stop()
    (line,) = monitor.lines
    assert re.fullmatch(
        rf"{NAME}\[{leaker.pid}\]: signalled: rss \S+ MiB is above 10 MiB after .*: sent SIGTERM", line
    )


def test_verbose_says_every_reading(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20)
    monitor = start_monitor("-m", "100", *FAST, "-v", NAME)
    monitor.wait_ready()
    wait_for_looks(monitor, 5)
    assert monitor.wait_for_line(rf"^{NAME}\[{leaker.pid}\]: ok: rss 2\d(\.\d)? MiB of 100 MiB$", SOON_S)


def test_pss_counts_what_it_shares_by_its_part_only(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20)
    status = Path(f"/proc/{leaker.pid}/smaps_rollup").read_text()
    pss = re.search(r"^Pss:\s+(\d+) kB$", status, re.MULTILINE)
    assert pss is not None
    between = f"{(int(pss[1]) * 1024 + rss_bytes(leaker.pid)) // 2}B"
    assert start_monitor("-m", between, "--once", "-n", NAME).wait_for_end() == 3
    assert start_monitor("-m", between, "--once", "-n", "--metric", "pss", NAME).wait_for_end() == 0
    below = f"{int(pss[1]) - 400}K"  # Less than that, as others come and share.
    assert start_monitor("-m", below, "--once", "-n", "--metric", "pss", NAME).wait_for_end() == 3


def test_swap_is_counted_on_top_of_the_metric(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20)
    for size, status in (("10", 3), ("100", 0)):
        assert start_monitor("-m", size, "--once", "-n", "--swap", NAME).wait_for_end() == status
    assert leaker.lines == ["ready"]


def test_sigkill_is_sent_with_a_warning(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leaker = start_leaker(NAME, mib=20)
    monitor = start_monitor("-m", "10", "-s", "KILL", NAME)
    assert leaker.process.wait(SOON_S) == -signal.SIGKILL
    monitor.wait_for_line("^warning: .*SIGKILL", SOON_S)


def test_a_share_is_one_of_the_memory_that_the_process_may_use(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    start_leaker(NAME, mib=20)
    assert start_monitor("-m", "100%", "--once", "-n", NAME).wait_for_end() == 0
    assert start_monitor("-m", "0.001%", "--once", "-n", NAME).wait_for_end() == 3


def test_a_process_that_comes_when_all_is_settled_is_measured_and_signalled_too(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    monitor = start_monitor("-m", "10", *FAST, NAME)
    monitor.wait_ready()
    within, over = start_leaker(f"{NAME}-1"), start_leaker(f"{NAME}-2", mib=20)
    over.wait_for_signals("SIGTERM", 1, SOON_S)
    monitor.wait_for_line(rf"\[{within.pid}\]: ok: ", SOON_S)
    monitor.stop()
    assert within.lines == ["ready"]


def test_several_names_are_monitored_by_one_process(
    start_leaker: Callable[..., Leaker], start_monitor: Callable[..., MonitorProcess]
) -> None:
    leakers = [start_leaker(name, mib=20) for name in (f"{MINE}-one", f"{MINE}-two", f"{MINE}-three")]
    monitor = start_monitor("-m", "10", *FAST, f"{MINE}-one", f"{MINE}-two")
    monitor.wait_ready()
    for leaker in leakers[:2]:
        leaker.wait_for_signals("SIGTERM", 1, SOON_S)
    monitor.stop()
    assert leakers[2].lines == ["ready"]
