"""What `--check` prints: 80 columns, and nothing of what a process calls itself that steers a terminal."""

from dataclasses import replace

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.check.command import exit_status, judge
from memmon_systemd.check.facts import SWAP, Bound, Case, Checked, Missing, Resolved, Target
from memmon_systemd.check.text import as_text, missing_line
from tests.unit.test_check_rules import HEALTHY, MACHINE, MIB, PROCESS, UNIT, facts, reads, restart


def resolved(*targets: Target, options: str = "-m 400", kind: str = "unit") -> Resolved:
    settings = parse([*options.split(), "myapp"])
    cases = [Case(settings.target, settings.user, MACHINE, target) for target in targets]
    checked = tuple(Checked(case, judge(case)) for case in cases)
    return Resolved("myapp", kind, "a unit of that name is loaded", checked)


HEALTHY_REPORT = """\
myapp: myapp.service (a unit of that name is loaded)
  is      active (running)
  above   400 MiB of unreclaimable
  sends   SIGTERM to its main process, 812 (myapp), by systemd (KillUnit)

  unreclaimable    100 MiB   25% |#######.......................|  <- counts
  current          150 MiB   38% |###########...................|
  working-set      120 MiB   30% |#########.....................|
  anon              90 MiB   22% |######........................|

nothing found
"""

BROKEN_REPORT = """\
myapp: myapp.service (a unit of that name is loaded)
  is      active (running)
  above   400 MiB of unreclaimable
  sends   SIGTERM to its main process, 812 (myapp), by systemd (KillUnit)

  unreclaimable    500 MiB  125% |##############################>  <- counts
  current          150 MiB   38% |###########...................|
  working-set      120 MiB   30% |#########.....................|
  anon              90 MiB   22% |######........................|

  error    Restart=on-failure: systemd takes an end by SIGTERM or with status 0
           for a clean exit, so it would stay down [stays-down]
           put right: systemctl edit myapp.service
                      [Service]
                      Restart=always
  note     it is above the threshold now: it would be signalled as soon as a
           monitor starts [over-now]

1 error, 1 note
"""


def test_the_report_of_a_healthy_service() -> None:
    assert as_text([resolved(HEALTHY)]) == HEALTHY_REPORT


def test_the_report_of_a_service_that_would_stay_down() -> None:
    broken = restart("on-failure")(reads(unreclaimable=500)(HEALTHY))
    assert as_text([resolved(broken)]) == BROKEN_REPORT


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-m 20%", "1.6 GiB of unreclaimable: 20% of MemoryMax=2 GiB of myapp.service"),
        ("-m 400 --swap", "1.6 GiB of unreclaimable and swap"),
        ("-m 400 --restart", "no signal: systemd is asked to restart it (TryRestartUnit)"),
        ("-m 400 --for 10", "(KillUnit), after 10 s above"),
        ("-m 400 --kill-whom all -s USR1", "SIGUSR1 to all of its processes (2 now), by systemd"),
        ("-m 400 --kill-whom control", "SIGTERM to its control process, by systemd"),
    ],
)
def test_what_would_be_done_is_said(options: str, words: str) -> None:
    text = as_text([resolved(replace(HEALTHY, limit_bytes=1638 * MIB), options=options)])
    assert words in " ".join(text.split())


def test_the_same_finding_of_many_processes_is_said_once() -> None:
    many = [replace(PROCESS, name=f"myapp[{pid}]", pids=(pid,)) for pid in range(100, 130)]
    text = as_text([resolved(*many, kind="process")])
    assert text.count("[no-restart]") == 1
    assert "myapp[100] and 29 more: systemd doesn't start it again" in " ".join(text.split())
    assert "... and 10 more (--json has all)" in text
    assert text.endswith("\n1 note\n")


def test_every_line_has_80_columns_at_most_and_steers_no_terminal() -> None:
    long_unit = "a-service-with-a-name-of-forty-characters.service"
    broken = restart("on-failure")(
        facts(name=long_unit, unit=long_unit, main_name="e\x1b[31mvil\n", high=Bound(MIB, UNIT))(HEALTHY)
    )
    evil = replace(PROCESS, name="\x1b[31mfifteen-chars[4194303]", unit="x" * 60)
    text = as_text(
        [resolved(broken), resolved(evil, kind="process"), resolved(HEALTHY, HEALTHY, kind="glob")]
    )
    to_be_copied = "           put right: systemctl edit "
    lines = [line for line in text.splitlines() if not line.startswith(to_be_copied)]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text


def test_what_there_is_instead_is_one_line() -> None:
    missing = Missing("healty", "there is no unit healty.service", ("healthy.service", "health.service"))
    assert missing_line(missing) == (
        "'healty': there is no unit healty.service; nearest: healthy.service, health.service"
    )
    assert missing_line(replace(missing, nearest=())) == "'healty': there is no unit healty.service"


@pytest.mark.parametrize(
    ("targets", "status"),
    [
        ((HEALTHY,), 0),
        ((reads(unreclaimable=500)(HEALTHY),), 0),
        ((HEALTHY, restart("no")(HEALTHY)), 3),
        ((facts(high=Bound(MIB, UNIT))(HEALTHY),), 3),
    ],
)
def test_only_errors_and_warnings_make_the_exit_status(targets: tuple[Target, ...], status: int) -> None:
    one = resolved(*targets)
    assert exit_status([one]) == status
    missing = Resolved("x", "unit", "", (), Missing("x", "there is no unit x.service", ()))
    assert exit_status([one, missing]) == 4


def test_instances_of_a_template_are_put_right_at_the_template() -> None:
    instance = facts(name="worker@7.service", unit="worker@7.service")(restart("no")(HEALTHY))
    assert "systemctl edit worker@.service\n" in as_text([resolved(instance)])
    assert "systemctl --user edit worker@.service\n" in as_text([resolved(instance, options="-m 400 --user")])


def test_swap_is_shown_beside_the_metrics() -> None:
    text = as_text([resolved(replace(HEALTHY, readings={**HEALTHY.readings, SWAP: 20 * MIB}))])
    assert "  swap              20 MiB    5% |#.............................|\n" in text
