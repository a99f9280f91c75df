"""Nothing that a stranger can choose steers the terminal of who reads the report, or forges a line of it."""

import json
import os
import tempfile
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from memmon_systemd.arguments import parse
from memmon_systemd.check import command
from memmon_systemd.check.facts import Bound, Case, OtherMonitor, OtherMonitors, Rights, Subject
from memmon_systemd.check.findings import Checked, Kind, Missing, Resolved
from memmon_systemd.check.json_form import as_json
from memmon_systemd.check.text import as_text, missing_line
from memmon_systemd.output.standard import write_error
from tests.unit.test_check_rules import HEALTHY, MACHINE, MIB, PROCESS, service

SETTINGS = parse(["-m", "80%", "myapp"])
# What can be in a name: every byte, as the readers decode them, and every character.
NAMES = st.one_of(
    st.binary(min_size=1, max_size=20).map(lambda name: name.decode(errors="backslashreplace")),
    st.binary(min_size=1, max_size=20).map(os.fsdecode),
    st.text(min_size=1, max_size=20),
    st.sampled_from(
        ["\x1b[2J", "a\nerror  all is well", "\x9b31m", "\u202egnp.exe", "a\r", "\x00", "\u2028"]
    ),
)


def subjects(name: str) -> list[Subject]:
    """A unit and a process all of whose texts are `name`, with as many findings as they can have."""
    bound = Bound(MIB, name)
    monitors = OtherMonitors((OtherMonitor(99, name),), (name,))
    # A program for which there is nothing but names: it is masked, too, and can't be read.
    unit = replace(
        HEALTHY, name=name, unit=name, main_name=name, maximum=bound, high=bound, monitors=monitors
    )
    weak = service(type=name, kill_mode="process", oom_policy="continue")(unit)
    process = replace(PROCESS, name=name, unit=name, main_name=name, maximum=bound, monitors=monitors)
    return [
        weak,
        replace(weak, readings={}, trouble=name, rights=Rights()),
        replace(weak, properties=None, pids=()),
        replace(process, rights=Rights(directly=False)),
        replace(process, unit=f"{name}.service", properties=weak.properties, is_main=True),
    ]


def resolved(name: str, kind: Kind) -> Resolved:
    machine = replace(MACHINE, hidepid=name)
    cases = [Case(SETTINGS.target, False, machine, subject) for subject in subjects(name)]
    return Resolved(name, kind, name, tuple(Checked(case, command.judge(case)) for case in cases))


@given(NAMES, st.sampled_from(Kind))
def test_every_line_of_the_report_is_printable_whatever_a_name_holds(name: str, kind: Kind) -> None:
    text = as_text([resolved(name, kind)])
    lines = text.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("error") for line in lines)


@given(NAMES)
def test_the_line_about_a_name_that_matches_nothing_is_printable(name: str) -> None:
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            write_error(missing_line(Missing(name, name, (name, name))))
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        line, end = file.read().decode().split("\n")
    assert line.isprintable()
    assert not end


@given(NAMES)
def test_the_json_is_printable_ascii_and_holds_the_names_as_they_are(name: str) -> None:
    missing = Resolved(name, Kind.UNIT, name, (), Missing(name, name, (name,)))
    text = as_json(SETTINGS, MACHINE, [resolved(name, Kind.PROCESS), missing], 4)
    assert text.isascii()
    assert all(line.isprintable() for line in text.splitlines())
    loaded = json.loads(text)
    assert loaded["names"][0]["targets"][0]["name"] == name
    assert loaded["names"][1]["missing"]["nearest"] == [name]
