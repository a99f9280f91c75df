import errno
import shlex
import sys
from collections.abc import Callable

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.errors import StartError, UsageError
from memmon_systemd.machine import Machine
from memmon_systemd.monitor.source import Source
from memmon_systemd.names import Meaning, check_options
from memmon_systemd.processes.source import PrefixSource
from memmon_systemd.settings import NameKind
from memmon_systemd.sources import Sources
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.units.owner import OwnerSource
from memmon_systemd.units.watch import UnitWatch
from tests.process.leaker import Leaker
from tests.unit.trees import StandInMachine, Tree, linux_only

pytestmark = linux_only
NOT_RUNNING = "it isn't running"
NO_SUCH = "there is no such unit yet"


class Resolved:
    """What the names of a command line stand for, with a stand-in for the service manager."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.machine = StandInMachine(tree)

    def sources(self) -> list[Source]:
        return Sources(self.tree.settings, self.machine, self.tree.context).open()

    def lines(self) -> list[str]:
        """What is said once the names were looked for."""
        self.tree.monitor_of(self.sources()).look_around()
        return self.tree.log.lines


@pytest.fixture
def resolve(start: Callable[..., Tree]) -> Callable[[str], Resolved]:
    def begin(arguments: str) -> Resolved:
        return Resolved(start(f"-m 100 {arguments}", names=()))

    return begin


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("app.service", f"app.service: waiting: {NOT_RUNNING}"),
        ("new.service", f"new.service: waiting: {NO_SUCH}"),
        ("hidden.service", "hidden.service: waiting: it is masked"),
        ("broken.service", "broken.service: waiting: it can't be loaded (bad-setting)"),
        ("app.scope", f"app.scope: waiting: {NOT_RUNNING}"),
        ("my.slice", f"my.slice: waiting: {NOT_RUNNING}"),
        (r"x\x2dy@3.service", rf"x\x2dy@3.service: waiting: {NOT_RUNNING}"),
        ("--user app", f"app.service: waiting: {NOT_RUNNING}"),
        ("--user zzz-no-unit", "zzz-no-unit: waiting: there is no process of that name"),
        ("--as unit app", f"app.service: waiting: {NOT_RUNNING}"),
        ("--as unit zzz-no-unit", f"zzz-no-unit.service: waiting: {NO_SUCH}"),
        ("--as process zzz.service", "zzz.service: waiting: there is no process of that name"),
        ("--as owner zzz-no-unit", "zzz-no-unit: waiting: there is no process of that name"),
    ],
)
def test_a_name_stands_for_a_unit_or_for_processes(
    resolve: Callable[[str], Resolved], arguments: str, line: str
) -> None:
    resolved = resolve(arguments)
    resolved.tree.manager.load_states = {
        **dict.fromkeys(("new.service", "zzz-no-unit.service"), "not-found"),
        "hidden.service": "masked",
        "broken.service": "bad-setting",
    }
    assert resolved.lines() == [line]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--user zzap", "zzap: waiting: there is no process of that name"
         "; no unit zzap.service; did you mean zzapp.service?"),
        ("--user zzap-nothing-like-it", "zzap-nothing-like-it: waiting: there is no process of that name"),
        ("--as process zzap", "zzap: waiting: there is no process of that name"),
        ("zzap.service", f"zzap.service: waiting: {NO_SUCH}; did you mean zzapp.service?"),
        ("zzap.slice", f"zzap.slice: waiting: {NO_SUCH}"),
        ("--as unit zzap", f"zzap.service: waiting: {NO_SUCH}; did you mean zzapp.service?"),
    ],
)  # fmt: skip
def test_the_unit_that_may_have_been_meant_is_named(
    resolve: Callable[[str], Resolved], arguments: str, line: str
) -> None:
    resolved = resolve(arguments)
    resolved.tree.manager.units = ("zzapp.service", "zzapp@.service", "zzapq@.service", "other.service")
    resolved.tree.manager.load_states = dict.fromkeys(("zzap.service", "zzap.slice"), "not-found")
    resolved.tree.manager.load_states["zzap-nothing-like-it.service"] = "not-found"
    assert resolved.lines() == [line]
    assert "difflib" not in sys.modules


def test_processes_that_a_prefix_matches_are_named_with_the_unit_that_may_have_been_meant(
    resolve: Callable[[str], Resolved], start_leaker: Callable[..., Leaker]
) -> None:
    for name in ("zzapp", "zzapp-billing"):
        start_leaker(name)
    resolved = resolve("--user zzap")
    resolved.tree.manager.units = ("zzapp.service",)
    resolved.tree.manager.load_states = {"zzap.service": "not-found"}
    warning, *began = resolved.lines()
    assert warning == (
        "warning: zzap: processes zzapp, zzapp-billing; no unit zzap.service; did you mean zzapp.service?"
    )
    assert len(began) == 1


@pytest.mark.parametrize("pattern", ["worker@*", "worker@*.service", "worker@[12].service"])
def test_a_glob_stands_for_every_unit_that_matches(resolve: Callable[[str], Resolved], pattern: str) -> None:
    resolved = resolve(pattern)
    for name in ("worker@1.service", "worker@1.socket", "worker.service"):
        resolved.tree.make(name, 10)
    (line,) = resolved.lines()
    assert line.startswith("worker@1.service: ok")


def test_processes_alone_need_no_service_manager(resolve: Callable[[str], Resolved]) -> None:
    resolved = resolve("--as process zzz-1 zzz-2 zzz-1")
    assert [type(source) for source in resolved.sources()] == [PrefixSource, PrefixSource]
    assert resolved.machine.connections == 0


def test_a_process_that_two_names_begin_like_is_one_target(resolve: Callable[[str], Resolved]) -> None:
    resolved = resolve("--as process zzz-1 zzz zzz-2")
    assert resolved.lines() == ["zzz: waiting: there is no process of that name"]


def test_units_are_looked_for_after_the_processes_that_may_own_them(
    resolve: Callable[[str], Resolved],
) -> None:
    resolved = resolve("--as owner zzz-1 zzz-2")
    assert [type(source) for source in resolved.sources()] == [OwnerSource, OwnerSource, UnitWatch]
    assert resolved.machine.connections == 1


def test_where_systemd_cant_be_asked_a_bare_name_is_a_process_and_a_warning_says_so(
    resolve: Callable[[str], Resolved],
) -> None:
    resolved = resolve("--user zzz-app")
    resolved.tree.manager.failure = BusError(110, "no answer within 1 s")
    warning, waiting = resolved.lines()
    assert "'zzz-app' is taken as a process-name prefix" in warning
    assert "(no answer within 1 s); --as unit or --as process decides" in warning
    assert waiting == "zzz-app: waiting: there is no process of that name"


def refusal(resolved: Resolved) -> str:
    with pytest.raises(UsageError) as caught:
        resolved.sources()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("app.timer", "'app.timer' has no processes: name a .service"),
        ("a+b.service", "'a+b.service' is not a valid unit name: use letters"),
        ("-.slice", "'-.slice' can't be monitored from here: memory-monitor, an ancestor of it"),
    ],
)
def test_a_name_that_can_be_no_target_is_refused(
    resolve: Callable[[str], Resolved], name: str, words: str
) -> None:
    assert words in refusal(resolve(f"-- {name}"))


def test_what_systemd_says_of_a_name_is_passed_on(resolve: Callable[[str], Resolved]) -> None:
    resolved = resolve("app@.service")
    why = "Unit name app@.service is missing the instance name."
    resolved.tree.manager.failure = BusError(22, why, was_called=True)
    words = refusal(resolved)
    assert "missing the instance name" in words
    assert "name a unit as systemctl does" in words


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (NameKind.PROCESS, "--restart", "--restart: 'x' is a process"),
        (NameKind.PROCESS, "--kill-whom all", "--kill-whom: 'x' is a process"),
        (NameKind.PROCESS, "--until-stopped", "--until-stopped: 'x' is a process"),
        (NameKind.PROCESS, "--metric anon", "--metric anon: 'x' is a process: use rss or pss"),
        (NameKind.UNIT, "--metric rss", "--metric rss: 'x' means units: use unreclaimable"),
        (NameKind.OWNER, "--metric pss", "--metric pss: 'x' means units: use unreclaimable"),
        (NameKind.OWNER, "--until-stopped", "--until-stopped: the units that own 'x' change"),
    ],
)
def test_an_option_that_means_nothing_for_a_target_is_refused(
    kind: NameKind, options: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        check_options(parse(["-m", "5", *shlex.split(options), "x"]), Meaning("x", "x", kind, ""))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (NameKind.PROCESS, "--metric pss --swap --for 5 --repeat 5"),
        (NameKind.UNIT, "--metric anon --restart --until-stopped --kill-whom control"),
        (NameKind.OWNER, "--metric current --restart --kill-whom all"),
    ],
)
def test_options_that_mean_something_are_taken(kind: NameKind, options: str) -> None:
    check_options(parse(["-m", "5", *shlex.split(options), "x"]), Meaning("x", "x", kind, ""))


@pytest.mark.parametrize(("number", "error"), [(errno.ENOENT, UsageError), (errno.ETIMEDOUT, StartError)])
def test_a_users_bus_that_is_slow_is_no_wrong_usage(
    start: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    tree = start("-m 5 --user x", names=())

    def no_manager(*_: object) -> None:
        raise BusError(number, "no answer within 5 s")

    monkeypatch.setattr("memmon_systemd.systemd.manager.Manager", no_manager)
    with pytest.raises(error):
        Machine(tree.settings, {}, tree.context.report.warn)
