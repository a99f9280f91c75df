"""Services that are started before a request, to permit it, or at one, to know of it."""

import subprocess
from pathlib import Path

from kit import Monitor, Service, eventually, property_of, run, write_unit

NOT_YET = ("-i", "0.2", "--repeat", "2")
NAME = r"hookless\.service"
GO = Path("/var/tmp/hook.go")


def write_lock() -> None:
    """A condition that waits until it is decided by a file, and fails where that says so."""
    GO.unlink(missing_ok=True)
    write_unit(
        "lock@.service",
        "[Service]\nType=oneshot\nTimeoutStartSec=infinity\n"
        f"ExecStart=/bin/sh -c 'while [ ! -e {GO} ]; do sleep 0.1; done; exec $(cat {GO})'\n",
    )


def test_a_service_is_asked_when_its_condition_has_succeeded() -> None:
    write_lock()
    with (
        Service("asked.service") as service,
        Monitor("-m", "30", *NOT_YET, "--condition-unit", "lock@%n", "asked.service") as monitor,
    ):
        service.tell("grow 40")
        monitor.wait_for(r"asked\.service: held: .* lock@asked\.service\.service decides")
        assert property_of("lock@asked.service.service", "ActiveState") == "activating"
        GO.write_text("/bin/false")
        monitor.wait_for(r"not asked: lock@asked\.service\.service doesn't permit it: it failed; tried again")
        assert not monitor.lines_with("sent SIG")
        GO.write_text("/bin/true")
        monitor.wait_for(r"asked\.service: signalled: .*\(KillUnit\)")
        service.wait_for("SIGTERM")


def test_one_that_is_above_when_the_monitor_starts_is_asked_at_the_first_permission() -> None:
    # It ends when the monitor, which makes ready meanwhile, has gone all its ways to systemd once.
    write_unit("slow-lock@.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 10\n")
    with Service("above.service") as service:
        service.tell("grow 40")
        with Monitor("-m", "30", *NOT_YET, "--condition-unit", "slow-lock@%n", "above.service") as monitor:
            monitor.wait_for(r"above\.service: signalled: ")
            assert not monitor.lines_with("forgotten")


def test_a_condition_that_never_ends_holds_up_no_other_unit() -> None:
    write_lock()
    options = ("--condition-unit", "lock@%n", "--condition-timeout", "3", "--hard", "60")
    with (
        Service("stuck@1.service") as first,
        Service("stuck@2.service") as second,
        Monitor("-m", "30", *NOT_YET, *options, "stuck@*.service") as monitor,
    ):
        first.tell("grow 40")
        monitor.wait_for(r"stuck@1\.service: held: .* decides")
        second.tell("grow 70")
        monitor.wait_for(r"stuck@2\.service: signalled: ")
        monitor.wait_for(r"stuck@1\.service: not asked: .*: it still runs")
        assert not monitor.lines_with(r"stuck@1\.service: signalled")
        GO.write_text("/bin/true")
        monitor.wait_for(r"stuck@1\.service: signalled: ")


def test_a_service_is_started_at_each_request_with_the_units_name() -> None:
    told = Path("/var/tmp/hook.told")
    told.unlink(missing_ok=True)
    write_unit("tell@.service", f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo %i >>{told}'\n")
    with (
        Service("telling.service") as service,
        Monitor("-m", "30", *NOT_YET, "--on-request", "tell@%n", "telling.service") as monitor,
    ):
        service.tell("grow 40")
        monitor.wait_for(r"telling\.service: started tell@telling\.service\.service")
        eventually(lambda: told.exists() and told.read_text().startswith("telling.service\n"), "it was told")


def test_a_hook_that_fails_or_isnt_there_is_said_and_the_service_is_asked() -> None:
    write_unit("fails@.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
    for hook, said in (
        (
            "fails@%n",
            rf"warning: {NAME}: fails@{NAME}\.service: it failed; see systemctl status",
        ),
        (
            "absent@%n",
            rf"warning: {NAME}: --on-request absent@{NAME}\.service: systemd has no",
        ),
        (
            "absent@%n",
            rf"warning: {NAME}: absent@{NAME}\.service: can't be started: .*not found",
        ),
    ):
        with (
            Service("hookless.service") as service,
            Monitor("-m", "30", *NOT_YET, "--on-request", hook, "hookless.service") as monitor,
        ):
            service.tell("grow 40")
            monitor.wait_for(r"hookless\.service: signalled: ")
            monitor.wait_for(said)
    run("systemctl", "reset-failed", "fails@hookless.service.service")


def write_unfit_hooks() -> None:
    """What can't be the condition of the unit that is their instance."""
    write_unit("simple@.service", "[Service]\nExecStart=/bin/true\n")
    oneshot = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    write_unit("bound@.service", f"[Unit]\nBindsTo=%i\n{oneshot}")
    write_unit("waits@.service", f"[Unit]\nRequisite=%i\n{oneshot}")
    write_unit("ends-it@.service", f"[Unit]\nConflicts=%i\n{oneshot}")


UNFIT_AT_THE_START = (
    ("absent@%n", r"absent@unfit\.service\.service: systemd has no such unit \(not-found\): create"),
    ("simple@%n", r"simple@unfit\.service\.service: it is Type=simple, .*: use Type=oneshot"),
    ("unfit.service", r"unfit\.service: it is the unit itself: name another service"),
    ("bound@%n", r"bound@unfit\.service\.service: it has BindsTo=unfit\.service"),
)


def test_a_condition_that_cant_permit_anything_is_said_at_the_start_and_monitoring_goes_on() -> None:
    write_unfit_hooks()
    # Not hooked.service: what is bound to a unit keeps it loaded, and systemd-run needs a name that is free.
    with Service("unfit.service", restart=True) as service:
        for count, (hook, said) in enumerate(UNFIT_AT_THE_START, 1):
            options = ("--condition-unit", hook, "--hard", "60")
            with Monitor("-m", "30", *NOT_YET, *options, "unfit.service") as monitor:
                monitor.wait_for(rf"warning: unfit\.service: --condition-unit {said}")
                service.tell("grow 65")
                monitor.wait_for(r"unfit\.service: signalled: ")
                service.wait_for("SIGTERM", count)
    # Stopped with the unit while it started, it has failed; whether it was is a matter of time.
    run("systemctl", "reset-failed", "bound@*.service")


def test_check_finds_a_condition_that_cant_permit_anything() -> None:
    write_unfit_hooks()
    with Service("hooked.service"):
        for hook, said in (
            ("absent@%n", "create absent@.service"),
            ("simple@%n", "it is Type=simple, whose start says nothing of its success: use Type=oneshot"),
            ("hooked.service", "it is the unit itself"),
            ("bound@%n", "it has BindsTo=hooked.service: it is stopped with the unit"),
            ("waits@%n", "it has Requisite=hooked.service: it is stopped with the unit"),
            ("ends-it@%n", "it has Conflicts=hooked.service: its start would stop the unit"),
        ):
            report = run_check(hook)
            assert "hook-unfit" in report
            assert said in " ".join(report.split())


def run_check(hook: str) -> str:
    command = ("memory-monitor", "--check", "-m", "300", "--condition-unit", hook, "hooked.service")
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
