"""What is measured: the installed command, the monitor on plain files, and programs that only sleep."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.process.kit import MonitorProcess
from tests.process.namespace import PidNamespace

COMMAND: Final = (str(Path(sys.executable).with_name("memory-monitor")),)
FILE_UNITS: Final = (sys.executable, "-m", "tests.bench.file_units")
READY_DEADLINE_S: Final = 60.0
UNIT_LIMIT_BYTES: Final = 100_000_000

# What a Python program costs that does nothing but wake.
ONLY_WAKES: Final = "import select, sys\npoll = select.poll()\nwhile True: poll.poll(float(sys.argv[1]))"

# What a look costs that reads the name of every process, as a search by psutil or a shell script does.
READS_EVERY_NAME: Final = """
import time
from memmon_systemd import proc
def scan():
    begun = time.process_time()
    for pid in proc.pids():
        try:
            proc.read(f"/proc/{pid}/comm", 64)
        except OSError:
            pass
    return time.process_time() - begun
scan()
print("scan", *(scan() for _ in range(9)), flush=True)
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
) -> Iterator[MonitorProcess]:
    """A monitor that is READY; ended with its `with`."""
    with MonitorProcess(directory, *arguments, command=command, namespace=namespace) as process:
        process.wait_ready(READY_DEADLINE_S)
        yield process


def make_file_units(directory: Path, count: int, current_bytes: int = 12_345_678) -> Path:
    """Directories 0 to `count` - 1 with a quiet unit's files; where they are."""
    units = directory / f"units-{count}"
    for number in range(count):
        unit = units / str(number)
        unit.mkdir(parents=True)
        (unit / "memory.current").write_text(f"{current_bytes}\n")
        (unit / "memory.stat").write_text("anon 12000000\nfile 300000\ninactive_file 200000\n")
    return units


def on_file_units(units: Path, count: int, interval_s: float) -> tuple[str, ...]:
    """The arguments of FILE_UNITS."""
    return (str(units), str(count), str(UNIT_LIMIT_BYTES), str(interval_s))


def seconds_to_ready(directory: Path, *arguments: str) -> float:
    """From exec of the command to READY=1."""
    begun_s = time.monotonic()
    with monitor(directory, *arguments):
        return time.monotonic() - begun_s


def seconds_of_bare_python() -> float:
    """From exec of an interpreter to its end, with nothing to do."""
    begun_s = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - begun_s
