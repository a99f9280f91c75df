"""Whatever system call fails on the way to the signal: the monitor lives, and the signal goes out.

strace makes the Nth call of a kind fail, without it being made, or the first three in a row.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, product
from pathlib import Path

from tests.audit.fake_systemd import FakeSystemd
from tests.audit.units import HIGH_BYTES, LOW_BYTES, FakeUnit, Record, Start, unit_monitor, wait_for_count
from tests.process.kit import MINE, MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import Output, eventually_or_ended

SOON_S = 30.0
# The last three say that the target is gone: it is let go, and found again.
ERRNOS = ("EIO", "EACCES", "EINTR", "ENOMEM", "EMFILE", "EAGAIN", "ESRCH", "ENODEV", "ENOENT")
WHICH = ("1", "2", "3", "4", "5", "1..3")
# Not close(2): made to fail it isn't made, so the descriptor would stay, which it never does on Linux.
ON_THE_WAY = (
    "openat",
    "read",
    "pread64",
    "lseek",
    "poll",
    "pidfd_open",
    "pidfd_send_signal",
    "sendto",
    "write",
)
TO_SYSTEMD = ("sendmsg", "recvmsg", "ppoll", "poll", "connect", "socket", "openat", "read", "lseek")


@contextmanager
def failing(pid: int, call: str, number: str, which: str, directory: Path) -> Iterator[None]:
    """Some calls of this kind fail meanwhile."""
    said = Output(directory / "strace.said")
    fault = f"inject={call}:error={number}:when={which}"
    command = ("strace", "-f", "-e", f"trace={call}", "-e", fault, "-o", "/dev/null", "-p", str(pid))
    with said.path.open("wb") as file:
        strace = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        eventually_or_ended(
            lambda: said.first_line_with("attached"), SOON_S, "strace", lambda: strace.poll() is None, said
        )
        yield
    finally:
        strace.terminate()
        strace.wait()


def descriptors(monitor: MonitorProcess) -> int:
    return len(list(Path(f"/proc/{monitor.pid}/fd").iterdir()))


def fail_each(
    calls: tuple[str, ...],
    monitor: MonitorProcess,
    leaker: Leaker,
    use: Callable[[bool], None],
    directory: Path,
) -> str:
    """Each kind of call with each errno, now one of it, now another; how many there were."""
    held = descriptors(monitor)
    which = cycle(WHICH)
    passes = 0
    for call, number in product(calls, ERRNOS):
        fault = f"{call} fails with {number}"
        signals = leaker.lines.count("SIGTERM")
        with failing(monitor.pid, call, number, next(which), directory):
            use(True)
            eventually_or_ended(
                partial(_has_more_signals, leaker, signals),
                SOON_S,
                f"a signal though {fault}",
                lambda: monitor.running,
                monitor.log,
            )
        passes += 1
        use(False)
        wait_for_count(monitor, "within again", passes)
    assert descriptors(monitor) == held, monitor.log
    assert "Traceback" not in str(monitor.log)
    return f"{passes} faults, each signalled all the same"


def _has_more_signals(leaker: Leaker, signals: int) -> bool:
    return leaker.lines.count("SIGTERM") > signals


def test_on_the_way_to_the_signal_of_a_process(
    start_monitor: Start, start_leaker: Callable[..., Leaker], tmp_path: Path, record: Record
) -> None:
    name = f"{MINE}-fail"
    leaker = start_leaker(name, ignore=True)
    monitor = start_monitor("-m", "50", "-i", "0.02", name)
    monitor.wait_ready()

    def use(over: bool) -> None:
        leaker.grow(60) if over else leaker.shrink(60)

    record(fail_each(ON_THE_WAY, monitor, leaker, use, tmp_path))


def test_on_the_way_to_systemd(
    systemd: FakeSystemd,
    start_monitor: Start,
    start_leaker: Callable[..., Leaker],
    tmp_path: Path,
    record: Record,
) -> None:
    leaker = start_leaker("main", ignore=True)
    unit = FakeUnit(systemd.top, "failing.service", leaker.pid)
    options = ("-i", "10ms", "--repeat", "10ms", "failing.service")
    monitor = unit_monitor(start_monitor, systemd, *options)

    def use(over: bool) -> None:
        unit.use(HIGH_BYTES if over else LOW_BYTES)

    record(fail_each(TO_SYSTEMD, monitor, leaker, use, tmp_path))
