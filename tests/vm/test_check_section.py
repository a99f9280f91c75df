"""`--check` of a unit with a section [X-MemoryMonitor]: what is in force, what is wrong, what is advised."""

from pathlib import Path
from typing import Any

from kit import run, write_unit
from shipped import MachineWide, Monitored, Shipped, leave_no_configuration, start, stop
from test_check import check, found, levels
from test_check_followed import LIMITED, do, findings_of

SECTION = "[X-MemoryMonitor]\nThreshold={}\n"
MONITOR = "memory-monitor.service"
DROP_IN = Path("/run/systemd/system/sectioned.service.d/memory-monitor.conf")


def target_of(report: dict[str, Any]) -> dict[str, Any]:
    ((target,),) = [name["targets"] for name in report["names"]]
    found: dict[str, Any] = target
    return found


def section(lines: str) -> None:
    """The section of the service, as systemd reads it from now on."""
    write_unit("sectioned.service.d/memory-monitor.conf", f"[X-MemoryMonitor]\n{lines}")
    run("systemctl", "daemon-reload")


def test_the_section_is_checked_and_what_is_advised_puts_it_in_force() -> None:
    service = Monitored("sectioned", "grow 1", service=LIMITED)
    section("Threshold=70%\nFor=1\n")
    start(service)
    try:
        service.wait_for("grow 1")
        _, report = check("sectioned")
        target = target_of(report)
        assert target["monitor"] == {
            "unit": MONITOR,
            "options": ["Threshold=70%", "For=1"],
            "files": [str(DROP_IN)],
        }
        assert target["limit_bytes"] == round((64 << 20) * 0.7)
        (finding,) = target["findings"]
        assert (finding["id"], finding["remedy"]["command"]) == (
            "not-monitored",
            f"systemctl enable --now {MONITOR}",
        )
        do(finding["remedy"]["command"], [])
        assert found("sectioned") == (0, {"monitored": "note"})
        assert found("-m", "70%", "--for", "1", "sectioned") == (0, {"monitored": "note"})
        # Other settings on the command line: they go into the section, as printed.
        _, report = check("-m", "60%", "--swap", "sectioned")
        (finding,) = findings_of(report)
        assert finding["id"] == "already-monitored"
        do(finding["remedy"]["command"], finding["remedy"]["lines"])
        assert found("-m", "60%", "--swap", "sectioned") == (0, {"monitored": "note"})
        # The file is changed, and systemd doesn't know.
        DROP_IN.write_text(SECTION.format("50%"))
        status, report = check("sectioned")
        assert (status, levels(report)) == (
            3, {"settings-not-in-force": "warning", "needs-reload": "note"}
        )  # fmt: skip
        do(findings_of(report)[0]["remedy"]["command"], [])
        assert found("sectioned") == (0, {"monitored": "note"})
        # The monitor runs with other defaults than its unit has now.
        write_unit(
            f"{MONITOR}.d/more.conf", "[Service]\nExecStart=\nExecStart=memory-monitor --configured -i 1\n"
        )
        run("systemctl", "daemon-reload")
        _, report = check("sectioned")
        (finding,) = findings_of(report)
        assert finding["id"] == "settings-not-in-force"
        do(finding["remedy"]["command"], [])
        assert found("sectioned") == (0, {"monitored": "note"})
    finally:
        run("systemctl", "disable", "--now", MONITOR)
        run("systemctl", "revert", MONITOR, service.unit)
        run("systemctl", "stop", service.unit)


def test_each_mistake_in_the_section_is_a_finding_with_its_place() -> None:
    service = Monitored("sectioned", "grow 1", service=LIMITED)
    section("Threshold=70%\nFro=1\nMetric\n")
    start(service)
    try:
        with MachineWide() as monitor:
            monitor.wait_for("sectioned.service: ok:")
            status, report = check("sectioned")
            words = [one["consequence"] for one in findings_of(report) if one["id"] == "setting-ignored"]
            assert status == 3
            assert words == [
                f"{DROP_IN}:4: 'Metric' is ignored: use KEY=VALUE",
                f"{DROP_IN}:3: 'Fro' is no key of [X-MemoryMonitor] and is ignored: did you mean For=?",
            ]
            section("Threshold=70%\nMetric=all\n")
            status, report = check("sectioned")
            assert (status, levels(report)) == (3, {"setting-wrong": "error"})
            assert findings_of(report)[0]["consequence"].startswith(f"{DROP_IN}:3: Metric=: 'all' is not one")
            assert target_of(report)["limit_bytes"] is None
            section("Treshold=70%\n")
            assert levels(check("sectioned")[1]) == {"setting-wrong": "error", "setting-ignored": "warning"}
    finally:
        run("systemctl", "stop", service.unit)
        run("systemctl", "revert", service.unit)


def test_beside_a_monitor_of_its_own_it_is_said_which_one_is_in_force() -> None:
    service = Monitored("sectioned", "grow 1", service=LIMITED)
    instance = Shipped("sectioned", "MAX_MEMORY=60%\n")
    section("Threshold=70%\n")
    start(service, instance)
    try:
        with MachineWide() as monitor:
            monitor.wait_for("sectioned.service: left to memory-monitor@sectioned.service")
            _, report = check("sectioned")
            assert target_of(report)["monitor"]["unit"] == instance.unit
            assert levels(report) == {"monitored": "note", "two-configurations": "warning"}
            (two,) = [one for one in findings_of(report) if one["id"] == "two-configurations"]
            do(two["remedy"]["command"], [])
            monitor.wait_for("sectioned.service: monitored here again")
            _, report = check("sectioned")
            assert target_of(report)["monitor"]["unit"] == MONITOR
            assert levels(report) == {"monitored": "note"}
            # The other one by name: what is in force is said, and no second monitor is found.
            _, report = check(instance.unit)
            assert levels(report) == {"two-configurations": "warning"}
            assert "is in force" in findings_of(report)[0]["consequence"]
    finally:
        stop(service, instance)
        run("systemctl", "revert", service.unit)
        leave_no_configuration()
