"""Each module that a monitor imports stays in its memory, all of which is locked."""

import os
import re
import sys

from tests.audit.fake_systemd import FakeSystemd
from tests.audit.units import LIMIT_MIB, FakeUnit, Record, Start
from tests.process.kit import ROOT

COMMAND = (sys.executable, "-X", "importtime", "-m", "tests.bench.units_in")
IMPORTED = re.compile(r"import time:[^|]+\|[^|]+\| +(\S+)$")
IN_VAIN = {
    # What others import of their own accord: dataclasses, socket, pystemd.
    *("inspect", "ast", "dis", "tokenize", "selectors", "pprint", "shlex", "uuid", "lxml"),
    # It interns the parts of each path; and what it imports itself.
    *("pathlib", "urllib", "urllib.parse", "ipaddress", "ntpath"),
    "argparse",
}


def test_a_monitor_of_a_unit_imports_nothing_in_vain(
    systemd: FakeSystemd, start_monitor: Start, record: Record
) -> None:
    FakeUnit(systemd.top, "app.service")
    environment = {"PYTHONPATH": os.fspath(ROOT), **systemd.environment}
    monitor = start_monitor(
        *(os.fspath(systemd.top), "-m", str(LIMIT_MIB), "app.service"),
        command=COMMAND,
        environment=environment,
    )
    monitor.wait_ready()
    imported = {found[1] for line in monitor.lines if (found := IMPORTED.search(line))}
    record(f"{len(imported)} modules")
    assert {"pystemd.utils", "memmon_systemd.units.watch"} <= imported
    assert sorted(imported & IN_VAIN) == []
