"""What `--check` finds: a healthy service has no finding, and each thing that is broken has its own."""

import shlex
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.check.command import judge
from memmon_systemd.check.configured import ABSENT, Configured, FileProblem, Mistake, Rival
from memmon_systemd.check.facts import (
    SWAP,
    Bound,
    Case,
    CgroupKind,
    Machine,
    OtherMonitor,
    OtherMonitors,
    Payload,
    Rights,
    Subject,
)
from memmon_systemd.check.findings import Finding, Id, Level
from memmon_systemd.check.shape import MaximumState, Shape
from memmon_systemd.check.unit_properties import ServiceProperties, UnitProperties
from memmon_systemd.conf_file import Problem
from memmon_systemd.settings import KillWhom, Metric
from memmon_systemd.systemd.manager import POLKIT_HINT
from memmon_systemd.systemd.restart_rules import Disposition, ExitSet, RestartRules
from memmon_systemd.units.hook_problems import HookProblem
from memmon_systemd.units.recipient import NO_MAIN_PROCESS

MIB = 1 << 20
UNIT = "myapp.service"
MACHINE = Machine(CgroupKind.V2, physical_bytes=8192 * MIB)
SERVICE = ServiceProperties(main_pid=812, restart=RestartRules("always"))
HEALTHY = Subject(
    name=UNIT,
    unit=UNIT,
    threshold_bytes=400 * MIB,
    metric=Metric.UNRECLAIMABLE,
    properties=UnitProperties(timeout_stop_s=5.0, service=SERVICE),
    pids=(812, 813),
    main_name="myapp",
    disposition=Disposition.HANDLED,
    readings={"unreclaimable": 100 * MIB, "current": 150 * MIB, "working-set": 120 * MIB, "anon": 90 * MIB},
    maximum=Bound(2048 * MIB, UNIT),
    rights=Rights(by_systemd=True, directly=True),
)
PROCESS = replace(
    HEALTHY,
    name="myapp[812]",
    unit="session-1.scope",
    properties=None,
    is_process=True,
    pids=(812,),
    metric=Metric.RSS,
    readings={"rss": 100 * MIB, "pss": 90 * MIB, SWAP: 0},
    rights=Rights(directly=True),
)

Change = Callable[[Subject], Subject]


def found(
    subject: Subject, options: str = "", machine: Machine = MACHINE, own: Configured | None = None
) -> list[Finding]:
    settings = parse(["-m", "400", *options.split(), "myapp"])
    if settings.target.metric is not None:
        subject = replace(subject, metric=settings.target.metric)
    if settings.target.hard_threshold is not None:
        subject = replace(subject, hard_bytes=settings.target.hard_threshold.threshold_bytes(2048 * MIB))
    return list(judge(Case(settings.target, settings.user, machine, subject, own)))


def findings(subject: Subject, options: str = "", machine: Machine = MACHINE) -> dict[Id, Level]:
    return {finding.id: finding.level for finding in found(subject, options, machine)}


def service(**changes: object) -> Change:
    """It with another service."""

    def change(subject: Subject) -> Subject:
        assert subject.properties is not None
        assert subject.properties.service is not None
        changed = replace(subject.properties.service, **changes)  # type: ignore[arg-type]  # by the table
        return replace(subject, properties=replace(subject.properties, service=changed))

    return change


def unit(**changes: object) -> Change:
    """It with other properties of its unit."""

    def change(subject: Subject) -> Subject:
        assert subject.properties is not None
        return replace(subject, properties=replace(subject.properties, **changes))  # type: ignore[arg-type]

    return change


def facts(**changes: object) -> Change:
    """It with other facts."""
    return lambda subject: replace(subject, **changes)  # type: ignore[arg-type]  # by the table


def hooks(option: str) -> Change:
    """One of its hooks isn't there."""
    return facts(hook_problems=(HookProblem(option, "hook.service", "there is none"),))


def restart(kind: str, **sets: ExitSet) -> Change:
    return service(restart=RestartRules(kind, **sets))  # type: ignore[arg-type]  # by the table


def reads(**readings: float) -> Change:
    """It with other readings, in MiB."""
    return lambda subject: replace(
        subject,
        readings={
            **subject.readings,
            **{key.replace("_", "-"): int(mib * MIB) for key, mib in readings.items()},
        },
    )


@pytest.mark.parametrize("options", ["", "--metric current", "--restart", "-s SIGUSR1 --for 10"])
def test_nothing_is_found_of_a_healthy_service(options: str) -> None:
    assert findings(HEALTHY, options) == {}


def grown(age_s: float, mib: int, *changes: Change) -> Change:
    """It in an invocation of this age, which uses so much; and with other changes."""

    def change(subject: Subject) -> Subject:
        for one in (*changes, facts(age_s=age_s), reads(unreclaimable=mib)):
            subject = one(subject)
        return subject

    return change


def shape(**changes: object) -> Change:
    """It made in another way."""
    return facts(shape=Shape(**changes))  # type: ignore[arg-type]  # by the table


def limited(state: MaximumState) -> Change:
    """It with a MemoryMax= of its own that no memory.max has."""

    def change(subject: Subject) -> Subject:
        without = facts(maximum=None, shape=Shape(maximum_state=state))(subject)
        return unit(memory_max_bytes=1024 * MIB)(without)

    return change


def MonitorOf(options: str = "-m 400", unit: str | None = None) -> OtherMonitor:  # noqa: N802 - makes one
    return OtherMonitor(99, unit, parse([*options.split(), "x"]).target)


def monitored(*monitors: OtherMonitor) -> Change:
    return facts(monitors=OtherMonitors(monitors))


def wraps(kill_mode: str) -> Change:
    """A shell that waits for a child."""
    return lambda subject: service(kill_mode=kill_mode)(shape(is_wrapper=True)(subject))


def stopped_by_podman(main_name: str | None) -> Change:
    """What Quadlet makes."""
    return lambda subject: replace(
        service(has_exec_stop=True, stops_container=True)(subject), main_name=main_name
    )


def triggered(kind: str) -> Change:
    """It is started by a socket."""
    return lambda subject: unit(triggered_by=("myapp.socket",))(restart(kind)(subject))


TERM, HUP = signal.SIGTERM, signal.SIGHUP
DEFAULT = facts(disposition=Disposition.DEFAULT)


def left_behind(subject: Subject) -> Subject:
    """Type=oneshot with RemainAfterExit=yes, whose program has left a process in the background."""
    rules = RestartRules("no", remain_after_exit=True)
    change = service(type="oneshot", main_pid=0, had_main=True, restart=rules)
    return facts(main_name=None, disposition=Disposition.UNKNOWN)(change(subject))


BROKEN: list[tuple[str, Change, str, Id, Level]] = [
    # the next start
    ("Restart=no", restart("no"), "", Id.NO_RESTART, Level.ERROR),
    ("Restart=on-failure", restart("on-failure"), "", Id.STAYS_DOWN, Level.ERROR),
    ("Restart=on-failure, SIGHUP", restart("on-failure"), "-s HUP", Id.STAYS_DOWN, Level.NOTE),
    ("Restart=on-abnormal", restart("on-abnormal"), "", Id.STAYS_DOWN, Level.ERROR),
    ("Restart=on-watchdog", restart("on-watchdog"), "-s KILL", Id.STAYS_DOWN, Level.ERROR),
    ("Restart=no, SIGUSR1", restart("no"), "-s USR1", Id.NO_RESTART, Level.NOTE),
    ("RestartPreventExitStatus=SIGTERM", restart("always", prevent=ExitSet((), (TERM,))), "",
     Id.RESTART_PREVENTED, Level.WARNING),
    ("RestartPreventExitStatus=0", restart("always", prevent=ExitSet((0,))), "",
     Id.RESTART_PREVENTED, Level.ERROR),
    ("RestartPreventExitStatus=143", restart("always", prevent=ExitSet((143,))), "",
     Id.RESTART_PREVENTED, Level.WARNING),
    ("RemainAfterExit=yes", service(restart=RestartRules("always", remain_after_exit=True)), "",
     Id.REMAINS_AFTER_EXIT, Level.ERROR),
    # the signal
    ("ignored", facts(disposition=Disposition.IGNORED), "", Id.SIGNAL_IGNORED, Level.ERROR),
    ("SIGKILL", facts(), "-s KILL", Id.NOT_GRACEFUL, Level.WARNING),
    ("may not", facts(rights=Rights(by_systemd=False, directly=False)), "", Id.NOT_PERMITTED, Level.ERROR),
    ("only directly", facts(rights=Rights(by_systemd=False, directly=True)), "",
     Id.NOT_PERMITTED, Level.ERROR),
    ("only by systemd", facts(rights=Rights(by_systemd=True, directly=False)), "",
     Id.NO_DIRECT_SIGNAL, Level.NOTE),
    ("can't be told", facts(rights=Rights(None, directly=True)), "", Id.RIGHTS_UNKNOWN, Level.NOTE),
    ("no main process", service(main_pid=0), "", Id.MAIN_UNKNOWN, Level.WARNING),
    ("its main process has ended", service(main_pid=0, had_main=True), "", Id.NOBODY_TO_SIGNAL, Level.ERROR),
    ("a oneshot that left processes", left_behind, "", Id.NOBODY_TO_SIGNAL, Level.ERROR),
    ("forking without PIDFile=", service(type="forking"), "", Id.MAIN_UNKNOWN, Level.NOTE),
    ("no main process for main", service(main_pid=0), "--kill-whom main", Id.NOBODY_TO_SIGNAL, Level.ERROR),
    ("no control process", facts(), "--kill-whom control", Id.NOBODY_TO_SIGNAL, Level.WARNING),
    ("KillMode=process", service(kill_mode="process"), "", Id.KILL_MODE, Level.WARNING),
    ("KillMode=none, one process", lambda subject: facts(pids=(812,))(service(kill_mode="none")(subject)), "",
     Id.KILL_MODE, Level.WARNING),
    ("KillMode=none", service(kill_mode="none"), "--restart", Id.KILL_MODE, Level.WARNING),
    ("StartLimit in an hour", service(start_limit_interval_s=3600.0), "", Id.START_LIMIT, Level.WARNING),
    ("StartLimit for ever", service(start_limit_interval_s=float("inf")), "", Id.START_LIMIT, Level.WARNING),
    ("StartLimit, and no budget", service(start_limit_interval_s=3600.0), "--budget infinity",
     Id.START_LIMIT, Level.WARNING),
    ("StartLimit at the growth seen", grown(3600, 100, service(start_limit_interval_s=86400.0)), "",
     Id.START_LIMIT, Level.WARNING),
    ("neither StartLimit nor budget", service(start_limit_burst=0), "--budget infinity",
     Id.NO_BOUND, Level.WARNING),
    ("two monitors", facts(monitors=OtherMonitors((OtherMonitor(99, "other.service"),))), "",
     Id.ALREADY_MONITORED, Level.WARNING),
    ("a monitor that does the same", monitored(MonitorOf()), "", Id.MONITORED, Level.NOTE),
    ("a monitor that does something else", monitored(MonitorOf("-m 50%")), "",
     Id.ALREADY_MONITORED, Level.WARNING),
    ("two that do the same", monitored(MonitorOf(), MonitorOf("-m 400", "memory-monitor@myapp.service")), "",
     Id.ALREADY_MONITORED, Level.WARNING),
    ("a monitor that can't be read", facts(monitors=OtherMonitors(unread=("python3[99]",))), "",
     Id.MONITORS_UNKNOWN, Level.NOTE),
    # memory
    ("MemoryMax= at the threshold", facts(maximum=Bound(400 * MIB, UNIT)), "",
     Id.MEMORY_MAX_BELOW, Level.ERROR),
    ("MemoryMax= of its slice below", facts(maximum=Bound(300 * MIB, "app.slice")), "",
     Id.MEMORY_MAX_BELOW, Level.ERROR),
    ("MemoryMax= 0.5 s away", facts(maximum=Bound(400 * MIB + MIB // 2, UNIT)), "",
     Id.MEMORY_MAX_CLOSE, Level.WARNING),
    ("MemoryMax= 3 s away at the growth seen", grown(60, 100, facts(maximum=Bound(405 * MIB, UNIT))), "",
     Id.MEMORY_MAX_CLOSE, Level.NOTE),
    ("MemoryMax= and no end of time", grown(60, 100, unit(timeout_stop_s=float("inf")),
     facts(maximum=Bound(500 * MIB, UNIT))), "", Id.MEMORY_MAX_CLOSE, Level.NOTE),
    ("--hard below", facts(), "--hard 10%", Id.HARD_NOT_ABOVE, Level.WARNING),
    ("--hard at MemoryMax=", facts(), "--hard 100%", Id.HARD_ABOVE_MAX, Level.WARNING),
    ("--min-age too long", grown(600, 100), "--min-age 1d", Id.MIN_AGE_LONG, Level.WARNING),
    ("no ExecReload=", unit(can_reload=False), "--reload", Id.NO_RELOAD, Level.ERROR),
    ("--then-restart too early", facts(), "--then-restart 1", Id.THEN_RESTART_EARLY, Level.NOTE),
    ("MemoryHigh=", facts(high=Bound(400 * MIB, UNIT)), "", Id.MEMORY_HIGH_BELOW, Level.WARNING),
    ("more than the machine", facts(threshold_bytes=8192 * MIB, maximum=None), "",
     Id.ABOVE_PHYSICAL, Level.ERROR),
    ("OOMPolicy=continue", service(oom_policy="continue"), "", Id.OOM_POLICY, Level.NOTE),
    ("OOMPolicy=stop, on-success", restart("on-success"), "-s USR1", Id.OOM_POLICY, Level.WARNING),
    ("page cache", reads(current=250), "--metric current", Id.PAGE_CACHE, Level.WARNING),
    ("active page cache", reads(working_set=250), "--metric working-set", Id.PAGE_CACHE, Level.WARNING),
    ("no memory controller", facts(metric=Metric.RSS, readings={"rss": MIB}), "",
     Id.NO_MEMORY_CONTROLLER, Level.WARNING),
    ("above now", reads(unreclaimable=401), "", Id.OVER_NOW, Level.ERROR),
    ("above with swap only", reads(swap=301), "--swap", Id.OVER_NOW, Level.ERROR),
    ("a share of the machine", facts(maximum=None), "-m 5%", Id.NO_MEMORY_MAX, Level.WARNING),
    ("--hard is a share of the machine", facts(maximum=None), "--hard 50%", Id.NO_MEMORY_MAX, Level.WARNING),
    ("--for is too long", facts(age_s=100.0), "--for 30min", Id.FOR_TOO_LONG, Level.WARNING),
    ("MemoryMax= isn't in force", limited(MaximumState.NOT_IN_FORCE), "-m 5%",
     Id.MEMORY_MAX_NOT_IN_FORCE, Level.WARNING),
    ("MemoryMax= of cgroup v1", limited(MaximumState.BY_V1), "-m 80%", Id.NO_MEMORY_MAX, Level.WARNING),
    ("files in a tmpfs", shape(shared_bytes=60 * MIB, mapped_bytes=9 * MIB), "",
     Id.SHARED_MEMORY, Level.WARNING),
    ("shared memory", shape(shared_bytes=60 * MIB, mapped_bytes=50 * MIB), "", Id.SHARED_MEMORY, Level.NOTE),
    # how it is made
    ("ExecStop=", service(has_exec_stop=True), "", Id.EXEC_STOP, Level.WARNING),
    ("ExecStop= of podman, main process another", service(has_exec_stop=True, stops_container=True), "",
     Id.EXEC_STOP, Level.WARNING),
    ("another signal", unit(stop_signal=signal.SIGQUIT), "-s TERM", Id.NOT_STOP_SIGNAL, Level.WARNING),
    ("another signal of its own", unit(stop_signal=signal.SIGTERM), "-s USR1",
     Id.NOT_STOP_SIGNAL, Level.NOTE),
    ("a shell, KillMode=mixed", wraps("mixed"), "", Id.WRAPPER, Level.WARNING),
    ("a shell, all, KillMode=mixed", wraps("mixed"), "--kill-whom all", Id.WRAPPER, Level.WARNING),
    ("a shell, KillMode=process", wraps("process"), "", Id.WRAPPER, Level.ERROR),
    ("a shell, KillMode=none", wraps("none"), "--restart", Id.WRAPPER, Level.ERROR),
    ("the first of a PID namespace", shape(dropped_by="app[812]"), "", Id.SIGNAL_DROPPED, Level.ERROR),
    ("frozen", shape(is_frozen=True), "", Id.FROZEN, Level.WARNING),
    ("started by a socket", triggered("no"), "", Id.TRIGGERED, Level.NOTE),
    ("started by a socket after a failure", triggered("on-failure"), "", Id.TRIGGERED, Level.NOTE),
    ("unreadable", facts(readings={}, trouble="I/O error"), "", Id.UNREADABLE, Level.ERROR),
    # containers
    ("a container elsewhere", facts(payload=Payload("docker", None)), "", Id.PAYLOAD_ELSEWHERE, Level.ERROR),
    ("conmon and SIGUSR1", facts(main_name="conmon"), "-s USR1", Id.SIGNAL_NOT_FORWARDED, Level.ERROR),
    # hooks
    ("no condition", hooks("--condition-unit"), "", Id.HOOK_UNFIT, Level.ERROR),
    ("no hook", hooks("--on-request"), "", Id.HOOK_UNFIT, Level.WARNING),
    # the unit
    ("masked", unit(load_state="masked"), "", Id.NOT_LOADED, Level.ERROR),
    ("stopped", facts(pids=(), readings={}), "", Id.NOT_RUNNING, Level.NOTE),
    ("an old file", unit(needs_reload=True), "", Id.NEEDS_RELOAD, Level.NOTE),
    ("a scope", unit(service=None), "", Id.NO_RESTART, Level.WARNING),
]  # fmt: skip


ALSO: dict[str, dict[Id, Level]] = {
    "Restart=on-watchdog": {Id.NOT_GRACEFUL: Level.WARNING, Id.OOM_POLICY: Level.WARNING},
    "OOMPolicy=stop, on-success": {Id.STAYS_DOWN: Level.NOTE},
}
"""What comes with it."""


@pytest.mark.parametrize("row", BROKEN, ids=[row[0] for row in BROKEN])
def test_each_thing_that_is_broken_is_found_and_nothing_else(row: tuple[str, Change, str, Id, Level]) -> None:
    name, change, options, wrong, level = row
    assert findings(change(HEALTHY), options) == {wrong: level} | ALSO.get(name, {})


def test_what_is_found_of_a_process() -> None:
    assert findings(PROCESS) == {Id.NO_RESTART: Level.NOTE}
    own = replace(PROCESS, unit=UNIT, properties=HEALTHY.properties, is_main=True)
    assert findings(own) == {Id.PART_OF_UNIT: Level.NOTE}
    assert findings(restart("on-failure")(own))[Id.STAYS_DOWN] is Level.ERROR
    worker = replace(own, is_main=False)
    assert findings(restart("no")(worker)) == {Id.PART_OF_UNIT: Level.NOTE}
    assert findings(replace(own, rights=Rights(directly=False)))[Id.NOT_PERMITTED] is Level.ERROR


SWAPPY = replace(MACHINE, swap_bytes=MIB)
MACHINES: list[tuple[Machine, Subject, Id, Level]] = [
    (replace(MACHINE, cgroups=CgroupKind.V1), HEALTHY, Id.CGROUP_V1, Level.WARNING),
    (replace(MACHINE, cgroups=CgroupKind.WITHOUT_MEMORY), HEALTHY, Id.NO_MEMORY_CONTROLLER, Level.WARNING),
    (replace(MACHINE, hidepid="hidepid=2"), HEALTHY, Id.HIDEPID, Level.NOTE),
    (replace(MACHINE, hidepid="hidepid=2"), PROCESS, Id.HIDEPID, Level.WARNING),
    (SWAPPY, HEALTHY, Id.SWAP_HIDES, Level.NOTE),
    (SWAPPY, reads(swap=1)(HEALTHY), Id.SWAP_HIDES, Level.WARNING),
    (SWAPPY, reads(swap=1)(PROCESS), Id.SWAP_HIDES, Level.WARNING),
]


@pytest.mark.parametrize(("machine", "subject", "wrong", "level"), MACHINES)
def test_what_is_wrong_with_the_machine_is_found(
    machine: Machine, subject: Subject, wrong: Id, level: Level
) -> None:
    assert findings(subject, machine=machine).get(wrong) is level


@pytest.mark.parametrize(("options", "swap_max_bytes"), [("--swap", None), ("", 0)])
def test_swap_that_is_counted_or_forbidden_hides_nothing(options: str, swap_max_bytes: int | None) -> None:
    subject = replace(HEALTHY, swap_max_bytes=swap_max_bytes)
    assert findings(subject, options, replace(MACHINE, swap_bytes=MIB)) == {}


@pytest.mark.parametrize(
    ("change", "options"),
    [
        # What is broken for a signal isn't for a restart by systemd, and the other way round.
        (restart("no"), "--restart"),
        (facts(disposition=Disposition.IGNORED), "--restart"),
        # SuccessExitStatus= and RestartForceExitStatus= count.
        (restart("on-failure", force=ExitSet((0, 143), (TERM,))), ""),
        # Dies of it, and it is no clean end.
        (lambda subject: DEFAULT(restart("on-failure")(subject)), "-s USR1"),
        # The page cache is no part of this metric.
        (reads(current=399, working_set=399), ""),
        # At the growth seen it doesn't get there within TimeoutStopSec=, or is started rarely.
        (grown(60, 100, facts(maximum=Bound(410 * MIB, UNIT))), ""),
        (grown(86400, 100, service(start_limit_interval_s=86400.0)), ""),
        # What is assumed of its growth makes no finding of what is left.
        (facts(maximum=Bound(410 * MIB, UNIT), age_s=30.0), ""),
        (grown(600, 100), "--min-age 1d --hard 450"),
        # The budget is used up before the limit of starts is.
        (service(start_limit_burst=12, start_limit_interval_s=3600.0), ""),
        (service(start_limit_interval_s=3600.0), "--budget 4/1h"),
        (service(start_limit_interval_s=3600.0), "--reload"),
        # No limit of starts.
        (service(start_limit_interval_s=0.0), ""),
        (service(start_limit_interval_s=3600.0, start_limit_burst=0), ""),
        (service(type="forking", pid_file="/run/myapp.pid"), ""),
        # systemd stops the others, and waits for them; or they are signalled, too.
        (wraps("control-group"), ""),
        (wraps("process"), "--kill-whom all"),
        # ExecStop= is what a restart is for, and takes its own signal.
        (service(has_exec_stop=True), "--restart"),
        # What conmon forwards stops the container as podman would.
        (stopped_by_podman("conmon"), ""),
        (stopped_by_podman("podman"), "-s INT"),
        (stopped_by_podman(None), ""),
        (unit(stop_signal=signal.SIGQUIT), "-s QUIT"),
        (unit(stop_signal=signal.SIGQUIT), "-s auto"),
        (shape(dropped_by="app[812]"), "--restart"),
        # It has gone less than half of the way, or --hard doesn't wait.
        (facts(age_s=100.0), "--for 27min"),
        (facts(age_s=100.0), "--for 30min --hard 1G"),
        (facts(age_s=59.0), "--for 30min"),
        (shape(shared_bytes=50 * MIB), ""),
        # Sizes are what they are, wherever the limit is.
        (facts(maximum=None), "--hard 600"),
    ],
)
def test_what_is_in_order_is_no_finding(change: Change, options: str) -> None:
    assert findings(change(HEALTHY), options) == {}


def test_a_success_status_that_its_end_has_leaves_it_down() -> None:
    java = restart("on-failure", success=ExitSet((143,)), force=ExitSet((0,), (TERM,)))
    assert findings(java(HEALTHY)) == {Id.STAYS_DOWN: Level.NOTE}
    without = restart("on-failure", force=ExitSet((0,), (TERM,)))
    assert findings(without(HEALTHY)) == {}


def test_a_process_of_a_users_service_manager_isnt_one_of_the_systems_unit() -> None:
    """The report doesn't advise to name, and so to restart, the unit that a user's whole session is in."""
    (finding,) = found(replace(PROCESS, unit="user@1000.service"))
    assert finding.id is Id.PART_OF_UNIT
    assert finding.remedy.advice == "if it is a service, name that, with --user, as that user"


def test_where_nobody_is_signalled_nothing_is_said_of_what_the_signal_does() -> None:
    over = reads(unreclaimable=401)(left_behind(HEALTHY))
    (nobody, above) = found(over)
    assert nobody.consequence == NO_MAIN_PROCESS
    assert nobody.remedy.option == "--kill-whom all"
    assert above.consequence == "it is above the threshold now, but nobody would be signalled"
    # A forking service has a file to name, and all of its processes can be asked for.
    (forked,) = found(service(type="forking", main_pid=0, had_main=True)(HEALTHY))
    assert forked.remedy.lines == ("[Service]", "PIDFile=/run/myapp.pid")
    assert Id.NOBODY_TO_SIGNAL not in findings(over, "--kill-whom all")


def test_a_stopped_service_whose_main_process_has_ended_will_have_one() -> None:
    stopped = facts(pids=(), readings={})(service(main_pid=0, had_main=True)(HEALTHY))
    assert findings(stopped) == {Id.NOT_RUNNING: Level.NOTE}
    assert Case(parse(["-m", "4", "x"]).target, False, MACHINE, stopped).whom is KillWhom.MAIN


def test_without_systemds_permission_nothing_is_signalled_whatever_the_kernel_allows() -> None:
    (finding,) = found(facts(rights=Rights(by_systemd=False, directly=True))(HEALTHY))
    assert finding.consequence == "systemd doesn't permit this user to send it SIGTERM"
    assert finding.remedy.advice == POLKIT_HINT


@pytest.mark.parametrize("options", ["", "--user"])
def test_every_command_is_one_for_a_shell_and_for_the_service_manager_of_the_unit(options: str) -> None:
    odd = r"my\x2dapp@a.service"
    stopped = unit(active_state="inactive")(facts(pids=(), readings={})(HEALTHY))
    transient = unit(transient=True)(restart("no")(HEALTHY))
    monitored = facts(monitors=OtherMonitors((OtherMonitor(99, odd),)))(HEALTHY)
    masked, unloadable = (unit(load_state=state)(HEALTHY) for state in ("masked", "bad-setting"))
    for subject in (masked, unloadable, restart("no")(HEALTHY), stopped, transient, monitored):
        (finding,) = found(facts(name=odd, unit=odd)(subject), options)
        assert finding.remedy.command is not None
        words = shlex.split(finding.remedy.command)
        assert ("--user" in words) == bool(options)
        assert {odd, r"my\x2dapp@.service", f"--unit={odd}"} & set(words)
    (finding,) = found(unit(needs_reload=True)(HEALTHY), options)
    assert finding.remedy.command == " ".join(("systemctl", *options.split(), "daemon-reload"))


OWN = Configured("memory-monitor@myapp.service", ("-m", "400"), ("/etc/memory-monitor/myapp.conf",))
STOPPED = replace(OWN, active_state="failed")
PROBLEM = FileProblem(OWN.files[0], Problem(3, "there is no setting MAXMEMORY=", "MAX_MEMORY=80%"))
BY_ITSELF = MonitorOf("-m 400", OWN.unit)
BEFORE = MonitorOf("-m 300", OWN.unit)
SECTION = Configured("memory-monitor.service", ("Threshold=400M",), ("/etc/systemd/system/a.conf",))
IGNORED = Mistake("/etc/systemd/system/a.conf:3: 'Treshold' is no key: did you mean Threshold=?", False)
REFUSED = Mistake("/etc/systemd/system/a.conf:4: Metric=: 'all' is not one of anon", True)
BY_SECTION = MonitorOf("-m 400", SECTION.unit)
CONFIGURED: list[tuple[Configured, Change, Id, Level]] = [
    (SECTION, monitored(BY_SECTION), Id.MONITORED, Level.NOTE),
    (SECTION, monitored(MonitorOf("-m 400 -i 1", SECTION.unit)), Id.SETTINGS_NOT_IN_FORCE, Level.WARNING),
    (replace(SECTION, active_state="failed"), facts(), Id.NOT_MONITORED, Level.WARNING),
    (replace(SECTION, active_state=ABSENT), facts(), Id.NOT_MONITORED, Level.WARNING),
    (replace(SECTION, mistakes=(IGNORED,)), facts(), Id.SETTING_IGNORED, Level.WARNING),
    (replace(SECTION, mistakes=(REFUSED,), is_valid=False), restart("no"), Id.SETTING_WRONG, Level.ERROR),
    (replace(SECTION, rival=Rival(OWN.unit, False, True)), facts(), Id.TWO_CONFIGURATIONS, Level.NOTE),
    (replace(OWN, rival=Rival("the section", False, False)), facts(), Id.TWO_CONFIGURATIONS, Level.WARNING),
    (
        replace(STOPPED, rival=Rival("the section", True, False)),
        monitored(MonitorOf("-m 300", SECTION.unit)),
        Id.TWO_CONFIGURATIONS,
        Level.WARNING,
    ),
    (OWN, monitored(BY_ITSELF), Id.MONITORED, Level.NOTE),
    (OWN, monitored(BEFORE), Id.SETTINGS_NOT_IN_FORCE, Level.WARNING),
    (STOPPED, facts(), Id.NOT_MONITORED, Level.WARNING),
    (replace(OWN, problems=(PROBLEM,)), facts(), Id.SETTING_IGNORED, Level.WARNING),
]


@pytest.mark.parametrize(("own", "change", "wrong", "level"), CONFIGURED)
def test_what_is_wrong_with_a_configured_monitor_is_found_and_nothing_else(
    own: Configured, change: Change, wrong: Id, level: Level
) -> None:
    assert {one.id: one.level for one in found(change(HEALTHY), own=own)} == {wrong: level}


def test_a_section_that_systemd_has_not_read_again_may_not_be_in_force() -> None:
    changed = unit(needs_reload=True)(monitored(BY_SECTION)(HEALTHY))
    ids = {one.id: one.remedy.command for one in found(changed, own=SECTION)}
    assert ids == dict.fromkeys((Id.SETTINGS_NOT_IN_FORCE, Id.NEEDS_RELOAD), "systemctl daemon-reload")


def test_settings_for_a_unit_with_a_section_go_into_that() -> None:
    other = monitored(MonitorOf("-m 300 --for 5 --swap", SECTION.unit))(HEALTHY)
    (finding,) = found(other, "-m 400 -s INT")
    assert finding.id is Id.ALREADY_MONITORED
    assert finding.remedy.command == "systemctl edit myapp.service"
    lines = ("Threshold=400M", "Signal=SIGINT", "Swap=no", "For=0")
    assert finding.remedy.lines == ("[X-MemoryMonitor]", *lines)
    # A drop-in behind the one that systemctl edit makes would be stronger.
    files = ("/etc/systemd/system/myapp.service", "/etc/systemd/system/myapp.service.d/own.conf")
    for place, edits in ((files[:1], True), (files, False)):
        known = replace(MonitorOf("-m 300", SECTION.unit), section_files=place)
        (finding,) = found(monitored(known)(HEALTHY), "-m 400")
        assert bool(finding.remedy.lines) is edits
    assert finding.remedy.command == "systemctl daemon-reload"
    assert (
        finding.remedy.advice
        == f"after these lines have been written to the section in {files[1]}: Threshold=400M"
    )


def test_no_remedy_stops_the_monitor_that_the_service_has() -> None:
    (other,) = found(monitored(BEFORE)(HEALTHY))
    assert other.remedy.command == "systemctl restart memory-monitor@myapp.service"
    assert other.remedy.advice is not None
    assert "/etc/memory-monitor/myapp.conf" in other.remedy.advice
    (two,) = found(monitored(BY_ITSELF, MonitorOf("-m 300"))(HEALTHY), own=OWN)
    assert two.remedy.command == "kill 99"
    (alike,) = found(monitored(BY_ITSELF)(HEALTHY))
    assert alike.remedy.command is None


def test_a_line_that_is_ignored_is_named_with_what_was_meant() -> None:
    (ignored,) = found(HEALTHY, own=replace(OWN, problems=(PROBLEM,)))
    assert ignored.consequence == "/etc/memory-monitor/myapp.conf:3: there is no setting MAXMEMORY="
    assert ignored.remedy.advice == "use MAX_MEMORY=80%"


def test_what_needs_more_at_its_start_than_the_threshold_gets_one_that_is_enough() -> None:
    young = facts(age_s=70.0, shape=Shape(peak_bytes=410 * MIB))(reads(unreclaimable=401)(HEALTHY))
    (finding,) = found(young)
    assert finding.consequence == (
        "it is above the threshold now, 1 min 10 s after its start: it needs 410 MiB at the start,"
        " by memory.peak"
    )
    assert finding.remedy.option == "-m 615M"
    (finding,) = found(facts(maximum=Bound(600 * MIB, UNIT))(unit(timeout_stop_s=1.0)(young)))
    assert finding.remedy.advice == "raise MemoryMax= of myapp.service above 615 MiB, then use -m 615M"
    (finding,) = found(facts(age_s=601.0)(young))
    assert finding.remedy.command == "systemctl restart myapp.service"


def test_a_shorter_for_is_advised_that_is_no_finding() -> None:
    """1,648 MiB from the threshold to MemoryMax= at 1 MiB/s, then 4 MiB at 4 MiB/s."""
    (finding,) = found(facts(age_s=100.0)(HEALTHY), "--for 1648")
    assert finding.remedy.option == "--for 824"
    fast = facts(age_s=100.0, maximum=Bound(404 * MIB, UNIT))(reads(unreclaimable=400)(HEALTHY))
    (finding,) = [finding for finding in found(fast, "--for 2") if finding.id is Id.FOR_TOO_LONG]
    assert finding.remedy.option == "--for 0"


def test_the_size_of_a_share_is_advised_where_cgroup_v1_keeps_the_limit() -> None:
    (finding,) = found(limited(MaximumState.BY_V1)(HEALTHY), "-m 80%")
    assert finding.remedy.option == "-m 819M"
    (finding,) = found(limited(MaximumState.BY_V1)(HEALTHY), "-m 400 --hard 80%")
    assert finding.remedy.option == "--hard 819M"
    assert "80% is a share of the machine's 8 GiB" in finding.consequence


def levels_seen() -> dict[Id, set[Level]]:
    """Every id with the levels that it has in these tests."""
    seen: dict[Id, set[Level]] = {Id.PART_OF_UNIT: {Level.NOTE}}
    pairs = [row[3:] for row in BROKEN] + [row[2:] for row in MACHINES]
    pairs += [row[2:] for row in CONFIGURED]
    for wrong, level in pairs:
        seen.setdefault(wrong, set()).add(level)
    return seen


def test_every_id_is_found_by_one_of_these_tests() -> None:
    assert set(levels_seen()) == set(Id)


def test_the_worst_comes_first() -> None:
    broken = restart("on-failure")(unit(needs_reload=True)(HEALTHY))
    levels = list(findings(facts(high=Bound(MIB, UNIT))(broken)).values())
    assert levels == [Level.ERROR, Level.WARNING, Level.NOTE]


def test_a_oneshot_is_not_advised_what_systemd_refuses_of_it() -> None:
    oneshot = service(type="oneshot", restart=RestartRules("no", is_oneshot=True))
    (finding,) = found(oneshot(HEALTHY))
    assert (finding.remedy.lines, finding.remedy.option) == ((), "--restart")
    aborted = service(type="oneshot", restart=RestartRules("on-abort", is_oneshot=True))
    ways = {one.id: one.remedy for one in found(aborted(HEALTHY))}
    assert ways[Id.OOM_POLICY].lines == ("[Service]", "Restart=on-failure")
