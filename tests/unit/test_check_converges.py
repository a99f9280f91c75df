"""What `--check` advises, applied as printed, ends at "nothing found" of that kind, and systemd takes it."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from memmon_systemd.arguments import parse
from memmon_systemd.check.command import judge
from memmon_systemd.check.facts import SWAP, Bound, Case, Machine, Subject
from memmon_systemd.check.findings import Finding, Id
from memmon_systemd.check.unit_properties import ServiceProperties, UnitProperties
from memmon_systemd.errors import UsageError
from memmon_systemd.monitor.schedule import schedule_of
from memmon_systemd.settings import Metric
from memmon_systemd.systemd.restart_rules import Disposition, ExitSet, RestartRules

MIB = 1 << 20
UNIT = "myapp.service"
ENDLESS = float("inf")
PHYSICAL_BYTES = 65536 * MIB
NOT_APPLIED = {Id.NOT_RUNNING, Id.NEEDS_RELOAD, Id.NOT_LOADED, Id.HIDEPID, Id.ALREADY_MONITORED}
"""Those whose commands change other things than the settings of the unit and of the monitor."""
TYPES = ("simple", "exec", "forking", "oneshot", "dbus", "notify", "notify-reload", "idle")


@dataclass(frozen=True)
class World:
    """A service, the options of the check, and what its main process does with signals."""

    options: tuple[str, ...]
    subject: Subject
    dispositions: Mapping[int, Disposition]

    def case(self) -> Case:
        """As the readers make it."""
        settings = parse([*self.options, "myapp"])
        asked, bound = settings.target, self.subject.maximum
        limit_bytes = min(bound.size_bytes, PHYSICAL_BYTES) if bound else PHYSICAL_BYTES
        schedule = schedule_of(asked, limit_bytes)
        subject = replace(
            self.subject,
            threshold_bytes=schedule.threshold_bytes,
            hard_bytes=schedule.hard_bytes,
            metric=asked.metric or Metric.UNRECLAIMABLE,
            obeys=tuple(n for n, does in self.dispositions.items() if does is not Disposition.IGNORED),
        )
        case = Case(asked, False, Machine(physical_bytes=PHYSICAL_BYTES, swap_bytes=MIB), subject)
        number = case.signal_number
        return replace(
            case, subject=replace(subject, disposition=self.dispositions.get(number, Disposition.DEFAULT))
        )


def applied(world: World, finding: Finding) -> World:
    """After somebody has done what the finding says, to the letter."""
    remedy = finding.remedy
    if remedy.command is not None and remedy.command.startswith("systemctl restart "):
        # A new invocation, which uses nothing yet.
        fresh = dict.fromkeys(world.subject.readings, 0)
        world = replace(world, subject=replace(world.subject, age_s=1.0, readings=fresh))
    elif remedy.command is not None:
        assert remedy.command.startswith("systemctl edit "), remedy
        edited = remedy.command.rpartition(" ")[2]
        world = replace(world, subject=after_edit(world.subject, edited, remedy.lines))
    if remedy.option is not None:
        options = [word for word in world.options if word != "--reload"]
        if remedy.advice == "and leave --then-restart out":
            place = options.index("--then-restart")
            del options[place : place + 2]
        world = replace(world, options=(*options, *remedy.option.split()))
    return world


def after_edit(subject: Subject, edited: str, lines: tuple[str, ...]) -> Subject:
    properties = subject.properties
    assert properties is not None
    service = properties.service
    assert service is not None
    section, *assignments = lines
    for line in assignments:
        key, _, value = line.partition("=")
        assert section == {"StartLimitIntervalSec": "[Unit]"}.get(
            key, f"[{edited.rpartition('.')[2].capitalize()}]"
        )
        if key == "MemoryMax":
            assert subject.maximum is not None
            assert subject.maximum.unit == edited
            subject = replace(subject, maximum=Bound(int(value.removesuffix("M")) * MIB, edited))
            continue
        assert edited == UNIT
        restart = service.restart
        if key == "Restart":
            restart = replace(restart, restart=value)
        elif key == "RemainAfterExit":
            assert value == "no"
            restart = replace(restart, remain_after_exit=False)
        elif key == "RestartPreventExitStatus":
            assert not value
            restart = replace(restart, prevent=ExitSet())
        else:
            attribute, parsed = {
                "StartLimitIntervalSec": ("start_limit_interval_s", 0.0),
                "KillMode": ("kill_mode", value),
                "OOMPolicy": ("oom_policy", value),
                "PIDFile": ("pid_file", value),
            }[key]
            if attribute == "pid_file":  # The file names the process.
                service = replace(service, main_pid=service.main_pid or 812, had_main=True)
            service = replace(service, **{attribute: parsed})  # type: ignore[arg-type]  # by the table
        service = replace(service, restart=restart)
        assert is_accepted(service), lines
    return replace(subject, properties=replace(properties, service=service))


def is_accepted(service: ServiceProperties) -> bool:
    """Whether systemd loads such a unit: the rule of service_verify() in its source, for what is advised."""
    return service.type != "oneshot" or service.restart.restart not in ("always", "on-success")


def share_or_size(least: float = 1.0) -> st.SearchStrategy[str]:
    return st.one_of(
        st.integers(int(least), 100).map("{}%".format),
        st.sampled_from(("99.9%", "99.99%", "33.3%")),
        st.integers(1, 70000).map("{}M".format),
    )


SECONDS = st.one_of(st.integers(0, 100000), st.sampled_from((0, 1, 5, 90, 3600)))
SIZES = st.one_of(st.integers(MIB, 200 * MIB), st.integers(0, 70000 * MIB))
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
EXITS = st.sampled_from((ExitSet(), ExitSet((0,)), ExitSet((143,)), ExitSet((), (15,))))


@st.composite
def options(draw: st.DrawFn) -> tuple[str, ...]:
    words = ["-m", draw(share_or_size())]
    for option, value in (
        ("--hard", share_or_size()),
        ("--for", SECONDS.map("{}s".format)),
        ("--min-age", SECONDS.map("{}s".format)),
        ("--then-restart", st.integers(1, 10000).map("{}s".format)),
        ("--budget", st.sampled_from(("infinity", "1/1h", "10/1h", "3/10min", "100/1d"))),
        ("-s", st.sampled_from(("auto", "TERM", "INT", "USR1", "KILL", "HUP"))),
        ("--kill-whom", st.sampled_from(("main", "control", "all"))),
        ("--metric", st.sampled_from(("unreclaimable", "current", "working-set", "anon"))),
        ("", st.sampled_from(("--swap", "--reload", "--restart"))),
    ):
        if draw(st.integers(0, 3)) == 0:
            words += [option, draw(value)] if option else [draw(value)]
    return tuple(words)


@st.composite
def services(draw: st.DrawFn) -> ServiceProperties:
    kind = draw(st.sampled_from(TYPES))
    restarts = ["no", "on-failure", "on-abnormal", "on-abort", "on-watchdog"]
    if kind != "oneshot":
        restarts += ["always", "on-success"]
    rules = RestartRules(
        draw(st.sampled_from(restarts)),
        success=draw(EXITS),
        prevent=draw(EXITS),
        remain_after_exit=draw(st.booleans()),
        is_oneshot=kind == "oneshot",
    )
    main_pid = draw(st.sampled_from((0, 812, 812)))
    return ServiceProperties(
        type=kind,
        pid_file=draw(st.sampled_from((None, "/run/myapp.pid"))),
        main_pid=main_pid,
        had_main=bool(main_pid) or draw(st.booleans()),
        kill_mode=draw(st.sampled_from(("control-group", "mixed", "process", "none"))),
        oom_policy=draw(st.sampled_from(("stop", "continue", "kill"))),
        restart=rules,
        restart_s=draw(st.sampled_from((0.0, 0.1, 2.0, 60.0))),
        start_limit_interval_s=draw(st.sampled_from((0.0, 10.0, 3600.0, 86400.0, ENDLESS))),
        start_limit_burst=draw(st.sampled_from((0, 1, 3, 5, 100))),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    own, above = draw(SIZES), draw(st.sampled_from((UNIT, "app.slice")))
    readings = {metric: draw(SIZES) for metric in ("unreclaimable", "current", "working-set", "anon", SWAP)}
    properties = UnitProperties(
        timeout_stop_s=draw(st.one_of(SECONDS.map(float), st.just(ENDLESS))),
        can_reload=draw(st.booleans()),
        stop_signal=draw(st.sampled_from(SIGNALS)),
        service=draw(services()),
    )
    subject = Subject(
        name=UNIT,
        unit=UNIT,
        threshold_bytes=0,
        metric=Metric.UNRECLAIMABLE,
        properties=properties,
        pids=(812, 813),
        age_s=draw(st.one_of(st.none(), st.floats(0.1, 1e7))),
        readings=readings,
        maximum=None if own > PHYSICAL_BYTES else Bound(own, above),
        high=draw(st.one_of(st.none(), SIZES.map(lambda size_bytes: Bound(size_bytes, UNIT)))),
    )
    does = st.sampled_from((Disposition.DEFAULT, Disposition.HANDLED, Disposition.IGNORED))
    return World(draw(options()), subject, {int(number): draw(does) for number in SIGNALS})


@given(worlds())
def test_each_remedy_applied_as_printed_leaves_no_finding_of_its_kind(world: World) -> None:
    try:
        case = world.case()
    except UsageError:
        return  # --hard isn't above -m, which is refused.
    for finding in judge(case):
        event(str(finding.id))
        if finding.id in NOT_APPLIED or (finding.remedy.command, finding.remedy.option) == (None, None):
            continue
        after = judge(applied(world, finding).case())
        assert finding.id not in {one.id for one in after}, finding


OF_RESTART = {Id.NO_RESTART, Id.STAYS_DOWN, Id.RESTART_PREVENTED, Id.REMAINS_AFTER_EXIT}


@pytest.mark.parametrize("kind", TYPES)
def test_for_no_type_of_service_a_way_to_be_restarted_is_advised_that_systemd_refuses(kind: str) -> None:
    """Each Restart= that the type can have, with all that overrides it: a property test meets few of them."""
    seen: set[Id] = set()
    for value, remains, prevent, does in product(
        ("no", "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog"),
        (False, True),
        (ExitSet(), ExitSet((0,)), ExitSet((), (15,))),
        (Disposition.DEFAULT, Disposition.HANDLED, Disposition.UNKNOWN),
    ):
        rules = RestartRules(value, prevent=prevent, remain_after_exit=remains, is_oneshot=kind == "oneshot")
        service = ServiceProperties(type=kind, main_pid=812, had_main=True, restart=rules)
        if not is_accepted(service):
            continue
        properties = UnitProperties(stop_signal=signal.SIGTERM, service=service)
        subject = Subject(UNIT, 0, Metric.UNRECLAIMABLE, UNIT, properties, pids=(812,))
        world = World(("-m", "400"), subject, {signal.SIGTERM: does})
        found = [finding for finding in judge(world.case()) if finding.id in OF_RESTART]
        for _ in range(len(OF_RESTART)):
            if not found:
                break
            seen.add(found[0].id)
            world = applied(world, found[0])
            found = [finding for finding in judge(world.case()) if finding.id in OF_RESTART]
        assert not found, (rules, does)
    assert seen == OF_RESTART


@given(worlds())
def test_a_limit_of_starts_is_only_removed_where_a_budget_bounds_them(world: World) -> None:
    try:
        case = world.case()
    except UsageError:
        return
    for finding in judge(case):
        if any(line.startswith("StartLimit") for line in finding.remedy.lines):
            after = applied(world, finding).case()
            assert (finding.remedy.option or "").startswith("--budget ")
            assert after.budget.count is not None
