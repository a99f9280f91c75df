"""What a run leaves: the tests' results as JUnit XML and, where it failed, the journal of the machine.

The machine writes both as a tar on its third disk, whose size bounds them (job.sh).
"""

import tarfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from deb import give_to_who_called_sudo
from job import JUNIT, JUNIT_AGAIN, REPO

KEPT = REPO / "build" / "test-results"
DISK_BYTES = 64 << 20
JOURNAL = "journal"
SECOND_TRY = "passed only at the second try"
"""The property of such a test in the XML; its value is why the first try failed. .ci/test.py reads it."""


class ResultsError(Exception):
    """What came out can't be used; the message is one line."""


@dataclass(frozen=True, slots=True)
class Results:
    """The files that came out: no XML of a run without tests, no journal of one without fault."""

    xml: Path | None
    journal: Path | None
    second_tries: tuple[str, ...]


def make_disk(disk: Path) -> None:
    """Makes the empty disk; it takes no room until it is written to."""
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)


def forget(name: str) -> None:
    """Removes the files of the last run of that name."""
    for path in (_xml(name), _journal(name)):
        path.unlink(missing_ok=True)


def keep(disk: Path, name: str) -> Results:
    """Keeps what is on the disk as NAME.xml and NAME.journal in build/test-results. Raises ResultsError."""
    files = _files_on(disk)
    KEPT.mkdir(parents=True, exist_ok=True)
    give_to_who_called_sudo(KEPT.parent, KEPT)
    xml, journal, second_tries = None, None, []
    if JOURNAL in files:
        journal = _journal(name)
        journal.write_bytes(files[JOURNAL])
        give_to_who_called_sudo(journal)
    if JUNIT in files:
        xml = _xml(name)
        tree = _parsed(files[JUNIT])
        if JUNIT_AGAIN in files:
            second_tries = merge(tree, _parsed(files[JUNIT_AGAIN]))
        ET.ElementTree(tree).write(xml, encoding="utf-8", xml_declaration=True)
        give_to_who_called_sudo(xml)
    return Results(xml, journal, tuple(second_tries))


def _xml(name: str) -> Path:
    return KEPT / f"{name}.xml"


def _journal(name: str) -> Path:
    return KEPT / f"{name}.journal"


def _files_on(disk: Path) -> dict[str, bytes]:
    """The contents of the files in a tar, by their names."""
    found = {}
    try:
        with tarfile.open(disk, "r:") as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None:
                    found[Path(member.name).name] = file.read()
    except (tarfile.TarError, OSError) as error:
        raise ResultsError(f"the disk with the results can't be read: {error}") from error
    return found


def _parsed(text: bytes) -> ET.Element:
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise ResultsError(f"the JUnit XML that came out of the machine is broken: {error}") from error


def merge(first: ET.Element, again: ET.Element) -> list[str]:
    """Makes those that failed in `first` and passed in `again` passed, marked by the property SECOND_TRY.

    Gives their names.
    """
    passed_again = {_key(case) for case in again.iter("testcase") if not _faults(case)}
    names = []
    for case in first.iter("testcase"):
        faults = _faults(case)
        if faults and _key(case) in passed_again:
            names.append(case.get("name", ""))
            for fault in faults:
                case.remove(fault)
            properties = ET.SubElement(case, "properties")
            ET.SubElement(properties, "property", name=SECOND_TRY, value=faults[0].get("message", ""))
    for suite in first.iter("testsuite"):
        for tag, attribute in (("failure", "failures"), ("error", "errors")):
            suite.set(attribute, str(len(list(suite.iter(tag)))))
    return names


def _key(case: ET.Element) -> tuple[str | None, str | None]:
    return case.get("classname"), case.get("name")


def _faults(case: ET.Element) -> list[ET.Element]:
    return [child for child in case if child.tag in ("failure", "error")]
