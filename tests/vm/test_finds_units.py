"""The ways to name what is monitored: globs, names of units that don't run yet, aliases, owners."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator

import pytest
from kit import DEADLINE_S, UNITS, WORK, Leaky, Monitor, Service, run, write_unit

NAMES = ("job@*.service", "later.service", "nickname")


@pytest.fixture(scope="module")
def monitor() -> Iterator[Monitor]:
    """One monitor of all those names, of which only one stands for something that runs."""
    write_unit("original.service", f"[Service]\nExecStart={Leaky('original').exec_line()}\n")
    (UNITS / "nickname.service").unlink(missing_ok=True)
    (UNITS / "nickname.service").symlink_to(UNITS / "original.service")
    with (
        Service("job@1.service") as first,
        Monitor("-m", "30", "-i", "1", "-s", "USR1", *NAMES) as monitor,
    ):
        assert monitor.wait_for(r"job@1\.service: ok: ")
        yield monitor
        assert "SIGUSR1" in first.said


def test_an_instance_that_runs_already_matches_a_glob(monitor: Monitor) -> None:
    # The service is the fixture's; its `said` is checked there when everything else is over.
    orders = os.open("/var/tmp/memory-monitor-tests/job@1.service/orders", os.O_WRONLY)
    os.write(orders, b"grow 40\n")
    os.close(orders)
    monitor.wait_for(r"job@1\.service: signalled: .*: sent SIGUSR1 to the main process \(KillUnit\)")


def test_instances_that_start_and_stop_while_it_runs_come_and_go(monitor: Monitor) -> None:
    with Service("job@2.service") as second, Service("job@3.service"):
        monitor.wait_for(r"job@2\.service: ok: ")
        monitor.wait_for(r"job@3\.service: ok: ")
        second.tell("grow 40")
        second.wait_for("SIGUSR1")
    monitor.wait_for(r"job@2\.service: waiting: it stopped")
    monitor.wait_for(r"job@3\.service: waiting: it stopped")
    with Service("job@2.service", "grow 40") as second:
        second.wait_for("SIGUSR1")


def test_a_unit_that_does_not_exist_yet_is_waited_for(monitor: Monitor) -> None:
    monitor.wait_for(r"^later\.service: waiting: there is no such unit yet(; did you mean \S+\?)?$")
    with Service("later.service", "grow 40") as service:
        service.wait_for("SIGUSR1")


GROWS = """
import mmap, time
kept = []
for _ in range(400):
    kept.append(mmap.mmap(-1, 1 << 20))
    kept[-1].write(bytes(1 << 20))
    time.sleep(0.05)
time.sleep(1000)
"""


def test_a_unit_that_grows_from_its_start_is_asked_before_the_interval_is_over() -> None:
    program = WORK / "grows.py"
    program.write_text(GROWS)
    write_unit("grows.service", f"[Service]\nExecStart=python3 -IS {program}\n")
    # 20 MiB/s at most, on an emulated processor less; it would be found above 400 MiB after an interval.
    with Monitor("-m", "30", "-i", "1h", "--growth", "20M", "grows.service") as monitor:
        monitor.wait_for(r"^grows\.service: waiting: ")
        run("systemctl", "start", "grows.service")
        said = monitor.wait_for(r"^grows\.service: signalled: ")
    (usage_mib,) = re.findall(r" ([\d.]+) MiB is above", said)
    assert 30 < float(usage_mib) < 40


def test_a_name_without_suffix_that_is_an_alias_means_the_unit(monitor: Monitor) -> None:
    service = Leaky("original")
    run("systemctl", "start", "nickname.service")
    service.wait_for("started")
    service.tell("grow 40")
    service.wait_for("SIGUSR1")
    run("systemctl", "stop", "original.service")
    monitor.wait_for(r"^original\.service: signalled: ")
    assert not monitor.lines_with("^nickname")


def test_processes_are_found_by_the_first_letters_of_their_name() -> None:
    with (
        Service("named-1.service", "name mm-named-one") as first,
        Service("named-2.service", "name mm-named-two", "grow 40") as second,
        Monitor("-m", "30", "-i", "1", "-s", "USR1", "mm-named") as monitor,
    ):
        second.wait_for("SIGUSR1")
        assert "SIGUSR1" not in first.said
        first.tell("grow 40")
        first.wait_for("SIGUSR1")
        monitor.wait_for(r"^mm-named-one\[\d+\]: signalled: rss .* MiB is above 30 MiB.*: sent SIGUSR1$")


def test_the_unit_that_owns_such_a_process_is_monitored() -> None:
    options = ("-m", "30", "-i", "1", "-s", "USR1", "--as", "owner")
    with (
        Service("owning.service", "child", "name mm-owned") as service,
        Monitor(*options, "mm-owned") as monitor,
    ):
        # The memory is not that of the process with the name.
        service.tell("grow 40", "child")
        service.wait_for("SIGUSR1")
        monitor.wait_for(r"^owning\.service: signalled: unreclaimable .*\(KillUnit\)$")
        service.tell("free", "child")
        with Service("owning-2.service", "name mm-owned-too", "grow 40") as another:
            another.wait_for("SIGUSR1")


def in_shell(unit: str, job: Leaky, before: str = "", *properties: str) -> None:
    """A unit whose main process is a shell, and whose other one is the job with these words before it."""
    command = shlex.join(job.command("name mm-in-shell", "grow 40"))
    given = [f"--property={line}" for line in properties]
    systemd_run = ("systemd-run", "--quiet", "--collect", f"--unit={unit}", *given)
    if unit.endswith(".scope"):
        run(*systemd_run, "--scope", "sh", "-c", f"{before} {command} >/dev/null 2>&1 </dev/null &")
    else:
        run(*systemd_run, "sh", "-c", f"{before} {command} & wait")
    job.wait_for("grow 40")


def test_what_users_run_in_a_service_or_a_session_makes_it_no_target() -> None:
    as_user = "setpriv --reuid=1000 --regid=1000 --clear-groups"
    jobs = {unit: Leaky(unit) for unit in ("like-cron.service", "session-99.scope", "own-user.service")}
    in_shell("like-cron.service", jobs["like-cron.service"], as_user)
    in_shell("session-99.scope", jobs["session-99.scope"])
    # That a whole service is of one user is another thing.
    in_shell("own-user.service", jobs["own-user.service"], "", "User=tester")
    with Monitor("-m", "30", "-i", "1", "-s", "USR1", "--as", "owner", "mm-in-shell") as monitor:
        monitor.wait_for(r"own-user\.service: signalled: .*to the main process \(KillUnit\)$")
        monitor.wait_for(r"like-cron\.service is not monitored, though mm-in-shell\[\d+\] runs in it")
        monitor.wait_for(r"session-99\.scope is not monitored, though mm-in-shell\[\d+\] runs in it")
        assert not monitor.lines_with(r"^(like-cron|session-99)\.\w+: ")
    for unit in jobs:
        subprocess.run(("systemctl", "stop", unit), capture_output=True, check=False)
    assert "SIGUSR1" not in jobs["like-cron.service"].said + jobs["session-99.scope"].said


def test_a_unit_is_a_target_only_while_it_owns_such_a_process() -> None:
    with (
        Service("let-go.service", "name mm-let-go") as service,
        Monitor("-m", "30", "-i", "1", "-s", "USR1", "--as", "owner", "mm-let-go") as monitor,
    ):
        monitor.wait_for(r"^let-go\.service: ok: ")
        service.tell("name another")
        monitor.wait_for(r"^let-go\.service: no longer monitored: ")
        service.tell("grow 40")
        service.tell("name mm-let-go")  # Found within 30 s.
        service.wait_for("SIGUSR1", deadline_s=2 * DEADLINE_S)
        # The service may say so before the monitor has systemd's answer.
        monitor.wait_for(r"^let-go\.service: signalled: ")


def test_units_of_a_users_manager_are_monitored_by_that_user() -> None:
    environment = {"XDG_RUNTIME_DIR": "/run/user/1000"}
    as_tester = ("runuser", "-u", "tester", "--", "env", *(f"{k}={v}" for k, v in environment.items()))
    mine = Leaky("my-own")
    unit = (*as_tester, "systemd-run", "--user", "--quiet", "--collect", "--unit=my-own.service")
    run(*unit, *mine.command("grow 40"))
    options = ("-m", "30", "-i", "1", "-s", "USR1", "--user", "my-own.service")
    with Monitor(*options, user="tester", environment=environment) as monitor:
        mine.wait_for("SIGUSR1")
        assert monitor.wait_for(r"^my-own\.service: signalled: .*\(KillUnit\)$")
        run(*as_tester, "systemctl", "--user", "stop", "my-own.service")
        monitor.wait_for(r"^my-own\.service: waiting: it stopped$")
    assert not re.search("Traceback", monitor.log)


def test_a_name_that_matches_nothing_is_logged_with_the_unit_that_may_have_been_meant() -> None:
    for name in ("dbsu", "dbsu.service"):
        begun_s = time.monotonic()
        done = subprocess.run(
            ("memory-monitor", "--once", "-m", "500", name), capture_output=True, text=True, check=False
        )
        print(f"{name}: {time.monotonic() - begun_s:.1f} s")
        waiting = done.stderr.splitlines()[-1]
        assert waiting.startswith(f"{name}: waiting: there is no ")
        assert waiting.endswith("; did you mean dbus.service?")
        assert done.returncode == 4
