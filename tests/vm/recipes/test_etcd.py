"""docs/recipes/etcd.md: three machines under one etcd, which here are three services with a monitor each."""

from contextlib import ExitStack
from pathlib import Path

from kit import Monitor, Service, eventually, property_of, run
from recipes.page import Page, install
from recipes.service import DEADLINE_S

PAGE = Page("recipes/etcd.md")
NAMES = ("shop1", "shop2", "shop3")
OPTIONS = ("-m", "30", "-i", "0.5", "--condition-unit", "restart-lock@%N.service", "--repeat", "5")
LOG = Path("/var/tmp/restarts")


def properties_of(name: str) -> tuple[str, ...]:
    """Of a service that says when it goes down and comes up, and takes its time: nobody else may be down."""
    return (
        "ExecStartPre=/bin/sleep 3",
        f"ExecStartPost=/bin/sh -c 'echo up {name} >>{LOG}'",
        f"ExecStopPost=/bin/sh -c 'echo down {name} >>{LOG}'",
    )


def test_one_of_three_machines_restarts_at_a_time() -> None:
    install(*PAGE.files)
    run("systemctl", "start", "etcd")
    with ExitStack() as stack:
        services = [
            stack.enter_context(Service(f"{name}.service", properties=properties_of(name), restart=True))
            for name in NAMES
        ]
        LOG.write_text("")
        for service in services:
            service.tell("grow 40")
        monitors = [stack.enter_context(Monitor(*OPTIONS, f"{name}.service")) for name in NAMES]
        for monitor in monitors:
            monitor.wait_for("active again after", deadline_s=DEADLINE_S)
        print(LOG.read_text(), *(monitor.log for monitor in monitors), sep="\n")
        words = LOG.read_text().split()
        restarts = [words[at : at + 4] for at in range(0, len(words), 4)]
        assert sorted(restart[1] for restart in restarts) == sorted(NAMES)
        assert all(restart == ["down", restart[1], "up", restart[1]] for restart in restarts)
    for name in NAMES:
        holder = f"holds-lock-{name}.service"
        eventually(lambda unit=holder: property_of(unit, "ActiveState") == "inactive", holder)  # type: ignore[misc]
    run("systemctl", "stop", "etcd")
