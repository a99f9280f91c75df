"""From READY=1 on the kernel is asked for no memory, whatever the units and systemd do."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import (
    WORK,
    Monitor,
    MonitorUnit,
    Service,
    eventually,
    faults_of,
    resident_kib,
    run,
    silent_bus,
    write_unit,
)

CALLS = ("mmap", "munmap", "mremap", "brk", "madvise")


def mappings_of(pid: int) -> dict[str, dict[str, str]]:
    """What is counted of each mapping (proc(5), /proc/PID/smaps), by its address, rights and file."""
    found: dict[str, dict[str, str]] = {}
    mapping = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if words[0].endswith(":"):
            found[mapping][words[0]] = words[1]
        else:
            mapping = " ".join((words[0], words[1], *words[5:]))
            found[mapping] = {}
    return found


def changed(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """The mappings that aren't as they were, each with what of it changed."""
    lines = []
    for mapping in before | after:
        earlier, later = before.get(mapping, {}), after.get(mapping, {})
        lines += [
            f"{mapping} {key} {earlier.get(key)} -> {later.get(key)}"
            for key in earlier | later
            if earlier.get(key) != later.get(key) and key != "Referenced:"
        ]
    return lines


@contextmanager
def no_memory_asked_for(pid: int) -> Iterator[None]:
    """Fails if the process calls the kernel for memory meanwhile, or has a page fault."""
    path = Path(WORK, f"strace-{pid}")
    trace = ("strace", "-f", "-qq", "-e", f"trace={','.join(CALLS)}", "-o", str(path), "-p", str(pid))
    mappings, faults, kib = mappings_of(pid), faults_of(pid), resident_kib(pid)
    with subprocess.Popen(trace, stderr=subprocess.DEVNULL) as tracer:
        try:
            tracing = f"TracerPid:\t{tracer.pid}\n"
            eventually(lambda: tracing in Path(f"/proc/{pid}/status").read_text(), "strace is attached")
            yield
        finally:
            tracer.terminate()
    calls = re.findall(rf"\b(?:{'|'.join(CALLS)})\(.*", path.read_text())
    print(f"RSS {kib} -> {resident_kib(pid)} KiB, faults {faults} -> {faults_of(pid)}, calls {calls}")
    assert calls == []
    assert faults_of(pid) == faults, changed(mappings, mappings_of(pid))


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
        monitor.wait_for("of 40 MiB|40 MiB now")
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
        monitor.wait_for("not signalled: .*only systemd knows the control process")
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


def test_over_200_restarts() -> None:
    units = tuple(f"flapping@{number}.service" for number in range(6))
    write_unit(
        "flapping@.service",
        "[Unit]\nStartLimitIntervalSec=0\n"
        "[Service]\nExecStart=/bin/sleep 0.1\nRestart=always\nRestartSec=0\n",
    )

    def restarts() -> int:
        return sum(map(int, run("systemctl", "show", "--property=NRestarts", "--value", *units).split()))

    with (
        Monitor("-m", "30", "-i", "1", "flapping@*.service") as monitor,
        no_memory_asked_for(monitor.pid),
    ):
        try:
            run("systemctl", "start", *units)
            eventually(lambda: restarts() >= 200, "200 restarts", 120)
        finally:
            run("systemctl", "stop", *units)
        found = len(monitor.lines_with("ok: "))
        print(f"{found} invocations were measured")
        assert found > 20
