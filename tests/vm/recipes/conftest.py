"""The recipes run in the machines that have their programs, by `make recipes`."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

NEEDS = {
    "test_containers.py": "podman",
    "test_haproxy.py": "haproxy",
    "test_etcd.py": "etcdctl",
    "test_fleet.py": "ansible-playbook",
    "test_ansible.py": "ansible-playbook",
    "test_mail.py": "msmtp",
    "test_prometheus.py": "prometheus-node-exporter",
}
"""The program that shows which machine it is; for all others gunicorn."""

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if shutil.which(NEEDS.get(path.name, "gunicorn")) is None
]


def pytest_terminal_summary(terminalreporter: "TerminalReporter") -> None:
    if not any(map(shutil.which, ("gunicorn", *NEEDS.values()))):
        terminalreporter.write_line("tests/vm/recipes was left out: it needs the programs; run make recipes")
