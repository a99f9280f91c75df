"""What `--check` prints: 80 columns, and nothing of what a process calls itself that steers a terminal."""

from dataclasses import replace

import pytest

from memmon_systemd.arguments import parse
from memmon_systemd.check.command import exit_status, judge
from memmon_systemd.check.facts import SWAP, Bound, Case, Subject
from memmon_systemd.check.findings import Checked, Kind, Missing, Resolved
from memmon_systemd.check.text import as_text, missing_line
from tests.unit.test_check_rules import (
    HEALTHY,
    MACHINE,
    MIB,
    PROCESS,
    UNIT,
    facts,
    left_behind,
    reads,
    restart,
    service,
    unit,
)


def resolved(*subjects: Subject, options: str = "-m 400", kind: Kind = Kind.UNIT) -> Resolved:
    settings = parse([*options.split(), "myapp"])
    cases = [Case(settings.target, settings.user, MACHINE, subject) for subject in subjects]
    checked = tuple(Checked(case, judge(case)) for case in cases)
    return Resolved("myapp", kind, "a unit of that name is loaded", checked)


HEALTHY_REPORT = """\
myapp: myapp.service (a unit of that name is loaded)
  state      active (running)
  threshold  400 MiB (unreclaimable)
  action     SIGTERM to its main process, 812 (myapp), by systemd (KillUnit)

  unreclaimable    100 MiB   25% |#######.......................|  <- counts
  current          150 MiB   38% |###########...................|
  working-set      120 MiB   30% |#########.....................|
  anon              90 MiB   22% |######........................|

no problems found
"""

BROKEN_REPORT = """\
myapp: myapp.service (a unit of that name is loaded)
  state      active (running)
  threshold  400 MiB (unreclaimable)
  action     SIGTERM to its main process, 812 (myapp), by systemd (KillUnit)

  unreclaimable    500 MiB  125% |##############################>  <- counts
  current          150 MiB   38% |###########...................|
  working-set      120 MiB   30% |#########.....................|
  anon              90 MiB   22% |######........................|

  error    Restart=on-failure: systemd treats an exit on SIGTERM or with status
           0 as clean, so it would stay down [stays-down]
           fix: systemctl edit myapp.service
                [Service]
                Restart=always
  error    it is above the threshold now: it would be signalled as soon as a
           monitor starts [over-now]
           fix: systemctl restart myapp.service

2 errors
"""


def test_the_report_of_a_healthy_service() -> None:
    assert as_text([resolved(HEALTHY)]) == HEALTHY_REPORT


def test_the_report_of_a_service_that_would_stay_down() -> None:
    broken = restart("on-failure")(reads(unreclaimable=500)(HEALTHY))
    assert as_text([resolved(broken)]) == BROKEN_REPORT


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-m 20%", "1.6 GiB (unreclaimable): 20% of MemoryMax=2 GiB of myapp.service"),
        ("-m 400 --swap", "1.6 GiB (unreclaimable and swap)"),
        ("-m 400 --restart", "systemd restarts it (TryRestartUnit); no signal"),
        ("-m 400 --for 10", "(KillUnit), after 10 s above the threshold"),
        ("-m 400 --kill-whom all -s USR1", "SIGUSR1 to all of its processes (2 now), by systemd"),
        ("-m 400 --kill-whom control", "SIGTERM to its control process, by systemd"),
    ],
)
def test_what_would_be_done_is_said(options: str, words: str) -> None:
    text = as_text([resolved(replace(HEALTHY, threshold_bytes=1638 * MIB), options=options)])
    assert words in " ".join(text.split())


def test_the_same_finding_of_many_processes_is_said_once() -> None:
    many = [replace(PROCESS, name=f"myapp[{pid}]", pids=(pid,)) for pid in range(100, 130)]
    text = as_text([resolved(*many, kind=Kind.PROCESS)])
    assert text.count("[no-restart]") == 1
    assert "myapp[100] and 29 more: systemd doesn't restart it" in " ".join(text.split())
    assert "... and 10 more (--json has all)" in text
    assert text.endswith("\n1 note\n")


def test_every_line_has_80_columns_at_most_and_steers_no_terminal() -> None:
    long_unit = "a-service-with-a-name-of-forty-characters.service"
    broken = restart("on-failure")(
        facts(name=long_unit, unit=long_unit, main_name="e\x1b[31mvil\n", high=Bound(MIB, UNIT))(HEALTHY)
    )
    evil = replace(PROCESS, name="\x1b[31mfifteen-chars[4194303]", unit="x" * 60)
    text = as_text(
        [resolved(broken), resolved(evil, kind=Kind.PROCESS), resolved(HEALTHY, HEALTHY, kind=Kind.GLOB)]
    )
    to_be_copied = "           fix: systemctl edit "
    lines = [line for line in text.splitlines() if not line.startswith(to_be_copied)]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text


def test_what_there_is_instead_is_one_line() -> None:
    missing = Missing("healty", "there is no unit healty.service", ("healthy.service", "health.service"))
    assert missing_line(missing) == (
        "'healty': there is no unit healty.service; did you mean healthy.service or health.service?"
    )
    assert missing_line(replace(missing, nearest=())) == "'healty': there is no unit healty.service"


@pytest.mark.parametrize(
    ("subjects", "status"),
    [
        ((HEALTHY,), 0),
        ((reads(unreclaimable=500)(HEALTHY),), 3),
        ((unit(needs_reload=True)(HEALTHY),), 0),
        ((HEALTHY, restart("no")(HEALTHY)), 3),
        ((facts(high=Bound(MIB, UNIT))(HEALTHY),), 3),
    ],
)
def test_only_errors_and_warnings_make_the_exit_status(subjects: tuple[Subject, ...], status: int) -> None:
    one = resolved(*subjects)
    assert exit_status([one]) == status
    missing = Resolved("x", Kind.UNIT, "", (), Missing("x", "there is no unit x.service", ()))
    assert exit_status([one, missing]) == 4


def test_instances_of_a_template_are_put_right_at_the_template() -> None:
    instance = facts(name="worker@7.service", unit="worker@7.service")(restart("no")(HEALTHY))
    assert "systemctl edit worker@.service\n" in as_text([resolved(instance)])
    assert "systemctl --user edit worker@.service\n" in as_text([resolved(instance, options="-m 400 --user")])


def test_swap_is_shown_beside_the_metrics() -> None:
    text = as_text([resolved(replace(HEALTHY, readings={**HEALTHY.readings, SWAP: 20 * MIB}))])
    assert "  swap              20 MiB    5% |#.............................|\n" in text


@pytest.mark.parametrize(
    ("subject", "options", "words"),
    [
        (left_behind(HEALTHY), "-m 400", "action none: its main process has ended"),
        (left_behind(HEALTHY), "-m 400 --kill-whom all", "action SIGTERM to all of its processes (2 now)"),
        (left_behind(HEALTHY), "-m 400 --restart", "action systemd restarts it"),
        # It doesn't run: who its main process was says nothing of the next.
        (
            facts(pids=())(service(main_pid=0, had_main=True)(HEALTHY)),
            "-m 400",
            "SIGTERM to its main process,",
        ),
    ],
)
def test_who_would_be_signalled_is_said_even_if_it_is_nobody(
    subject: Subject, options: str, words: str
) -> None:
    assert words in " ".join(as_text([resolved(subject, options=options)]).split())


@pytest.mark.parametrize("kind", [Kind.UNIT, Kind.PROCESS])
def test_a_threshold_and_a_usage_of_zero_are_shown(kind: Kind) -> None:
    """A share of MemoryMax=0, and a unit or process that uses nothing."""
    limited = replace(HEALTHY, threshold_bytes=0, maximum=Bound(0, UNIT))
    unused = reads(unreclaimable=0, current=0, working_set=0, anon=0, rss=0)
    empty = replace(unused(limited), metric=limited.metric)
    text = as_text([resolved(limited, empty, options="-m 80%", kind=kind)])
    assert "0 B (unreclaimable): 80% of MemoryMax=0 B of myapp.service" in text
    assert "raise MemoryMax= of myapp.service" in " ".join(text.split())
    assert "#>" in text
    assert ".|" in text
