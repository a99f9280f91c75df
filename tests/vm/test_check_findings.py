"""How real services are made, found by `--check`; and that systemd and the kernel do what it says."""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit import CGROUPS, Leaky, Monitor, Service, eventually, property_of, run, systemd_version, write_unit

SHELL = "/bin/sh -c '{}; exit'"
HEALTHY = ("Restart=always", "MemoryMax=1G", "TimeoutStopSec=5")
AS_TESTER = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--")
RULES = Path("/etc/polkit-1/rules.d/findings.rules")


def checked(*arguments: str, prefix: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """The findings of each unit."""
    command = (*prefix, "memory-monitor", "--check", "--json", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout, done.stderr
    targets = [target for name in json.loads(done.stdout)["names"] for target in name["targets"]]
    return {target["name"]: target["findings"] for target in targets}


def levels(findings: list[dict[str, Any]]) -> dict[str, str]:
    return {finding["id"]: finding["level"] for finding in findings}


def copies(unit: str) -> list[int]:
    """The processes of a unit that run leaky.py."""
    try:
        pids = (CGROUPS / "system.slice" / unit / "cgroup.procs").read_text().split()
    except OSError:
        return []  # Between two invocations.
    return [int(pid) for pid in pids if b"python3\0-IS" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def service(lines: str) -> str:
    """A unit file with what is healthy, and what isn't."""
    return "\n".join(("[Unit]", "StartLimitIntervalSec=0", "[Service]", *HEALTHY, lines, ""))


@contextmanager
def started(**files: str) -> Iterator[None]:
    """Services of these names, `__` for a dash, all of which are like HEALTHY, and stopped afterwards."""
    units = {f"{name.replace('__', '-')}.service": lines for name, lines in files.items()}
    for unit, lines in units.items():
        write_unit(unit, service(lines))
    run("systemctl", "daemon-reload")
    run("systemctl", "start", *units)
    try:
        yield
    finally:
        subprocess.run(("systemctl", "kill", "--signal=KILL", *units), capture_output=True, check=False)
        subprocess.run(("systemctl", "stop", *units), capture_output=True, check=False)
        subprocess.run(("systemctl", "reset-failed", *units), capture_output=True, check=False)


def start_socket(name: str) -> None:
    """A socket, which systemd starts only before its service, and only if there is one."""
    write_unit(f"{name}.service", service("ExecStart=sleep infinity"))
    write_unit(f"{name}.socket", f"[Socket]\nListenStream=/run/{name}\n")
    run("systemctl", "start", f"{name}.socket")


FIRST = (
    "unshare --pid --fork --kill-child sleep infinity &"
    " until pgrep --parent $! > /run/first.pid; do sleep 0.1; done"
)
SHARES = (
    "[ -e /dev/shm/left ] || dd if=/dev/zero of=/dev/shm/left bs=1M count=30 status=none; exec sleep infinity"
)


def test_each_is_found_by_one_report_and_nothing_else() -> None:
    children = {name: Leaky(f"{name}-child") for name in ("mixed", "process", "group")}
    wrapped = {name: SHELL.format(child.exec_line("grow 10")) for name, child in children.items()}
    write_unit("uncounted.slice", "[Slice]\nDisableControllers=memory\n")
    start_socket("needed")
    with started(
        stops="ExecStart=sleep infinity\nExecStop=/bin/true",
        mixed=f"ExecStart={wrapped['mixed']}\nKillMode=mixed",
        process=f"ExecStart={wrapped['process']}\nKillMode=process",
        group=f"ExecStart={wrapped['group']}",
        first=f"Type=forking\nPIDFile=/run/first.pid\nExecStart=/bin/sh -c '{FIRST.replace('$', '$$')}'",
        shares=f"ExecStart=/bin/sh -c '{SHARES}'",
        iced="ExecStart=sleep infinity",
        uncounted="ExecStart=sleep infinity\nSlice=uncounted.slice",
        needed="ExecStart=sleep infinity\nRestart=no",
        needs__more=f"ExecStart={Leaky('needs-more').exec_line('grow 70')}",
    ):
        eventually(
            lambda: b"left" in _names("/dev/shm") and _shared("shares") >= 30 << 20, "the file is there"
        )
        eventually(lambda: _current("needs-more") > 70 << 20, "it has grown")
        for child in children.values():
            child.wait_for("grow 10")
        run("systemctl", "freeze", "iced.service")
        found = checked("-m", "60", *EXPECTED)
        run("systemctl", "thaw", "iced.service")
        assert {unit: levels(findings) for unit, findings in found.items()} == EXPECTED
        (over,) = found["needs-more.service"]
        assert "at the start, by memory.peak" in over["consequence"]
        # Followed, it is found no more.
        option = over["remedy"]["option"].split()
        assert checked(*option, "needs-more") == {"needs-more.service": []}
        assert "first process of a PID namespace" in found["first.service"][0]["consequence"]
    # What outlives the service is still the machine's.
    assert (Path("/dev/shm/left").stat().st_blocks * 512) >= 30 << 20
    Path("/dev/shm/left").unlink()
    run("systemctl", "stop", "needed.socket")


def test_with_private_pids_the_kernel_drops_a_signal_without_a_handler_and_the_check_says_so() -> None:
    known = systemd_version() >= 257  # An older systemd ignores PrivatePIDs=, with which nothing is dropped.
    handling = Leaky("handling")
    private = "PrivatePIDs=yes\n"
    with started(
        private=f"ExecStart=sleep infinity\n{private}",
        handling=f"ExecStart={handling.exec_line()}\n{private}",
    ):
        handling.wait_for("started")
        found = checked("-m", "60", "private.service", "handling.service")
        assert {unit: levels(findings) for unit, findings in found.items()} == {
            "private.service": {"signal-dropped": "error"} if known else {},
            "handling.service": {},
        }
        assert not known or "sleep" in found["private.service"][0]["consequence"]
        before = property_of("private.service", "InvocationID")
        run("systemctl", "kill", "--kill-whom=main", "private.service", "handling.service")
        # The one that handles it is started again; by then the other one would have been, too.
        handling.wait_for("started", 2)
        if known:
            assert property_of("private.service", "InvocationID") == before
        else:
            eventually(lambda: property_of("private.service", "InvocationID") != before, "it ends and starts")
        assert checked("-m", "60", "--restart", "private")["private.service"] == []


EXPECTED = {
    "stops.service": {"exec-stop": "warning"},
    "mixed.service": {"wrapper": "warning"},
    "process.service": {"wrapper": "error"},
    "group.service": {},
    "first.service": {"signal-dropped": "error"},
    "shares.service": {"shared-memory": "warning"},
    "iced.service": {"frozen": "warning"},
    "uncounted.service": {"memory-max-not-in-force": "warning", "no-memory-controller": "warning"},
    "needed.service": {"triggered": "note"},
    "needs-more.service": {"over-now": "error"},
}


def _names(directory: str) -> list[bytes]:
    return [path.name.encode() for path in Path(directory).iterdir()]


def _current(name: str) -> int:
    return int((CGROUPS / "system.slice" / f"{name}.service" / "memory.current").read_text())


def _shared(name: str) -> int:
    lines = (CGROUPS / "system.slice" / f"{name}.service" / "memory.stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("shmem "))


def test_a_share_of_the_machine_and_another_signal_than_its_own() -> None:
    with started(
        unlimited="ExecStart=sleep infinity\nMemoryMax=infinity",
        quits="ExecStart=sleep infinity\nKillSignal=SIGQUIT",
    ):
        found = checked("-m", "40%", "-s", "TERM", "unlimited", "quits")
        assert levels(found["unlimited.service"]) == {"no-memory-max": "warning"}
        assert levels(found["quits.service"]) == {"not-stop-signal": "warning"}
        assert checked("-m", "40%", "-s", "auto", "quits") == {"quits.service": []}
        with Monitor("-m", "90%", "unlimited.service", "quits.service") as monitor:
            monitor.wait_for(r"^unlimited\.service: ok: .*, 90% of the machine \(no MemoryMax=\)$")
            assert not monitor.lines_with("quits.service: .* of the machine")


def test_a_signal_bypasses_execstop_and_a_restart_doesnt() -> None:
    leaky = Leaky("bypassed")
    line = f"ExecStop=/bin/sh -c 'echo 0 0 ExecStop of $${{MAINPID:-none}} >> {leaky.directory}/said'"
    with started(bypassed=f"ExecStart={leaky.exec_line()}\n{line}"):
        leaky.wait_for("started")
        run("systemctl", "kill", "--kill-whom=main", "bypassed.service")
        leaky.wait_for("started", 2)
        assert leaky.said == ["started", "SIGTERM", "ExecStop of none", "started"]
        run("systemctl", "restart", "bypassed.service")
        leaky.wait_for("started", 3)
        said = leaky.said[4:]
        assert [word.split(" of ")[0] for word in said] == ["ExecStop", "SIGTERM", "started"]
        assert said[0] != "ExecStop of none"


def test_a_wrapper_is_held_until_its_kill_mode_is_another_and_nothing_is_multiplied() -> None:
    leaky = Leaky("wrapped")
    lines = f"ExecStart={SHELL.format(leaky.exec_line('grow 40'))}\nKillMode={{}}\nRestartSec=100ms"
    with (
        started(wrapped=lines.format("process")),
        Monitor("-m", "30", "-i", "0.5", "wrapped.service") as monitor,
    ):
        leaky.wait_for("grow 40")
        line = monitor.wait_for(r"^wrapped\.service: held: ")
        assert "a restart leaves its other processes running" in line
        assert len(copies("wrapped.service")) == 1
        assert property_of("wrapped.service", "NRestarts") == "0"
        # Followed, in the invocation that runs: the child is asked by systemd.
        (findings,) = checked("-m", "100", "wrapped").values()
        (finding,) = [one for one in findings if one["id"] == "wrapper"]
        assert finding["remedy"]["lines"] == ["[Service]", "KillMode=control-group"]
        write_unit("wrapped.service", service(lines.format("control-group")))
        run("systemctl", "daemon-reload")
        monitor.wait_for(r"^wrapped\.service: signalled: ")
        leaky.wait_for("SIGTERM")
        eventually(lambda: len(copies("wrapped.service")) == 1, "it runs again, once")
    assert "SIGTERM" in leaky.said


def test_what_a_restart_leaves_is_found_out_by_the_first_one() -> None:
    """As with the jobs of Debian's cron: restarted again and again, it was left down (StartLimitBurst=)."""
    leaky = Leaky("leaves")
    with started(leaves=f"ExecStart={leaky.exec_line()}\nKillMode=process"):
        leaky.wait_for("started")
        leaky.tell("child")
        leaky.tell("grow 40", "child")
        with Monitor("-m", "35", "-i", "0.5", "leaves.service") as monitor:
            monitor.wait_for(r"^leaves\.service: signalled: ")
            monitor.wait_for(r"^leaves\.service: held: .*a restart leaves its other processes running")
            assert len(monitor.lines_with("signalled: ")) == 1
        assert property_of("leaves.service", "NRestarts") == "1"
        assert leaky.said.count("SIGTERM") == 1


def test_with_kill_mode_mixed_the_child_is_killed() -> None:
    leaky = Leaky("killed")
    with started(killed=f"ExecStart={SHELL.format(leaky.exec_line())}\nKillMode=mixed"):
        leaky.wait_for("started")
        run("systemctl", "kill", "--kill-whom=main", "killed.service")
        leaky.wait_for("started", 2)
        assert leaky.said == ["started", "started"]


def test_what_a_socket_starts_is_no_warning_at_the_start_and_not_missed_when_it_has_ended() -> None:
    leaky = Leaky("called")
    start_socket("called")
    with (
        started(called=f"ExecStart={leaky.exec_line()}\nRestart=no"),
        Monitor("-m", "30", "-i", "0.5", "called.service") as monitor,
    ):
        assert not monitor.lines_with("warning")
        leaky.wait_for("started")
        leaky.tell("grow 40")
        monitor.wait_for(
            r"^called\.service: ended after .*; it is started by called\.socket when it is needed$"
        )
        assert not monitor.lines_with("isn't back")
    run("systemctl", "stop", "called.socket")


def rule(verb: str) -> None:
    """Let tester do this to foreign.service."""
    unit = f'action.lookup("unit") == "foreign.service" && action.lookup("verb") == "{verb}"'
    RULES.write_text(f"polkit.addRule(function(action) {{ if ({unit}) return polkit.Result.YES; }});\n")
    run("systemctl", "restart", "polkit.service")


def test_what_systemd_doesnt_permit_is_said_at_the_start_and_found_out_for_jobs_too() -> None:
    with Service("foreign.service", properties=(*HEALTHY, "MemoryMax=1G")) as service:
        with Monitor("-m", "400", "foreign.service", user="tester") as monitor:
            warning = monitor.wait_for(
                r"^warning: foreign\.service: systemd doesn't permit this user to signal it: "
            )
            assert warning.endswith(" by a polkit rule")
        try:
            restart = ("-m", "400", "--restart", "foreign")
            assert levels(checked(*restart, prefix=AS_TESTER)["foreign.service"]) == {
                "not-permitted": "error"
            }
            rule("try-restart")
            assert checked(*restart, prefix=AS_TESTER) == {"foreign.service": []}
            with Monitor(*restart, user="tester") as monitor:
                assert not monitor.lines_with("doesn't permit")
        finally:
            RULES.unlink(missing_ok=True)
            run("systemctl", "restart", "polkit.service")
        assert service.said == ["started"]


def test_a_users_manager_without_dbus_is_said_with_the_package_that_helps() -> None:
    as_user = ("runuser", "-u", "tester", "--", "env", "XDG_RUNTIME_DIR=/run/user/1000")
    run(*as_user, "systemctl", "--user", "stop", "dbus.socket", "dbus.service")
    Path("/run/user/1000/bus").unlink(missing_ok=True)
    try:
        command = (*as_user, "memory-monitor", "--check", "--user", "-m", "400", "mine")
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 2
        assert done.stderr.startswith("memory-monitor: --user: the user's service manager has no D-Bus: ")
        assert "; install dbus-user-session and log in again" in done.stderr
    finally:
        run(*as_user, "systemctl", "--user", "start", "dbus.socket")


def test_a_wait_that_is_longer_than_the_way_to_the_limit() -> None:
    """Of a service that is as old as the machine; nothing is sent."""
    unit = "systemd-journald.service"
    begun_s = int(property_of(unit, "ExecMainStartTimestampMonotonic")) / 1e6
    eventually(lambda: time.monotonic() - begun_s > 60, "it is old enough", 90)
    run("systemctl", "set-property", "--runtime", unit, "MemoryMax=400M")
    try:
        (finding,) = [
            one for one in checked("-m", "300", "--for", "10h", unit)[unit] if one["id"] == "for-too-long"
        ]
        assert finding["level"] == "warning"
        option = finding["remedy"]["option"].split()
        assert "for-too-long" not in levels(checked("-m", "300", *option, unit)[unit])
    finally:
        run("systemctl", "set-property", "--runtime", unit, "MemoryMax=infinity")
