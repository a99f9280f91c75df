"""Trees of cgroup files in a directory, and monitors of what is in them.

Gauges, inotify, poll(2) and files are real. Time only passes where the monitor waits, and of the service
manager there is no more than its answers.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, cast

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.linux.cgroup import Hierarchy
from memmon_systemd.linux.libc import Libc
from memmon_systemd.machine import Machine, Systemd
from memmon_systemd.monitor import log as logs
from memmon_systemd.monitor.keeper import Keeper, NothingKept
from memmon_systemd.monitor.loop import Monitor
from memmon_systemd.monitor.poller import NO_DESCRIPTOR, Clock, Poller, Wakeable
from memmon_systemd.monitor.report import Report
from memmon_systemd.monitor.source import Context, Source
from memmon_systemd.monitor.target import Target, TargetList
from memmon_systemd.output.notify import Notifier
from memmon_systemd.output.sink import Sink
from memmon_systemd.processes.table import by_proc
from memmon_systemd.settings import Action, Settings
from memmon_systemd.systemd.command import Command
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.hook_units import HookState, HookUnits
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import Properties
from memmon_systemd.systemd.restart_rules import RestartRules
from memmon_systemd.systemd.unit import Unit, UnitState
from memmon_systemd.units.aftermath import Aftermath
from memmon_systemd.units.configured import Configured
from memmon_systemd.units.hooks import Hooks
from memmon_systemd.units.ledger import Ledger
from memmon_systemd.units.measured import UnitContext
from memmon_systemd.units.other_monitors import OtherMonitors
from memmon_systemd.units.reload_watch import ReloadWatch
from memmon_systemd.units.roll import Rolls
from memmon_systemd.units.signaller import Signaller
from memmon_systemd.units.slice_watch import SliceWatch
from memmon_systemd.units.target import UnitTarget
from memmon_systemd.units.untouchable import untouchable_units
from memmon_systemd.units.watch import UnitWatch

MIB: Final = 1 << 20
NO_PROCESS: Final = 1 << 22
"""Above every PID (PID_MAX_LIMIT of the kernel)."""
STAT_KEYS: Final = ("anon", "file", "slab_reclaimable", "inactive_anon", "inactive_file", "active_file")

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="cgroups, inotify and /proc are Linux'")


def use(directory: Path, current_bytes: int, **stat_bytes: int) -> None:
    """Let a cgroup use this much; what memory.stat isn't told to hold is 0 there, so not reclaimable."""
    lines = (f"{key} {stat_bytes.get(key, 0)}\n" for key in STAT_KEYS)
    (directory / "memory.stat").write_text("".join(lines))
    (directory / "memory.current").write_text(f"{current_bytes}\n")


def make_cgroup(directory: Path, current_bytes: int, pids: Iterable[int] = ()) -> Path:
    """A cgroup of a unit with the files that are read, those of the memory controller included."""
    directory.mkdir(parents=True)
    (directory / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    (directory / "memory.events").write_text("low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n")
    use(directory, current_bytes)
    return directory


class TestClock:
    """Seconds that go forward as they are told."""

    __test__ = False

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Signal:
    """Stands for the pipe that a signal writes to: it wakes the loop, and no more."""

    def wake(self, now_s: float) -> None:
        del now_s


class SteppingPoller(Poller):
    """Where no descriptor is ready, the clock goes forward instead of anybody waiting."""

    def __init__(self, clock: TestClock) -> None:
        super().__init__()
        self.clock = clock
        self.end_s = clock.now_s
        self.waits_s: list[float] = []
        self.events: list[Wakeable] = []
        """Whose descriptors are taken for ready, where a test can't make them so."""
        self.on_wait: Callable[[float], None] | None = None
        self.on_end: Callable[[], None] | None = None

    def wait(self, longest_s: float, clock: Clock) -> bool:
        if self.events:
            self.events.pop().wake(clock())
            return True
        if super().wait(0.0, clock):
            return True
        self.waits_s.append(longest_s)
        assert self.waits_s[-1000:] != [0.0] * 1000, "it spins"
        waited_s = min(longest_s, self.end_s - self.clock.now_s)
        self.clock.now_s += waited_s
        if self.on_wait:
            self.on_wait(waited_s)
        if self.on_end and self.clock.now_s >= self.end_s:
            self.on_end()
        return False

    def listens_to(self, owner: object) -> bool:
        return owner in self._owners.values()


@dataclass
class Log:
    """The lines that a user would read, with their journal fields."""

    lines: list[str] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    dropped: int = 0

    def write(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        self.lines.append(message)
        self.fields.append(dict(fields) | {"PRIORITY": str(priority)})

    def rehearse(self, message: str, priority: int, fields: Sequence[tuple[str, str]]) -> None:
        """Writes nothing."""

    def having(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]


class StandInHookUnits(HookUnits):
    """The units that are started as hooks; each ends as a test tells it to."""

    def __init__(self, manager: StandInManager) -> None:
        self._manager = manager
        self.states: dict[str, HookState] = {}
        """How far they are; the others have succeeded."""
        self.absent: set[str] = set()
        self.kept: list[str] = []
        """Those that are kept loaded, to see how they end."""
        self._losses = 0

    @property
    def losses(self) -> int:
        return self._losses

    def lose_the_connection(self) -> None:
        """And with it what was kept by it."""
        self._losses += 1
        self.kept.clear()

    def keep(self, unit: Unit) -> None:
        self._answer()
        self.kept.append(unit.name)

    def start(self, unit: Unit) -> None:
        if unit.name in self.absent:
            raise BusError(errno.ENOENT, f"Unit {unit.name} not found.", was_called=True)
        self._manager.do(f"start {unit.name}")

    def state(self, unit: Unit) -> HookState:
        self._answer()
        self._manager.questions += 1
        return self.states.get(unit.name, HookState("inactive", "dead", 0, is_condition_met=True))

    def let_go(self, unit: Unit) -> None:
        self._answer()
        self.kept.remove(unit.name)

    def _answer(self) -> None:
        if self._manager.failure:
            self.lose_the_connection()
            raise self._manager.failure


class StandInManager(Manager):
    """Answers as a test tells it to, and keeps what it was asked to do."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.usual = UnitState(b"first", NO_PROCESS, True, "active", "running")
        self.states: dict[str, UnitState] = {}
        self.results: dict[str, str] = {}
        self.killed: set[str] = set()
        """Services whose main process ended by SIGKILL."""
        self.oneshots: set[str] = set()
        self.kill_modes: set[str] = set()
        """Units with KillMode=process."""
        self.triggered_by: dict[str, tuple[str, ...]] = {}
        self.impossible: Exception = BusError(errno.EINVAL, "Isolate is only valid for start.")
        self.stop_signals: dict[str, int] = {}
        self.main_pids: dict[str, int] = {}
        self.users: dict[str, int] = {}
        """Of the services of the processes that `--as owner` finds."""
        self.timeouts_stop_s: dict[str, float | None] = {}
        self.restarts: dict[str, RestartRules] = {}
        """Of the services that aren't always started again."""
        self.files: dict[str, tuple[str, ...]] = {}
        """The fragment and the drop-ins of each unit."""
        self.commands: dict[str, Command] = {}
        """Of the services that are asked for what they run."""
        self.units: tuple[str, ...] = ()
        """What it lists."""
        self.stopped: set[str] = set()
        self.starting: set[str] = set()
        """Units that a job is about to start."""
        self.load_states: dict[str, str] = {}
        """Of the units that aren't loaded."""
        self.hook_units: StandInHookUnits = StandInHookUnits(self)
        self.hook_files: dict[str, Properties] = {}
        self.failure: Exception | None = None
        self.asked: list[tuple[float, str]] = []
        """When it was asked to do what: "kill app.service main 15"."""
        self.questions = 0
        self.on_question: Callable[[str], None] | None = None
        self.on_request: Callable[[str], None] | None = None
        self.on_files: Callable[[str], None] | None = None

    def unit(self, name: str) -> Unit:
        return Unit(name, b"")

    def unit_files(self, unit: Unit) -> tuple[str, ...]:
        self.questions += 1
        if self.on_files:
            self.on_files(unit.name)
        if self.failure:
            raise self.failure
        return self.files.get(unit.name, ())

    def command(self, service: Unit) -> Command:
        if self.failure:
            raise self.failure
        return self.commands[service.name]

    def load(self, name: str) -> tuple[str, str]:
        if self.failure:
            raise self.failure
        return name, self.load_states.get(name, "loaded")

    def list_units(self, pattern: str) -> list[tuple[str, str]]:
        assert pattern == "*"
        if self.failure:
            raise self.failure
        return [(name, "loaded") for name in self.units]

    def unit_path(self) -> list[str]:
        return []

    def state(self, unit: Unit) -> UnitState:
        self.questions += 1
        if self.on_question:
            self.on_question(unit.name)
        if self.failure:
            raise self.failure
        return self.states.get(unit.name, self.usual)

    def timeout_start_s(self, unit: Unit) -> float | None:
        return 90.0

    def result(self, unit: Unit) -> str | None:
        return self.results.get(unit.name, "success")

    def was_main_killed(self, service: Unit) -> bool:
        return service.name in self.killed

    def is_oneshot(self, unit: Unit) -> bool:
        return unit.name in self.oneshots

    def leaves_processes(self, unit: Unit) -> bool:
        return unit.name in self.kill_modes

    def stop_signal(self, unit: Unit) -> int | None:
        return self.stop_signals.get(unit.name, int(signal.SIGTERM))

    def down_or_on_the_way(self, glob: str) -> frozenset[str]:
        if self.failure:
            raise self.failure
        down = ("activating", "deactivating", "reloading", "failed")
        return frozenset(
            name
            for name, state in self.states.items()
            if fnmatchcase(name, glob) and state.active_state in down
        )

    def reload(self, unit: Unit) -> None:
        self.do(f"reload {unit.name}")

    def identity(self, unit: Unit) -> UnitState:
        return self.state(unit)

    def main_pid(self, service: Unit) -> int:
        if self.failure:
            raise self.failure
        self.questions += 1
        return self.main_pids.get(service.name, 0)

    def service_user(self, service: Unit) -> int | None:
        return self.users.get(service.name)

    def timeout_stop_s(self, unit: Unit) -> float | None:
        if self.failure:
            raise self.failure
        return self.timeouts_stop_s.get(unit.name, 20.0)

    def restart_rules(self, service: Unit) -> RestartRules | None:
        if self.failure:
            raise self.failure
        if service.name in self.load_states:
            return None
        return self.restarts.get(service.name, RestartRules("always"))

    def have_stopped(self, patterns: Sequence[str], but_for: Collection[str]) -> bool:
        if self.failure:
            raise self.failure
        if any(fnmatchcase(name, pattern) for name in self.starting for pattern in patterns):
            return False
        return all(any(fnmatchcase(name, pattern) for name in self.stopped) for pattern in patterns)

    def triggers(self, unit: Unit) -> tuple[str, ...]:
        if self.failure:
            raise self.failure
        return self.triggered_by.get(unit.name, ())

    def ask_for_impossible_job(self, unit: Unit, action: Action) -> None:
        if self.failure:
            raise self.failure
        raise self.impossible

    def kill(self, unit: Unit, whom: str, signal_number: int) -> None:
        self.do(f"kill {unit.name} {whom} {signal_number}")

    def restart(self, unit: Unit) -> None:
        self.do(f"restart {unit.name}")

    def properties(self, unit: Unit) -> Properties:
        if self.failure:
            raise self.failure
        return self.hook_files[unit.name]

    def start_again(self, name: str) -> None:
        """Let a unit be in another invocation from now on."""
        known = self.states.get(name, self.usual)
        self.states[name] = replace(known, invocation_id=known.invocation_id + b"'")

    def do(self, what: str) -> None:
        if self.on_request:
            self.on_request(what)
        if self.failure:
            raise self.failure
        self.asked.append((self.clock(), what))


def log_of(settings: Settings, sink: Sink) -> logs.Log:
    """What the monitor writes its lines to."""
    verbosity = settings.verbosity
    return logs.Log(sink, is_quiet=verbosity < 0, is_verbose=verbosity > 0)


class StandInMachine(Machine):
    """One with the cgroups of a tree, and its stand-in for the service manager."""

    def __init__(self, tree: Tree) -> None:
        self.connections = 0
        self._tree = tree
        super().__init__(tree.settings, {}, tree.context.report.warn)
        self.hierarchy = tree.hierarchy

    def connect(self) -> Systemd:
        if self.systemd is None:
            self.connections += 1
            self.systemd = Systemd(self._tree.manager, self._tree.hierarchy, "/", frozenset({"-.slice"}))
        return self.systemd


class Tree:
    """A monitor of the units in a tree of files, from the arguments of a command line."""

    def __init__(
        self,
        top: Path,
        arguments: str,
        *,
        memory: bool = True,
        notifier: Notifier | None = None,
        untouchable_pids: Collection[int] = (),
        names: Sequence[str] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """A monitor of the units in `names`, without these of those that the arguments name."""
        self.settings = parse(arguments.split())
        self.top = top
        self.clock = TestClock()
        self.log = Log()
        self.manager = StandInManager(self.clock)
        self.poller = SteppingPoller(self.clock)
        self.notifier = notifier or Notifier(None, None, None)
        log = log_of(self.settings, self.log)
        self.context = Context(TargetList(), self.poller, Report(log), keeper or NothingKept())
        self.watch = SliceWatch(Libc(), top, top)
        signaller = Signaller(self.manager, by_proc())
        self.hierarchy = Hierarchy(top, memory)
        asked, ledger = self.settings.target, Ledger()
        self.units = UnitWatch(
            UnitContext(
                self.manager,
                self.hierarchy,
                signaller,
                ledger,
                Rolls(self.manager, self.context.targets, ledger, asked.interval_s),
                Aftermath(self.manager, ledger, self.context.report),
                Hooks(self.manager, ledger, self.context.report),
                self.context,
            ),
            asked,
            self.watch,
            untouchable_units(untouchable_pids, "/"),
            until_stopped=self.settings.until_stopped,
            configured=self.configured() if self.settings.configured else None,
        )
        for name in self.settings.names if names is None else names:
            if "*" in name:
                self.units.add_glob(name)
            else:
                self.units.add_name(name, "it isn't running")
        self.monitor = self.monitor_of([self.units])

    def configured(self) -> Configured:
        """What the files say that the manager has of the units; a reload is one of `reload_systemd`."""
        self.runtime_directory = self.top / "run-systemd"
        self.runtime_directory.mkdir()
        report = self.context.report
        watch = ReloadWatch(Libc(), str(self.runtime_directory))
        others = OtherMonitors(report)
        asked, user, still_starting = self.settings.target, self.settings.user, self.context.still_starting
        self.unit_files = Configured(
            self.manager, asked, report.warn, watch, others, still_starting, user=user
        )
        return self.unit_files

    def reload_systemd(self) -> None:
        """As a daemon-reload shows in the manager's directory."""
        for name in ("generator", "generator.early"):
            (self.runtime_directory / name).mkdir()
            (self.runtime_directory / name).rmdir()

    def monitor_of(self, sources: Sequence[Source]) -> Monitor:
        return Monitor(self.settings, sources, self.context, self.notifier, self.clock)

    def make(self, name: str, mib: float, where: str = "system.slice", pids: Iterable[int] = ()) -> Path:
        """Start a unit."""
        return make_cgroup(self.top / where / name, int(mib * MIB), pids)

    def advance(self, seconds: float) -> None:
        """Let the monitor work for so long."""
        self.poller.end_s = self.clock.now_s + seconds
        while self.clock.now_s < self.poller.end_s and not self.monitor.stopping:
            self.monitor.turn()
        self.monitor.look_around()

    def run_for(self, seconds: float) -> None:
        """As advance(), by the monitor's own loop."""
        self.poller.end_s = self.clock.now_s + seconds
        self.poller.on_end = lambda: self.monitor.stop("the test is over")
        self.monitor.run()

    @property
    def targets(self) -> list[Target]:
        found: list[Target] = []
        target = self.context.targets.first
        while target is not None:
            found.append(target)
            target = target.next
        return found

    def target(self, name: str) -> UnitTarget:
        return cast(UnitTarget, next(target for target in self.targets if target.name == name))

    @property
    def asked(self) -> list[str]:
        return [what for _, what in self.manager.asked]

    def close(self) -> None:
        for target in self.targets:
            target.lost(self.clock.now_s)
        if self.watch.descriptor != NO_DESCRIPTOR:
            os.close(self.watch.descriptor)


def restart(tree: Tree, directory: Path, mib: float) -> None:
    """As systemd does it: the same path, and a new cgroup with an inode of its own."""
    kept = os.open(directory, os.O_RDONLY)  # so that the inode isn't given out again
    try:
        shutil.rmtree(directory)
        tree.make(directory.name, mib, str(directory.parent.relative_to(tree.top)))
    finally:
        os.close(kept)
    tree.manager.start_again(directory.name)
