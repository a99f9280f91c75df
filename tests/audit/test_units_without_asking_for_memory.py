"""A monitor of units, from READY on: a quiet look calls no allocator (L1), nothing asks the kernel (L0).

The units are those of units.py, on plain files; with real ones: tests/vm.
"""

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.audit.counting import Asked, CountFile
from tests.audit.fake_systemd import Answer, FakeSystemd
from tests.audit.units import (
    HIGH_BYTES,
    LOW_BYTES,
    FakeUnit,
    Record,
    Start,
    let_it_look,
    unit_monitor,
    wait_for_count,
)
from tests.process.kit import MonitorProcess
from tests.process.leaker import Leaker
from tests.process.waiting import eventually

LOOKS = 1000
INTERVAL = "10ms"
RELOADED = 20
FASTER = "clock-times=10"
"""What is repeated once in an interval takes a tenth of the time; memory doesn't know the time."""
DEADLINE_S = 60.0
WATCHDOG = {"WATCHDOG_USEC": "500000"}
"""A ping each 250 ms: more often, a busy machine's full socket would be an error, and an error allocates."""

HELD = {
    "state": (),
    "wrapper": (),
    "min-age": ("--min-age", "8760h"),
    "budget": ("--budget", "1/1h"),
    "at-most": ("--at-most", "1"),
    "condition": ("--condition-unit", "lock@%i"),
}
"""What holds a request back: the options."""
WHY_HELD = {
    "state": "stopping",
    "wrapper": "leaves its other processes",
    "min-age": "younger",
    "budget": "asked once",
    "at-most": "of its kind are down",
    "condition": "decides whether",
}


@contextmanager
def nothing_asked(monitor: MonitorProcess, record: Record) -> Iterator[None]:
    """Fails where the monitor asks the kernel for memory, or has a page fault, meanwhile."""
    with Asked(monitor.pid) as asked:
        yield
    record(asked)
    assert asked.is_nothing, f"{asked.detail}\n{monitor.log}"


def test_1000_quiet_looks_at_1_10_and_300_units_call_no_allocator_and_ask_for_nothing(
    library: Path, systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    with ExitStack() as stack:
        watched = []
        for units in (1, 10, 300):
            for number in range(units):
                FakeUnit(systemd.top, f"of{units}@{number}.service")
            counts = stack.enter_context(CountFile(library))
            monitor = unit_monitor(
                start_monitor,
                systemd,
                *("-i", INTERVAL, f"of{units}@*.service"),
                environment=counts.environment | WATCHDOG,
            )
            wait_for_count(monitor, ": ok: ", units)
            let_it_look(counts, counts.read(), 20, units)
            watched.append((units, monitor, counts, Asked(monitor.pid)))
        for *_, asked in watched:
            stack.enter_context(asked)
        before = [counts.read() for _, _, counts, _ in watched]
        for (units, _, counts, _), begin in zip(watched, before, strict=True):
            let_it_look(counts, begin, LOOKS, units)
        after = [counts.read() for _, _, counts, _ in watched]
        pings = [len(monitor.notify.values("WATCHDOG")) for _, monitor, _, _ in watched]
        stack.pop_all().close()
    for (units, _, _, asked), begin, end, pinged in zip(watched, before, after, pings, strict=True):
        calls = end - begin
        text = f"{calls.read // units} looks at {units}: {calls.allocator_calls} allocator calls, {asked}"
        record(f"{text}, {pinged} pings")
        assert (calls.allocator_calls, calls.free) == (0, 0), text
        assert asked.is_nothing, asked.detail
        assert pinged >= 10, text


@pytest.mark.parametrize(
    ("change", "calls", "faults"), [("plants-an-object", 0, 0), ("plants-a-page", LOOKS // 10, LOOKS // 10)]
)
def test_what_is_planted_into_the_look_is_seen(
    change: str,
    calls: int,
    faults: int,
    library: Path,
    systemd: FakeSystemd,
    start_monitor: Start,
    record: Record,
) -> None:
    FakeUnit(systemd.top, "planted.service")
    with CountFile(library) as counts:
        monitor = unit_monitor(
            start_monitor,
            systemd,
            *("-i", INTERVAL, "planted.service"),
            changes=change,
            environment=counts.environment,
        )
        before = counts.read()
        with Asked(monitor.pid) as asked:
            let_it_look(counts, before, LOOKS // 10 + 10)
        allocator_calls = (counts.read() - before).allocator_calls
    record(f"{LOOKS // 10} looks: {allocator_calls} allocator calls, {asked}")
    assert allocator_calls >= LOOKS // 10
    assert asked.calls["mmap"] >= calls
    assert asked.faults.minor >= faults


def test_1000_looks_while_memory_current_is_above_the_limit_and_the_metric_below(
    systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    unit = FakeUnit(systemd.top, "cached.service")
    monitor = unit_monitor(start_monitor, systemd, "-i", INTERVAL, "cached.service", changes=FASTER)
    unit.use(HIGH_BYTES, HIGH_BYTES - LOW_BYTES)
    with nothing_asked(monitor, record):
        let_it_read(monitor, 2 * LOOKS)
    assert not [line for line in monitor.lines if "is above" in line][1:]


def let_it_read(monitor: MonitorProcess, reads: int) -> None:
    """Wait for so many read(2) and pread(2): syscr of /proc/PID/io (proc(5))."""

    def count() -> int:
        found = re.search(r"^syscr: (\d+)$", Path(f"/proc/{monitor.pid}/io").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    goal = count() + reads
    eventually(lambda: count() >= goal, DEADLINE_S, f"{reads} reads", monitor.log.__str__)


@pytest.mark.parametrize("answer", Answer)
def test_while_a_unit_is_signalled_by_systemd_or_without_it(
    answer: Answer,
    systemd: FakeSystemd,
    start_monitor: Start,
    start_leaker: Callable[..., Leaker],
    record: Record,
) -> None:
    leaker = start_leaker("main", ignore=True)
    unit = FakeUnit(systemd.top, "leaky.service", leaker.pid)
    options = ("-i", INTERVAL, "--repeat", INTERVAL, "leaky.service")
    monitor = unit_monitor(start_monitor, systemd, *options, changes=FASTER)
    with nothing_asked(monitor, record):
        systemd.answer = answer
        for passes in range(1, 6):
            unit.use(HIGH_BYTES)
            if answer is Answer.REFUSES:
                wait_for_count(monitor, "not signalled", passes)
            else:
                leaker.wait_for_signals("SIGTERM", leaker.lines.count("SIGTERM") + 4, DEADLINE_S)
            unit.use(LOW_BYTES)
            wait_for_count(monitor, "within again", passes)
        assert answer is not Answer.REFUSES or not leaker.lines.count("SIGTERM")
        systemd.answer = Answer.KILLS
        unit.use(HIGH_BYTES)
        wait_for_count(monitor, r"\(KillUnit\)$", 1)
    how = {
        Answer.KILLS: r"sent SIGTERM .*\(KillUnit\)$",
        Answer.REFUSES: r"not signalled: .*: KillUnit: not today: run as root, or allow",
    }.get(answer, r"sent SIGTERM .*by pidfd \(KillUnit: ")
    wait_for_count(monitor, how, 5)


@pytest.fixture
def shell_that_waits() -> Iterator[Callable[[], tuple[int, int]]]:
    """Starts a shell whose child has more memory than it: both."""
    script = f"{sys.executable} -IS -c 'x = bytes([1]) * (20 << 20); print(flush=True); input()'; exit"
    with ExitStack() as stack:

        def start() -> tuple[int, int]:
            command = ("sh", "-c", script)
            pipe = subprocess.PIPE
            shell = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe))
            stack.callback(shell.communicate, b"\n")
            assert shell.stdout is not None
            shell.stdout.readline()
            return shell.pid, int(Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text())

        yield start


@pytest.mark.parametrize("case", HELD, ids=HELD)
def test_while_a_unit_is_held_for_a_while_and_again(
    case: str,
    systemd: FakeSystemd,
    start_monitor: Start,
    start_leaker: Callable[..., Leaker],
    shell_that_waits: Callable[[], tuple[int, int]],
    record: Record,
) -> None:
    pids: tuple[int, ...] = (start_leaker("main", ignore=True).pid,)
    if case == "wrapper":
        systemd.kill_mode = "process"
        pids = shell_that_waits()
    first, second = (FakeUnit(systemd.top, f"held@{number}.service", *pids) for number in (1, 2))
    options = (*HELD[case], "-i", INTERVAL, "held@*.service")
    monitor = unit_monitor(start_monitor, systemd, *options, changes=FASTER)
    if case in ("budget", "at-most"):
        first.use(HIGH_BYTES)
        wait_for_count(monitor, "signalled: ", 1)
    if case == "budget":
        first.stop()
        wait_for_count(monitor, "waiting: it stopped", 1)
        first.start()
        wait_for_count(monitor, ": ok: ", 3)
    if case == "condition":
        systemd.hooks["lock@1.service"] = "failed"
    if case == "state":
        systemd.active_state = "deactivating"
    held = second if case == "at-most" else first
    with nothing_asked(monitor, record):
        for passes in range(1, 11):
            held.use(HIGH_BYTES)
            # A budget that is spent is said once.
            said = 1 if case == "budget" else passes
            wait_for_count(monitor, f"{held.name}: held: .*{WHY_HELD[case]}", said)
            let_it_read(monitor, LOOKS // 5)
            held.use(LOW_BYTES)
            wait_for_count(monitor, f"{held.name}: ok: within again", passes)
    asked = {unit for unit, _, _ in systemd.kills}
    assert asked == ({first.name} if case in ("budget", "at-most") else set())


def test_while_hooks_are_started_before_and_at_20_requests(
    systemd: FakeSystemd, start_monitor: Start, start_leaker: Callable[..., Leaker], record: Record
) -> None:
    systemd.hooks |= {"lock.service": "inactive", "mail@hooked.service.service": "failed"}
    unit = FakeUnit(systemd.top, "hooked.service", start_leaker("main", ignore=True).pid)
    hooks = ("--condition-unit", "lock", "--on-request", "mail@%n", "--budget", "infinity")
    monitor = unit_monitor(start_monitor, systemd, *hooks, "-i", INTERVAL, unit.name, changes=FASTER)
    with nothing_asked(monitor, record):
        for restarts in range(1, 21):
            unit.use(HIGH_BYTES)
            wait_for_count(monitor, "hooked.service: started mail@hooked.service.service", restarts)
            wait_for_count(monitor, "mail@hooked.service.service: it failed", restarts)
            unit.stop()
            wait_for_count(monitor, "waiting: it stopped", restarts)
            unit.start()
            wait_for_count(monitor, "hooked.service: ok: ", restarts + 1)
    assert len(systemd.kills) >= 20
    assert systemd.starts.count("lock.service") >= 20


def test_while_a_unit_restarts_50_times(systemd: FakeSystemd, start_monitor: Start, record: Record) -> None:
    unit = FakeUnit(systemd.top, "flapping.service")
    monitor = unit_monitor(start_monitor, systemd, "-i", INTERVAL, "flapping.service", changes=FASTER)
    with nothing_asked(monitor, record):
        for restarts in range(1, 51):
            unit.stop()
            wait_for_count(monitor, "waiting: it stopped", restarts)
            unit.start()
            wait_for_count(monitor, ": ok: ", restarts + 1)


def test_while_all_unit_files_are_read_again_100_times(
    systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    units = [FakeUnit(systemd.top, f"configured@{number}.service") for number in range(RELOADED)]
    FakeUnit(systemd.top, "wrong.service")
    systemd.configure("wrong.service", "Threshold=500M")
    for unit in units:
        systemd.configure(unit.name, "Threshold=500M")
    (systemd.runtime / "systemd").mkdir()
    changes = f"{FASTER},runtime-in={systemd.runtime}"
    monitor = unit_monitor(start_monitor, systemd, "-i", INTERVAL, "--configured", changes=changes)
    with nothing_asked(monitor, record):
        for reloads in range(1, 101):
            for unit in units:
                systemd.configure(unit.name, f"Threshold={500 + reloads}M", "Metric=current")
            systemd.configure("wrong.service", f"Threshold={reloads} apples", f"Treshold={reloads}M")
            systemd.reload()
            wait_for_count(monitor, f"settings changed: Threshold={500 + reloads}MiB", RELOADED)
            wait_for_count(monitor, f"'{reloads} apples' is not a size", 1)


def test_while_its_own_settings_are_read_again_100_times(
    systemd: FakeSystemd, start_monitor: Start, tmp_path: Path, record: Record
) -> None:
    FakeUnit(systemd.top, "reloaded.service")
    file = tmp_path / "reloaded.conf"
    words = ("memory-monitor", "-m", "${MAX_MEMORY}", "-i", INTERVAL, "$OPTIONS", "--", "reloaded.service")
    systemd.own_command, systemd.own_files = words, (str(file),)
    monitor = unit_monitor(
        start_monitor,
        systemd,
        *("-i", INTERVAL, "reloaded.service"),
        changes=f"{FASTER},own-service=memory-monitor@reloaded.service",
        environment={"MEMORY_MONITOR_SETTINGS": str(file)},
    )
    with nothing_asked(monitor, record):
        os.kill(monitor.pid, signal.SIGHUP)
        wait_for_count(monitor, "settings read again", 1)
        for reloads in range(1, 101):
            options = "--for 1d --metric current" if reloads % 2 else "--min-age 1h"
            file.write_text(f"MAX_MEMORY={500 + reloads}\nOPTIONS={options}\n")
            os.kill(monitor.pid, signal.SIGHUP)
            wait_for_count(monitor, f"settings changed: --max-memory={500 + reloads}MiB", 1)
            file.write_text(f"MAX_MEMORY={reloads} apples\nINTERVALL=5\n")
            os.kill(monitor.pid, signal.SIGHUP)
            wait_for_count(monitor, f"'{reloads} apples' is not a size", 1)


def test_while_every_reading_is_said(systemd: FakeSystemd, start_monitor: Start, record: Record) -> None:
    FakeUnit(systemd.top, "said.service")
    monitor = unit_monitor(start_monitor, systemd, "-i", INTERVAL, "-v", "said.service", changes=FASTER)
    with nothing_asked(monitor, record):
        wait_for_count(monitor, ": ok: ", LOOKS)


def test_while_nobody_reads_the_log(systemd: FakeSystemd, start_monitor: Start, record: Record) -> None:
    FakeUnit(systemd.top, "unread.service")
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    options = ("-i", INTERVAL, "-v", "unread.service")
    monitor = unit_monitor(start_monitor, systemd, *options, changes=FASTER, stderr=writer)
    with nothing_asked(monitor, record):
        let_it_read(monitor, 2 * LOOKS)
        assert os.read(reader, 65536)
        let_it_read(monitor, 20)
        assert b"dropped" in os.read(reader, 65536)
    os.close(reader)
    os.close(writer)


def test_while_ten_units_pass_the_threshold_together(
    systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    units = [FakeUnit(systemd.top, f"one@{number}.service") for number in range(10)]
    options = ("-i", INTERVAL, "--for", "1d", "one@*.service")
    monitor = unit_monitor(start_monitor, systemd, *options, changes=FASTER)
    with nothing_asked(monitor, record):
        for passes in range(1, 21):
            for used_bytes, pattern in ((HIGH_BYTES, ": over: "), (LOW_BYTES, "within again")):
                for unit in units:
                    unit.use(used_bytes)
                wait_for_count(monitor, pattern, 10 * passes)
    told = monitor.notify.values("STATUS")
    assert any(re.match(r"10 units: \d ok, \d+ over; no signals since ", sentence) for sentence in told)


def test_while_nobody_reads_the_notify_socket(
    systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    unit = FakeUnit(systemd.top, "unheard.service")
    options = ("-i", INTERVAL, "--for", "1d", "unheard.service")
    monitor = unit_monitor(start_monitor, systemd, *options, changes=FASTER, environment=WATCHDOG)
    with nothing_asked(monitor, record):
        monitor.notify.stop_reading()
        wait_for_count(monitor, "doesn't take WATCHDOG=1", 1)
        for passes in range(1, 21):
            unit.use(HIGH_BYTES)
            wait_for_count(monitor, ": over: ", passes)
            unit.use(LOW_BYTES)
            wait_for_count(monitor, "within again", passes)
