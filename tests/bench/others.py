"""What users would pick instead, in the same bench; they are other kinds of tools, and each row says which.

.ci/setup bench unpacks Debian's earlyoom, nohang and monit into build/others (installed, their packages would
start them as services), and installs supervisor and superlance from PyPI.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.gauging import Spread, footprint
from tests.bench.subjects import BY_PSUTIL, COMMAND
from tests.bench.table import Row

UNPACKED: Final = Path("build/others")
SETTLES_S: Final = 3.0
WATCHED_S: Final = 30.0
RUNS: Final = 10
LIMIT_MIB: Final = 60
BASE_MIB: Final = 40
MB_PER_S: Final = 10
NAME: Final = "mmbench-leak"
SIGNAL_DEADLINE_S: Final = 40.0


@dataclass(frozen=True, slots=True)
class Other:
    """A tool: what it does, how to start it, and whether it can signal one process above a limit."""

    name: str
    does: str
    command: Callable[[Path, Path], list[str]]
    """Of a directory for its files and the compiled leak.c."""
    starts_the_leak: bool = False
    signals: bool = True


def _memory_monitor(_directory: Path, _leak: Path) -> list[str]:
    return [*COMMAND, "-m", str(LIMIT_MIB), "-i", "2", NAME]


def _psutil_loop(_directory: Path, _leak: Path) -> list[str]:
    return [sys.executable, "-c", BY_PSUTIL, NAME, str(LIMIT_MIB << 20), "2"]


def _monit(directory: Path, _leak: Path) -> list[str]:
    settings = directory / "monitrc"
    settings.write_text(
        f"set daemon 2\nset log {directory}/log\nset pidfile {directory}/pid\n"
        f"set idfile {directory}/id\nset statefile {directory}/state\n"
        f'check process leak matching "{NAME}"\n'
        f'  if memory usage > {LIMIT_MIB} MB then exec "/usr/bin/pkill -TERM -x {NAME}"\n'
    )
    settings.chmod(0o600)
    return [str(UNPACKED / "usr/bin/monit"), "-I", "-c", str(settings)]


def _memmon(directory: Path, leak: Path) -> list[str]:
    """supervisord with the leak as its program: memmon only looks at what supervisord started."""
    orders = directory / "orders"
    orders.write_text("0\n")
    leaks = f"{leak} {NAME} {BASE_MIB} {LIMIT_MIB} {MB_PER_S}"
    (directory / "supervisord.conf").write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={directory}/log\npidfile={directory}/pid\nuser=root\n"
        f"[unix_http_server]\nfile={directory}/sock\n"
        f"[supervisorctl]\nserverurl=unix://{directory}/sock\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[program:leak]\ncommand=/bin/sh -c 'sleep $(shuf -i 0-50 -n 1 | sed s/$/e-1/);"
        f" exec {leaks} < {orders}'\nautorestart=false\nstartsecs=0\nstdout_logfile={directory}/leak.out\n"
        f"[eventlistener:memmon]\ncommand={Path(sys.executable).with_name('memmon')} -p leak={LIMIT_MIB}MB\n"
        f"events=TICK_5\n"
    )
    supervisord = Path(sys.executable).with_name("supervisord")
    return [str(supervisord), "-c", str(directory / "supervisord.conf")]


def _earlyoom(_directory: Path, _leak: Path) -> list[str]:
    # --dryrun, and the lowest threshold: the bench shall end nobody.
    return [str(UNPACKED / "usr/bin/earlyoom"), "--dryrun", "-m", "1", "-r", "0"]


def _nohang(directory: Path, _leak: Path) -> list[str]:
    text = (UNPACKED / "etc/nohang/nohang.conf").read_text()
    for threshold, percent in (("warning", 1), ("soft", 0.6), ("hard", 0.5)):
        text = re.sub(rf"^({threshold}_threshold_min_mem *=).*", rf"\1 {percent} %", text, flags=re.MULTILINE)
    (directory / "nohang.conf").write_text(text)
    nohang = ("/usr/bin/python3", "-W", "ignore", str(UNPACKED / "usr/sbin/nohang"))
    return [*nohang, "--monitor", "--config", str(directory / "nohang.conf")]


OTHERS: Final = (
    Other("memory-monitor", "signals a process above a limit; every 2 s, sooner near it", _memory_monitor),
    Other("psutil in a loop", "ten lines: signals a process above a limit, every 2 s", _psutil_loop),
    Other("monit 5.33", "runs a command when a process is above a limit; every 2 s (usual: 120)", _monit),
    Other(
        "supervisor 4.3 with superlance's memmon 2.0",
        "restarts a program of supervisord's above a limit; every 5 s (usual: 60)",
        _memmon,
        starts_the_leak=True,
    ),
    Other("earlyoom 1.7", "kills the largest process when the machine runs out", _earlyoom, signals=False),
    Other("nohang 0.2", "kills the largest process when the machine runs out", _nohang, signals=False),
)


def rows(directory: Path, leak: Path) -> list[Row]:
    """A row for each tool; RuntimeError where .ci/setup bench wasn't run."""
    if not (UNPACKED / "usr/bin/monit").exists() or not Path(sys.executable).with_name("memmon").exists():
        raise RuntimeError("the other tools aren't there: run .ci/setup bench")
    return [_row(other, directory, leak) for other in OTHERS]


def _row(other: Other, directory: Path, leak: Path) -> Row:
    print(f"bench: {other.name}", flush=True)
    cost = _cost(other, directory, leak)
    late = "can't signal a process by its size"
    if other.signals:
        times_ms = [_late_ms(other, directory, leak) for _ in range(RUNS)]
        late = f"{Spread(tuple(times_ms)).text(' ms', 0)} from crossing to signal"
    return Row(other.name, f"{cost}; {late}", other.does)


def _cost(other: Other, directory: Path, leak: Path) -> str:
    """Memory and CPU of it, and of all it runs, beside a process that doesn't leak."""
    with _leaking(leak, other) as leaker, _started(other, directory, leak) as pid:
        del leaker
        time.sleep(SETTLES_S)
        begun_s = _cpu_of_tree_s(pid)
        time.sleep(WATCHED_S)
        used_s = _cpu_of_tree_s(pid) - begun_s
        prints = [footprint(each) for each in _tree(pid)]
    rss_kb, pss_kb = sum(each.rss for each in prints), sum(each.pss for each in prints)
    locked = sum(each.mapped_locked for each in prints) > 0
    many = f" in {len(prints)} processes" if len(prints) > 1 else ""
    held = "locked" if locked else "not locked"
    return (
        f"RSS {rss_kb / 1024:.1f} MB, PSS {pss_kb / 1024:.1f} MB{many}, {held};"
        f" {used_s / WATCHED_S * 1e3:.2f} ms of CPU a second"
    )


def _late_ms(other: Other, directory: Path, leak: Path) -> float:
    if other.starts_the_leak:
        (directory / "leak.out").unlink(missing_ok=True)
        with _started(other, directory, leak):
            return float(_line_of(directory / "leak.out", "signalled")[1])
    with _leaking(leak, other) as leaker, _started(other, directory, leak):
        time.sleep(SETTLES_S + 2 * os.urandom(1)[0] / 256)
        assert leaker is not None
        assert leaker.stdin is not None
        assert leaker.stdout is not None
        leaker.stdin.write("0\n")
        leaker.stdin.flush()
        words = leaker.stdout.readline().split()
        return float(words[1])


@contextmanager
def _leaking(leak: Path, other: Other) -> Iterator[subprocess.Popen[str] | None]:
    """leak.c, which hasn't been told to begin; none where the tool starts its own."""
    if other.starts_the_leak:
        yield None
        return
    command = (str(leak), NAME, str(BASE_MIB), str(LIMIT_MIB), str(MB_PER_S))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@contextmanager
def _started(other: Other, directory: Path, leak: Path) -> Iterator[int]:
    log = directory / "other.log"
    with log.open("wb") as file:
        process = subprocess.Popen(other.command(directory, leak), stdout=file, stderr=file)
    try:
        time.sleep(0.5)
        if process.poll() is not None:
            raise RuntimeError(f"{other.name} ended with {process.returncode}:\n{log.read_text()}")
        yield process.pid
    finally:
        process.terminate()
        process.wait(SIGNAL_DEADLINE_S)


def _line_of(file: Path, word: str) -> list[str]:
    end_s = time.monotonic() + SIGNAL_DEADLINE_S
    while time.monotonic() < end_s:
        text = file.read_text() if file.exists() else ""
        for line in text.splitlines():
            if line.startswith(f"{word} "):
                return line.split()
        time.sleep(0.05)
    raise RuntimeError(f"no {word!r} in {file} within {SIGNAL_DEADLINE_S:g} s")


def _tree(pid: int) -> list[int]:
    """A process and those below it but for leak.c, as /proc/PID/task/PID/children say."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [each for child in map(int, below) for each in _tree(child)]
    if Path(f"/proc/{pid}/comm").read_text().strip() in (NAME, "sh", "sleep"):
        return found
    return [pid, *found]


def _cpu_of_tree_s(pid: int) -> float:
    """utime, stime, and those of children that have ended, of the tree (proc(5), /proc/PID/stat)."""
    ticks = 0
    for each in _tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
