"""The Ansible role of deploy/ansible, by the files and commands of docs/fleet.md."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit import eventually, property_of, run
from recipes.page import REPO, Page, assert_is_like, install, install_app
from recipes.service import DEADLINE_S, forget_log

PAGE = Page("fleet.md")
FLEET = Path("/srv/fleet")
PLAYBOOK = FLEET / "site.yml"
PLAY = "ansible-playbook -i inventory.ini site.yml"
AGAIN = f"{PLAY} | tail -n 2"
WRONG = "ansible-playbook -i inventory.ini -e @wrong.yml site.yml"
# A play takes minutes in this machine. Neither changes what it does or says.
FASTER = {**os.environ, "ANSIBLE_PIPELINING": "1", "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3"}
# Three tasks less per play: the first test has seen that what is installed is left as it is.
ONLY_CONFIGURE = f"{PLAY} -e memory_monitor_package="
WITH_EXPORTER = (
    f"{ONLY_CONFIGURE} -e memory_monitor_exporter=true -e memory_monitor_exporter_package=exporter.deb"
)
EXPORTER = "memory-monitor-exporter.socket"
METRICS = "http://127.0.0.1:10893/metrics"
MONITOR = "memory-monitor.service"
DROP_IN = Path("/etc/systemd/system/{}.d/memory-monitor-ansible.conf")
MIB = 1 << 20
WORKER = {"worker@1.service": 480}
MYAPP = """\
[Service]
ExecStart=/usr/bin/python3 /srv/myapp/worker.py /srv/myapp/leak
Restart=always
MemoryMax=500M
"""


def drop_in(unit: str) -> Path:
    return Path(str(DROP_IN).format(unit))


def played(command: str) -> tuple[int, list[str]]:
    """The exit status of a command of the page, and what it prints; shows it."""
    print(f"\n$ {command}", flush=True)
    lines = []
    in_bash = ("bash", "-o", "pipefail", "-c", command)
    with subprocess.Popen(
        in_bash, cwd=FLEET, env=FASTER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    return running.returncode, lines


def changed(lines: list[str]) -> int:
    """How many tasks have changed something, by the recap."""
    (count,) = re.findall(r"^web1 .* changed=(\d+) ", "\n".join(lines), re.MULTILINE)
    return int(count)


def monitored() -> dict[str, int]:
    """By unit that runs: its threshold in MiB."""
    listed: dict[str, Any] = json.loads(run("memmonctl", "--json"))
    return {one["name"]: one["threshold_bytes"] // MIB for one in listed["targets"]}


def wait_until_monitored(thresholds_mib: dict[str, int]) -> None:
    """Waits until these units are monitored, by these thresholds, and no others."""
    eventually(lambda: monitored() == thresholds_mib, f"{thresholds_mib}", detail=lambda: str(monitored()))


def reloads() -> int:
    """How often systemd was told to read its files since the log was forgotten."""
    return sum("Reloading" in line for line in run("journalctl", "-q", "-o", "cat", "_PID=1").splitlines())


@pytest.fixture(scope="module", autouse=True)
def fleet() -> Iterator[None]:
    """The playbook, its role and its package, two services that run, and no memory-monitor."""
    wanted = (str(FLEET), "/etc/systemd/system/worker@.service")
    install(*(file for file in PAGE.files if file.path.startswith(wanted) and ".d/" not in file.path))
    shutil.copytree(REPO / "deploy/ansible/roles", FLEET / "roles", dirs_exist_ok=True)
    (package,) = re.findall(r"memory_monitor_package: (.*)", PLAYBOOK.read_text())
    (FLEET / "files").mkdir(exist_ok=True)
    shutil.copy("/srv/memory-monitor.deb", FLEET / "files" / package)
    shutil.copy("/srv/memory-monitor-exporter.deb", FLEET / "files" / "exporter.deb")
    for directory in ("/srv/worker", "/srv/myapp"):
        install_app("worker.py", directory)
    Path("/srv/worker/1").write_text("0")
    Path("/srv/myapp/leak").write_text("0")
    Path("/etc/systemd/system/myapp.service").write_text(MYAPP)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "myapp", "worker@1")
    run("dpkg", "--purge", "memory-monitor-exporter", "memory-monitor")
    forget_log()
    yield
    for unit in ("myapp.service", "worker@.service"):
        drop_in(unit).unlink(missing_ok=True)
    run("systemctl", "disable", "--now", MONITOR)
    run("systemctl", "stop", "myapp", "worker@1")


def test_the_first_run_installs_configures_and_starts_and_the_second_changes_nothing() -> None:
    status, first = played(PLAY)
    assert status == 0
    assert changed(first) > 0
    assert run("systemctl", "is-enabled", MONITOR) == "enabled"
    wait_until_monitored(WORKER | {"myapp.service": 350})
    before = property_of(MONITOR, "MainPID"), reloads()
    status, second = played(AGAIN)
    assert status == 0
    assert changed(second) == 0
    assert (property_of(MONITOR, "MainPID"), reloads()) == before
    assert_is_like(PAGE.log(PLAY), first)
    assert_is_like(PAGE.log(AGAIN), second)
    assert changed(PAGE.log(AGAIN)) == 0


def test_a_wrong_value_stops_the_play_with_the_line_of_the_check_and_reaches_no_monitor() -> None:
    before = property_of(MONITOR, "MainPID"), reloads(), drop_in("myapp.service").read_text()
    status, lines = played(WRONG)
    assert status == 2
    (failure,) = (line for line in lines if line.startswith("fatal: [web1]"))
    assert "myapp.service: memory-monitor: /dev/stdin:4: For=: 'soon' is not a time" in failure
    assert "worker@.service: memory-monitor: /dev/stdin:3: Threshold=: '80q' is not a size" in failure
    assert (property_of(MONITOR, "MainPID"), reloads(), drop_in("myapp.service").read_text()) == before
    wait_until_monitored(WORKER | {"myapp.service": 350})
    assert_is_like(PAGE.log(WRONG), lines)


def test_a_key_that_does_not_exist_stops_it_too() -> None:
    PLAYBOOK.write_text(PLAYBOOK.read_text().replace("HardThreshold: 90%", "HardTreshold: 90%"))
    status, lines = played(ONLY_CONFIGURE)
    assert status == 2
    said = "'HardTreshold' is no key of [X-MemoryMonitor] and is ignored: did you mean HardThreshold=?"
    assert f"myapp.service: memory-monitor: /dev/stdin:4: {said}" in "\n".join(lines)
    PLAYBOOK.write_text(PLAYBOOK.read_text().replace("HardTreshold: 90%", "HardThreshold: 90%"))


def test_a_value_that_changes_is_taken_over_by_the_monitor_that_runs_and_the_exporter_is_added() -> None:
    before = property_of(MONITOR, "MainPID")
    PLAYBOOK.write_text(PLAYBOOK.read_text().replace("Threshold: 70%", "Threshold: 60%"))
    status, _ = played(WITH_EXPORTER)
    assert status == 0
    wait_until_monitored(WORKER | {"myapp.service": 300})
    assert property_of(MONITOR, "MainPID") == before
    assert run("systemctl", "is-enabled", EXPORTER) == "enabled"
    told = urllib.request.urlopen(METRICS, timeout=DEADLINE_S).read().decode()
    assert 'memory_monitor_threshold_bytes{name="myapp.service"} 3.145728e+08' in told


def test_a_unit_that_is_no_longer_listed_is_no_longer_monitored_and_nothing_else_is_changed() -> None:
    text = PLAYBOOK.read_text()
    by_hand = drop_in("myapp.service").with_name("by-hand.conf")
    by_hand.write_text("[Unit]\nDescription=kept\n")
    PLAYBOOK.write_text(text[: text.index("      myapp.service:")])
    status, lines = played(WITH_EXPORTER)
    assert (status, changed(lines)) == (0, 1)
    assert not drop_in("myapp.service").exists()
    assert by_hand.exists()
    wait_until_monitored(WORKER)
