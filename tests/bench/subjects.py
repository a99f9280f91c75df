"""What is measured: the installed command, a monitor of units on plain files, programs that only sleep."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.audit.fake_systemd import fake_systemd
from tests.audit.units import FakeUnit
from tests.bench.gauging import cpu_s
from tests.process.kit import MonitorProcess
from tests.process.namespace import PidNamespace

COMMAND: Final = (str(Path(sys.executable).with_name("memory-monitor")),)
READY_DEADLINE_S: Final = 60.0
# Before other users' programs, which may keep this machine busy: else their time slices are what is measured.
FIRST_IN_LINE: Final = ("nice", "-n", "-20")

# What a Python program costs that does nothing but wake.
ONLY_WAKES: Final = "import select, sys\npoll = select.poll()\nwhile True: poll.poll(float(sys.argv[1]))"

# What a look costs that reads the name of every process, as a search by psutil or a shell script does.
READS_EVERY_NAME: Final = """
import select, sys
from memmon_systemd.linux import proc
poll = select.poll()
while True:
    for pid in proc.pids():
        try:
            proc.read(f"/proc/{pid}/comm", 64)
        except OSError:
            pass
    poll.poll(float(sys.argv[1]))
"""

# What is written in an afternoon: psutil in a loop.
BY_PSUTIL: Final = """
import sys, time, signal, psutil
name, limit_bytes, interval_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
while True:
    for process in psutil.process_iter(["name", "memory_info"]):
        memory = process.info["memory_info"]
        if process.info["name"].startswith(name) and memory and memory.rss > limit_bytes:
            process.send_signal(signal.SIGTERM)
    time.sleep(interval_s)
"""


def compiled(source: str, directory: Path, *flags: str) -> Path:
    """A C program of this directory; RuntimeError with what the compiler said."""
    program = directory / Path(source).stem
    command = ["gcc", "-O2", "-Wall", "-Wextra", *flags, "-o", str(program)]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name(source))], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"gcc can't compile {source}:\n{done.stderr}")
    return program


@contextmanager
def running(*command: str, namespace: PidNamespace | None = None) -> Iterator[int]:
    """A program that says nothing; ended with its `with`. Its PID."""
    if namespace is not None:
        with namespace.births():
            process = subprocess.Popen([*namespace.prefix(Path.cwd()), *command], stdout=subprocess.DEVNULL)
    else:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def monitor(
    directory: Path,
    *arguments: str,
    command: Sequence[str] = COMMAND,
    namespace: PidNamespace | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[MonitorProcess]:
    """A monitor that is READY; ended with its `with`."""
    with MonitorProcess(
        directory, *arguments, command=command, namespace=namespace, environment=environment
    ) as process:
        process.wait_ready(READY_DEADLINE_S)
        yield process


@contextmanager
def monitor_of_units(directory: Path, count: int, interval_s: float) -> Iterator[MonitorProcess]:
    """A monitor of so many units, READY: cgroups of plain files, and a systemd that answers what it asks."""
    inside = Path(tempfile.mkdtemp(dir=directory))
    with fake_systemd(inside) as systemd:
        for number in range(count):
            FakeUnit(systemd.top, f"bench@{number}.service")
        command = (sys.executable, "-m", "tests.bench.units_in", str(systemd.top))
        options = ("-m", "500", "-i", f"{interval_s:g}", "bench@*.service")
        with monitor(inside, *options, command=command, environment=systemd.environment) as process:
            yield process


def seconds_to_ready(directory: Path, *arguments: str) -> tuple[float, float]:
    """From exec of the command to READY=1, and how much of that was CPU time."""
    begun_s = time.monotonic()
    with monitor(directory, *arguments, command=(*FIRST_IN_LINE, *COMMAND)) as process:
        return time.monotonic() - begun_s, cpu_s(process.pid)


def seconds_of_bare_python() -> float:
    """From exec of an interpreter to its end, with nothing to do."""
    begun_s = time.monotonic()
    subprocess.run([*FIRST_IN_LINE, sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - begun_s
