"""From READY=1 on the kernel is asked for no memory, whatever the units and systemd do."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kit import (
    DEADLINE_S,
    MIB,
    WORK,
    Monitor,
    MonitorUnit,
    Service,
    eventually,
    reads_of,
    resident_kib,
    run,
    silent_bus,
    write_unit,
)

from tests.audit.counting import Asked

LOOKS = 100
# What a pipe takes (pipe(7)).
PIPE_BYTES = 65536


@contextmanager
def no_memory_asked_for(pid: int) -> Iterator[None]:
    """Fails if the process calls the kernel for memory meanwhile, or has a page fault; says where."""
    kib = resident_kib(pid)
    with Asked(pid) as asked:
        yield
    print(f"RSS {kib} -> {resident_kib(pid)} KiB, {asked}")
    assert asked.is_nothing, asked.detail


def test_over_signals_and_restarts() -> None:
    with (
        Service("settled.service", restart=True) as service,
        Monitor("-m", "30", "-i", "0.5", "settled.service") as monitor,
        no_memory_asked_for(monitor.pid),
    ):
        for restarts in (1, 2, 3):
            service.tell("grow 40")
            monitor.wait_for(r"settled\.service: ok: ", restarts + 1)


def test_when_all_that_it_does_it_does_for_the_first_time() -> None:
    options = ("-m", "50%", "-i", "0.5", "--swap", "--for", "1s", "novel-*.service")
    with (
        MonitorUnit("novelist.service", *options) as monitor,
        no_memory_asked_for(monitor.pid),
        Service("novel-1.service", restart=True, properties=("MemoryMax=60M",)) as service,
    ):
        monitor.wait_for(r"novel-1\.service: ok: .* of 30 MiB")
        service.tell("grow 40")
        monitor.wait_for(r"novel-1\.service: ok: .* of 30 MiB", 2)
        service.tell("cache 100")
        run("systemctl", "set-property", "--runtime", "novel-1.service", "MemoryMax=80M")
        monitor.wait_for("of 40 MiB|is now 40 MiB")
        run("systemctl", "stop", "novel-1.service")
        monitor.wait_for(r"novel-1\.service: waiting: it stopped", 2)


def test_while_the_bus_is_silent_and_once_it_is_back() -> None:
    options = ("-m", "30", "-i", "0.5", "-s", "USR1", "--repeat", "1", "muted.service")
    with (
        Service("muted.service") as service,
        Monitor(*options) as monitor,
        no_memory_asked_for(monitor.pid),
    ):
        with silent_bus():
            service.tell("grow 40")
            monitor.wait_for("by pidfd", 2)
        monitor.wait_for(r"\(KillUnit\)$", 2)


def test_while_systemd_refuses() -> None:
    options = ("-m", "30", "-i", "0.5", "--kill-whom", "control", "refused.service")
    with (
        Service("refused.service") as service,
        Monitor(*options) as monitor,
        no_memory_asked_for(monitor.pid),
    ):
        service.tell("grow 40")
        monitor.wait_for("not signalled: .*No control process to kill")
        service.tell("free")
        monitor.wait_for("within again")


def test_where_a_unit_has_no_memory_controller() -> None:
    write_unit("uncounted.slice", "[Slice]\nDisableControllers=memory\n")
    with (
        Monitor("-m", "30", "-i", "0.5", "summed.service") as monitor,
        no_memory_asked_for(monitor.pid),
        Service("summed.service", restart=True, properties=("Slice=uncounted.slice",)) as service,
    ):
        monitor.wait_for(r"summed\.service: ok: rss ")
        service.tell("grow 40")
        monitor.wait_for(r"summed\.service: ok: rss ", 2)


def test_while_page_cache_is_above_the_limit_and_nobody_reads_what_each_look_says() -> None:
    reader, writer = full_pipe()
    with (
        Service("cached.service", "cache 60", properties=("MemoryMax=200M",)) as service,
        Monitor("-v", "-m", "30", "-i", "20ms", "cached.service", stderr=writer) as monitor,
    ):
        with no_memory_asked_for(monitor.pid):
            reads = reads_of(monitor.pid)
            # Two of each: memory.current and, since that is above the limit, memory.stat. As many again for
            # the room below the own limit, which is read now and then.
            eventually(lambda: reads_of(monitor.pid) >= reads + 4 * LOOKS, f"{LOOKS} looks")
            assert int((service.cgroup / "memory.current").read_text()) > 30 * MIB
        heard = b""

        def dropped() -> re.Match[bytes] | None:
            nonlocal heard
            with suppress(BlockingIOError):
                heard += os.read(reader, PIPE_BYTES)
            return re.search(rb"(\d+) lines were dropped because nobody read", heard)

        assert int(eventually(dropped, "it says how many lines were dropped")[1]) >= LOOKS
        assert service.said == ["started", "cache 60"]
    for end in (reader, writer):
        os.close(end)


def full_pipe() -> tuple[int, int]:
    """Where nobody reads; neither end blocks."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(ends[1], b"." * 4096)
    return ends


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_while_200_processes_of_a_name_come_and_go() -> None:
    program = WORK / "mmcrowd"
    WORK.mkdir(exist_ok=True)
    shutil.copy("/bin/sleep", program)
    with Monitor("-m", "100", "-i", "0.5", program.name) as monitor, no_memory_asked_for(monitor.pid):
        held = descriptors_of(monitor.pid)
        crowd = [subprocess.Popen((program, "infinity")) for _ in range(200)]
        # A pidfd and a statm of each.
        eventually(lambda: descriptors_of(monitor.pid) >= held + 2 * len(crowd), "all are measured")
        for process in crowd:
            process.kill()
        for process in crowd:
            process.wait()
        eventually(lambda: descriptors_of(monitor.pid) <= held, "all have ended")


def test_over_50_restarts() -> None:
    units = tuple(f"flapping@{number}.service" for number in range(4))
    write_unit(
        "flapping@.service",
        "[Unit]\nStartLimitIntervalSec=0\n"
        "[Service]\nExecStart=/bin/sleep 0.2\nRestart=always\nRestartSec=0\n",
    )
    with (
        Monitor("-m", "30", "-i", "1", "flapping@*.service") as monitor,
        no_memory_asked_for(monitor.pid),
    ):
        try:
            run("systemctl", "start", *units)
            # Of those that end before they are found the monitor sees nothing.
            monitor.wait_for(": ok: ", 50, 2 * DEADLINE_S)
        finally:
            run("systemctl", "stop", *units)
