"""`--check` on real units: what it finds of each, that systemd does so, and that it acts on nothing."""

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from kit import (
    CGROUPS,
    Leaky,
    Monitor,
    MonitorUnit,
    Service,
    eventually,
    properties_of,
    property_of,
    run,
    write_unit,
)

AS_TESTER = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--")
HEALTHY = ("Restart=always", "MemoryMax=1G", "TimeoutStopSec=5")
NO_LIMIT = "StartLimitIntervalSec=0"
RULES = Path("/etc/polkit-1/rules.d/check.rules")


def check(*arguments: str, prefix: Sequence[str] = ()) -> tuple[int, dict[str, Any]]:
    """The exit status, and the report as JSON."""
    done = subprocess.run(
        (*prefix, "memory-monitor", "--check", "--json", *arguments),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def check_text(*arguments: str) -> str:
    done = subprocess.run(
        ("memory-monitor", "--check", *arguments), capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.stdout, done.stderr
    return done.stdout


def levels(report: Mapping[str, Any]) -> dict[str, str]:
    """The level of each finding by its id, of the only target of the only name."""
    ((target,),) = [name["targets"] for name in report["names"]]
    return {finding["id"]: finding["level"] for finding in target["findings"]}


def found(*arguments: str, prefix: Sequence[str] = ()) -> tuple[int, dict[str, str]]:
    status, report = check(*arguments, prefix=prefix)
    return status, levels(report)


def test_nothing_is_found_of_a_healthy_service_and_it_goes_on() -> None:
    with Service("healthy.service", "grow 40", properties=HEALTHY) as service:
        before = properties_of(
            "healthy.service", "InvocationID", "MainPID", "NRestarts", "StateChangeTimestamp"
        )
        status, report = check("-m", "400", "healthy")
        assert (status, levels(report)) == (0, {})
        (name,) = report["names"]
        assert (name["kind"], name["why"]) == ("unit", "a unit of that name is loaded")
        (target,) = name["targets"]
        readings = target["readings_bytes"]
        assert 40 << 20 <= readings["anon"] <= readings["unreclaimable"] <= readings["current"]
        assert target["action"] == {
            "what": "signal",
            "signal": "SIGTERM",
            "whom": "main",
            "pids": [service.pid],
        }
        text = run("memory-monitor", "--check", "-m", "400", "healthy")
        assert text.endswith("\n\nno problems found")
        after = properties_of(
            "healthy.service", "InvocationID", "MainPID", "NRestarts", "StateChangeTimestamp"
        )
        assert after == before
        assert service.said == ["started", "grow 40"]


BROKEN: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "no": ("-m 400", ("Restart=no",), {"no-restart": "error"}),
    "on-failure": ("-m 400", ("Restart=on-failure",), {"stays-down": "error"}),
    "remains": ("-m 400", ("Restart=always", "RemainAfterExit=yes"), {"remains-after-exit": "error"}),
    "prevented": (
        "-m 400",
        ("Restart=always", "RestartPreventExitStatus=0"),
        {"restart-prevented": "error"},
    ),
    "forced": ("-m 400", ("Restart=on-failure", "RestartForceExitStatus=0 143 SIGTERM"), {}),
    "below": ("-m 100", ("Restart=always", "MemoryMax=100M", NO_LIMIT), {"memory-max-below": "error"}),
    "close": ("-m 99.5%", ("Restart=always", "MemoryMax=100M", NO_LIMIT), {"memory-max-close": "warning"}),
    "high": ("-m 100", ("Restart=always", "MemoryHigh=100M", NO_LIMIT), {"memory-high-below": "warning"}),
    "kill-mode": ("-m 400", ("Restart=always", "KillMode=process"), {"kill-mode": "warning"}),
    "oom-policy": ("-m 400", ("Restart=always", "OOMPolicy=continue"), {"oom-policy": "note"}),
    "limited": (
        "-m 400",
        ("Restart=always", "StartLimitBurst=2", "StartLimitIntervalSec=1h"),
        {"start-limit": "warning"},
    ),
}
"""Options of the check, properties of the unit, and the level of each finding."""


def test_each_thing_that_is_broken_is_found_and_nothing_else() -> None:
    def started(name: str) -> Service:
        return Service(f"broken-{name}.service", properties=(*BROKEN[name][1], "TimeoutStopSec=3"))

    with ThreadPoolExecutor() as pool:
        services = dict(zip(BROKEN, pool.map(started, BROKEN), strict=True))
    try:
        pids = {name: service.pid for name, service in services.items()}
        seen: dict[str, dict[str, str]] = {}
        for options in sorted({row[0] for row in BROKEN.values()}):
            asked = [name for name in BROKEN if BROKEN[name][0] == options]
            status, report = check(*options.split(), *(f"broken-{name}" for name in asked))
            assert status == 3
            for name, one in zip(asked, report["names"], strict=True):
                (target,) = one["targets"]
                seen[name] = {finding["id"]: finding["level"] for finding in target["findings"]}
        assert seen == {name: row[2] for name, row in BROKEN.items()}
        assert {name: service.pid for name, service in services.items()} == pids
        assert {word for service in services.values() for word in service.said} == {"started"}
    finally:
        run("systemctl", "stop", *(service.unit for service in services.values()))


RESTARTS = (
    ("Restart=no",),
    ("Restart=always",),
    ("Restart=on-success",),
    ("Restart=on-failure",),
    ("Restart=on-abnormal",),
    ("Restart=on-failure", "SuccessExitStatus=3", "RestartForceExitStatus=SIGTERM"),
    ("Restart=on-failure", "RestartForceExitStatus=0"),
    ("Restart=always", "RestartPreventExitStatus=SIGTERM"),
    ("Restart=always", "RestartPreventExitStatus=0"),
    ("Restart=always", "RemainAfterExit=yes"),
)
PROGRAMS = (("sleep", "infinity"), ("sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"))
"""One dies of SIGTERM, the other handles it and ends with status 0."""


def test_systemd_does_what_the_report_says() -> None:
    """Of every unit that gets an error systemd leaves it down after SIGTERM, and starts every other."""
    units = {
        f"asked-{number}.service": (*properties, program[0])
        for number, (properties, program) in enumerate(product(RESTARTS, PROGRAMS))
    }
    for unit, (properties, program) in zip(units, product(RESTARTS, PROGRAMS), strict=True):
        execute = shlex.join(("/usr/bin/env", *program))
        lines = "\n".join(("[Unit]", NO_LIMIT, "[Service]", f"ExecStart={execute}", *properties, ""))
        write_unit(unit, lines)
    run("systemctl", "start", *units)
    try:
        for unit in list(units)[1::2]:
            eventually(lambda: _handles_sigterm(unit), f"{unit} has set its trap")  # noqa: B023 - called here
        _, report = check("-m", "400", *units)
        said_down = {
            name["name"]: any(finding["level"] == "error" for finding in name["targets"][0]["findings"])
            for name in report["names"]
        }
        first = {unit: property_of(unit, "MainPID") for unit in units}
        run("systemctl", "kill", "--kill-whom=main", *units)
        for unit in units:
            eventually(lambda: _has_settled(unit, first[unit]), f"{unit} is down or runs again")  # noqa: B023
        is_down = {unit: property_of(unit, "SubState") in DOWN for unit in units}
        assert is_down == said_down, units
        assert set(is_down.values()) == {True, False}
    finally:
        subprocess.run(("systemctl", "stop", *units), capture_output=True, check=False)
        subprocess.run(("systemctl", "reset-failed", *units), capture_output=True, check=False)


DOWN = ("dead", "failed", "exited")


def _has_settled(unit: str, first_pid: str) -> bool:
    now = properties_of(unit, "SubState", "MainPID")
    return now["SubState"] in DOWN or (now["SubState"] == "running" and now["MainPID"] != first_pid)


def _handles_sigterm(unit: str) -> bool:
    status = Path("/proc", property_of(unit, "MainPID"), "status").read_text()
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", status)
    return bool(int(caught, 16) & 1 << signal.SIGTERM - 1)


def test_the_page_cache_in_the_metric_is_a_warning() -> None:
    with Service("cache.service", "cache 60", properties=HEALTHY) as service:
        service.wait_for("cache 60")
        assert found("-m", "400", "--metric", "current", "cache")[1] == {"page-cache": "warning"}
        assert found("-m", "400", "cache") == (0, {})


@contextmanager
def swap_of_64_mib() -> Iterator[None]:
    file = "/var/tmp/swapfile"
    run("dd", "if=/dev/zero", f"of={file}", "bs=1M", "count=64", "status=none")
    Path(file).chmod(0o600)
    run("mkswap", file)
    run("swapon", file)
    try:
        yield
    finally:
        run("swapoff", file)
        Path(file).unlink()


def test_swap_that_hides_a_leak_is_said_and_not_where_it_is_counted() -> None:
    unswappable = (*HEALTHY, "MemorySwapMax=0")
    with (
        swap_of_64_mib(),
        Service("swaps.service", properties=HEALTHY),
        Service("unswappable.service", properties=unswappable),
    ):
        assert found("-m", "400", "swaps") == (0, {"swap-hides": "note"})
        assert found("-m", "400", "--swap", "swaps") == (0, {})
        assert found("-m", "400", "unswappable") == (0, {})


def test_a_forking_service_without_a_pid_file_has_no_main_process() -> None:
    write_unit(
        "forking.service",
        '[Service]\nType=forking\nExecStart=/bin/sh -c "sleep infinity & sleep infinity &"\n'
        "Restart=always\nTimeoutStopSec=5\n",
    )
    run("systemctl", "start", "forking.service")
    try:
        status, report = check("-m", "400", "forking")
        assert (status, levels(report)) == (3, {"main-unknown": "warning"})
        ((target,),) = [name["targets"] for name in report["names"]]
        assert target["action"]["whom"] == "all"
        assert len(target["action"]["pids"]) == 2
    finally:
        run("systemctl", "stop", "forking.service")


def test_where_the_main_process_has_ended_nobody_would_be_signalled() -> None:
    """What a oneshot leaves in the background is none of the signal's business, unless all are asked for."""
    write_unit(
        "left.service",
        '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c "sleep infinity &"\n'
        "TimeoutStopSec=5\n",
    )
    run("systemctl", "start", "left.service")
    try:
        status, report = check("-m", "400", "left")
        assert (status, levels(report)) == (3, {"nobody-to-signal": "error"})
        ((target,),) = [name["targets"] for name in report["names"]]
        assert (target["action"]["whom"], target["action"]["pids"]) == (None, [])
        text = check_text("-m", "400", "left")
        assert "  action     none: its main process has ended\n" in text
        _, report = check("-m", "400", "--kill-whom", "all", "left")
        ((target,),) = [name["targets"] for name in report["names"]]
        assert target["action"]["whom"] == "all"
        assert len(target["action"]["pids"]) == 1
        # The monitor does as it says: at once above the threshold, and sleep still there.
        with Monitor("-m", "0.0001%", "-i", "0.1", "left.service") as monitor:
            monitor.wait_for("left.service: not signalled: .*its main process has ended")
        assert len(Path(CGROUPS, "system.slice/left.service/cgroup.procs").read_text().split()) == 1
    finally:
        run("systemctl", "stop", "left.service")


def test_a_service_that_ignores_the_signal_is_an_error() -> None:
    run("systemd-run", "--quiet", "--collect", "--unit=deaf",
        "--property=Restart=always", "--property=TimeoutStopSec=1",
        "sh", "-c", "trap '' TERM; sleep infinity")  # fmt: skip
    try:
        eventually(
            lambda: found("-m", "400", "deaf") == (3, {"signal-ignored": "error"}), "its shell has begun"
        )
    finally:
        run("systemctl", "stop", "deaf.service")


def stop_of_the_other_monitor() -> str:
    """The command that the only finding, about another monitor of watched.service, gives."""
    status, report = check("-m", "400", "watched")
    assert (status, levels(report)) == (3, {"already-monitored": "warning"})
    return str(report["names"][0]["targets"][0]["findings"][0]["remedy"]["command"])


def test_another_monitor_of_it_is_a_warning_with_the_way_to_stop_that_one_alone() -> None:
    with Service("watched.service", properties=HEALTHY):
        # A child of this job's service, which isn't stopped to stop it.
        with Monitor("-m", "300", "watched") as child:
            assert stop_of_the_other_monitor() == f"kill {child.pid}"
            assert found("-m", "400", "watched.service") == (3, {"already-monitored": "warning"})
        with MonitorUnit("watcher.service", "-m", "300", "watched"):
            assert stop_of_the_other_monitor() == "systemctl stop watcher.service"
        assert found("-m", "400", "watched") == (0, {})


def test_what_another_user_may_is_found_out_without_doing_it() -> None:
    run("systemctl", "stop", "polkit.service")  # The question starts it: that takes longer than a call may.
    with Service("foreign.service", properties=HEALTHY) as service:
        assert found("-m", "400", "foreign", prefix=AS_TESTER) == (3, {"not-permitted": "error"})
        with Service("own.service", properties=(*HEALTHY, "User=tester")) as own:
            # systemd's no is final, though the kernel would let it.
            status, report = check("-m", "400", "own", prefix=AS_TESTER)
            assert (status, levels(report)) == (3, {"not-permitted": "error"})
            may = report["names"][0]["targets"][0]["may_signal"]
            assert may == {"by_systemd": False, "directly": True}
            assert own.said == ["started"]
        rule = 'action.lookup("unit") == "foreign.service" && action.lookup("verb") == "kill"'
        RULES.write_text(f"polkit.addRule(function(action) {{ if ({rule}) return polkit.Result.YES; }});\n")
        run("systemctl", "restart", "polkit.service")
        try:
            assert found("-m", "400", "foreign", prefix=AS_TESTER) == (0, {"no-direct-signal": "note"})
            restart = ("-m", "400", "--restart", "foreign")
            assert found(*restart, prefix=AS_TESTER) == (3, {"not-permitted": "error"})
        finally:
            RULES.unlink()
            run("systemctl", "restart", "polkit.service")
        assert service.said == ["started"]


def test_a_proc_that_hides_processes_is_said_to_those_who_dont_see_them() -> None:
    run("mount", "-o", "remount,hidepid=2", "/proc")
    try:
        with Service("hidden.service", properties=HEALTHY):
            assert found("-m", "400", "hidden", prefix=AS_TESTER)[1]["hidepid"] == "note"
            assert found("-m", "400", "hidden") == (0, {})
    finally:
        run("mount", "-o", "remount,hidepid=0", "/proc")


def test_a_unit_without_the_memory_controller_is_a_warning() -> None:
    write_unit("uncounted.slice", "[Slice]\nDisableControllers=memory\n")
    with Service("uncounted.service", properties=(*HEALTHY, "Slice=uncounted.slice")):
        status, report = check("-m", "400", "uncounted")
        found = {"no-memory-controller": "warning", "memory-max-not-in-force": "warning"}
        assert (status, levels(report)) == (3, found)
        ((target,),) = [name["targets"] for name in report["names"]]
        assert target["metric"] == "rss"
        assert target["usage_bytes"] > 1 << 20


def test_a_glob_reports_each_unit_and_several_names_each() -> None:
    with (
        Service("fleet@1.service", properties=HEALTHY),
        Service("fleet@2.service", properties=("Restart=no", "TimeoutStopSec=5")),
    ):
        status, report = check("-m", "400", "fleet@*", "fleet@1.service")
        glob, alone = report["names"]
        assert [target["name"] for target in glob["targets"]] == ["fleet@1.service", "fleet@2.service"]
        assert [len(target["findings"]) for target in glob["targets"]] == [0, 1]
        assert alone["targets"] == glob["targets"][:1]
        assert status == 3


def test_an_owner_is_the_unit_that_the_processes_belong_to() -> None:
    with Service("owned.service", "name owned-proc", properties=HEALTHY) as service:
        _, report = check("-m", "400", "--as", "owner", "owned-pr")
        (name,) = report["names"]
        assert [target["name"] for target in name["targets"]] == ["owned.service"]
        status, report = check("-m", "400", "--as", "process", "owned-pr")
        assert (status, levels(report)) == (0, {"part-of-unit": "note"})
        ((target,),) = [name["targets"] for name in report["names"]]
        assert target["unit"] == "owned.service"
        assert "the main process of owned.service" in target["findings"][0]["consequence"]
        assert service.said == ["started", "name owned-proc"]


def test_a_process_that_is_the_main_one_of_a_service_stays_down_with_it() -> None:
    with Service("weak.service", "name weak-proc", properties=("Restart=on-failure",)):
        status, findings = found("-m", "400", "--as", "process", "weak-proc")
        assert (status, findings) == (3, {"part-of-unit": "note", "stays-down": "error"})


def test_a_unit_is_not_what_a_delegated_subtree_calls_itself() -> None:
    """A container's own x.service is in a cgroup of that name, and so is whatever a user makes."""
    with (
        Service("outer.service", "name nested-proc", properties=(*HEALTHY, "Delegate=yes")) as outer,
        Service("inner.service", properties=("Restart=no", "TimeoutStopSec=5")),
    ):
        nested = outer.cgroup / "inner.service"
        nested.mkdir()
        (nested / "cgroup.procs").write_text(str(outer.pid))
        status, report = check("-m", "400", "--as", "process", "nested-proc")
        assert (status, levels(report)) == (0, {"part-of-unit": "note"})
        ((target,),) = [name["targets"] for name in report["names"]]
        assert target["unit"] == "outer.service"
        advice = target["findings"][0]["remedy"]["advice"]
        assert advice == "name outer.service instead of the process"


def test_a_limit_of_zero_is_an_error_and_no_traceback() -> None:
    write_unit("nothing.slice", "[Slice]\nMemoryMax=1\n")  # The kernel counts whole pages.
    run("systemctl", "start", "nothing.slice")
    try:
        status, findings = found("-m", "80%", "nothing.slice")
        assert (status, findings["memory-max-below"]) == (3, "error")
        assert "threshold  0 B (unreclaimable): 80% of MemoryMax=0 B of nothing.slice" in check_text(
            "-m", "80%", "nothing.slice"
        )
    finally:
        run("systemctl", "stop", "nothing.slice")


def test_a_stopped_unit_is_checked_by_its_file() -> None:
    write_unit(
        "resting.service",
        "[Service]\nExecStart=/bin/sleep infinity\nRestart=on-failure\nMemoryMax=100M\nTimeoutStopSec=5\n",
    )
    status, findings = found("-m", "100", "resting")
    assert status == 3
    assert findings == {"stays-down": "error", "memory-max-below": "error", "not-running": "note"}


@pytest.mark.parametrize("name", ["helthy", "helthy.service"])
def test_the_nearest_names_are_said_where_there_is_no_such_unit(name: str) -> None:
    with Service("healthy.service", properties=HEALTHY):
        done = subprocess.run(
            ("memory-monitor", "--check", "-m", "400", name), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (4, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"memory-monitor: '{name}': ")
        assert "healthy.service" in line.partition("; did you mean ")[2]


def test_when_monitoring_starts_a_service_that_would_stay_down_is_a_warning() -> None:
    with (
        Service("doomed.service", properties=("Restart=on-failure",)),
        Service("doomed@1.service", properties=("Restart=no",)),
        Service("blessed.service", properties=HEALTHY),
        Monitor("-m", "400", "doomed", "doomed@*", "blessed") as monitor,
    ):
        warnings = monitor.lines_with("^warning: ")
        assert len(warnings) == 2, monitor.log
        treats = r"Restart=on-failure: systemd treats an exit on SIGTERM"
        assert re.match(rf"warning: doomed\.service: {treats}", warnings[0])
        assert re.match(r"warning: doomed@1\.service: Restart=no: ", warnings[1])


def test_a_users_service_is_checked_by_its_user() -> None:
    leaky = Leaky("mine")
    units = Path("/run/systemd/user")
    units.mkdir(exist_ok=True)
    Path(units, "mine.service").write_text(
        f"[Service]\nExecStart={leaky.exec_line('name users-proc')}\nRestart=on-failure\nTimeoutStopSec=5\n"
    )
    as_user = ("runuser", "-u", "tester", "--", "env", "XDG_RUNTIME_DIR=/run/user/1000")
    run(*as_user, "systemctl", "--user", "start", "mine.service")
    try:
        status, report = check("--user", "-m", "400", "mine", prefix=as_user)
        assert (status, levels(report)) == (3, {"stays-down": "error"})
        ((target,),) = [name["targets"] for name in report["names"]]
        assert target["findings"][0]["remedy"]["command"] == "systemctl --user edit mine.service"
        assert target["may_signal"] == {"by_systemd": True, "directly": True}
        # To the system's manager it belongs to user@1000.service, which nobody should restart for it.
        status, report = check("-m", "400", "--as", "process", "users-proc")
        assert (status, levels(report)) == (0, {"part-of-unit": "note"})
        ((target,),) = [name["targets"] for name in report["names"]]
        assert target["unit"] == "user@1000.service"
        advice = target["findings"][0]["remedy"]["advice"]
        assert advice == "if it is a service, name that, with --user, as that user"
    finally:
        run(*as_user, "systemctl", "--user", "stop", "mine.service")
