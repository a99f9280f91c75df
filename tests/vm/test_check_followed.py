"""`--check` obeyed to the letter: what it advises is accepted by systemd, and ends at "nothing found"."""

import os
import pty
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kit import WORK, Leaky, Monitor, eventually, properties_of, property_of, run, systemd_version, write_unit
from shipped import Monitored, Shipped, leave_no_configuration, start, stop
from test_check import check, found, levels

from memmon_systemd.conf_file import read_conf

YOUNGEST_S = 61.0
"""From this age on the growth of an invocation is used."""
OPEN_ROUNDS = 6


def findings_of(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of the only target of the only name."""
    ((target,),) = [name["targets"] for name in report["names"]]
    found: list[dict[str, Any]] = target["findings"]
    return found


def do(command: str, lines: list[str]) -> None:
    """Runs what a remedy says; with `systemctl edit` the lines are typed into the file that it opens."""
    WORK.mkdir(exist_ok=True)
    typed, editor = WORK / "typed", WORK / "editor"
    typed.write_text("".join(f"{line}\n" for line in lines))
    # systemd 257 puts the line to begin at (+4) before the name of the file.
    last = "for file; do :; done\n"
    editor.write_text(f'#!/bin/sh\n{last}sed -i "/^### Anything between here/r {typed}" "$file"\n')
    editor.chmod(0o755)
    terminal, theirs = pty.openpty()
    try:
        environment = os.environ | {"SYSTEMD_EDITOR": str(editor), "TERM": "dumb"}
        done = subprocess.run(
            shlex.split(command), stdin=theirs, stdout=theirs, stderr=theirs, env=environment, check=False
        )
        assert done.returncode == 0, (command, os.read(terminal, 4096))
    finally:
        os.close(theirs)
        os.close(terminal)


def follow(options: tuple[str, ...], unit: str) -> list[str]:
    """Obeys one finding after the other until none is left; the ids, in the order in which they went."""
    gone: list[str] = []
    for _ in range(OPEN_ROUNDS):
        status, report = check(*options, unit)
        open_ones = findings_of(report)
        if not open_ones:
            assert status == 0
            return gone
        first = open_ones[0]
        print(unit, *options, first)
        assert first["id"] not in gone, "it was obeyed before"
        gone.append(first["id"])
        if first["remedy"]["command"]:
            do(first["remedy"]["command"], first["remedy"]["lines"])
            # Of a unit that runs, systemd 257 takes a new limit at its next start only; 252 at the reload.
            for line in first["remedy"]["lines"]:
                if line.startswith("MemoryMax=") and systemd_version() >= 257:
                    run("systemctl", "set-property", "--runtime", unit, line)
        if first["remedy"]["option"]:
            options = (*options, *first["remedy"]["option"].split())
    raise AssertionError(f"{unit}: no end: {gone}")


LIMITED = "Restart=always\nTimeoutStopSec=5\nMemoryMax=64M\n"
FOLLOWED: dict[str, tuple[str, str, str, list[str]]] = {
    # At some 0.6 MiB/s from 99% of 64 MiB to the limit it is 1 s; a lower share is enough.
    "moves-along": ("-m 99%", LIMITED, "grow 40", ["memory-max-close"]),
    # 90 s of the growth are more than a quarter of the limit: it has to be raised, and the share moves along.
    "is-raised": ("-m 90%", "Restart=always\nMemoryMax=40M\n", "grow 20", ["memory-max-close"]),
    "is-below": ("-m 100 --hard 110", LIMITED, "grow 1", ["memory-max-below", "hard-above-max"]),
    "stays-down": ("-m 70%", LIMITED.replace("always", "on-failure"), "grow 1", ["stays-down"]),
}
"""Options, lines of [Service], an order, and the findings, in the order in which they are obeyed."""


def test_what_is_advised_ends_at_nothing_found() -> None:
    services = {
        name: Monitored(name, order, service=lines) for name, (_, lines, order, _) in FOLLOWED.items()
    }
    limited = Monitored("is-limited", "grow 1", service=LIMITED)
    text = limited.file.read_text().replace(
        "StartLimitIntervalSec=0", "StartLimitBurst=2\nStartLimitIntervalSec=1d"
    )
    limited.file.write_text(text)
    begun_s = time.monotonic()
    start(*services.values(), limited)
    try:
        for name, service in services.items():
            service.wait_for(FOLLOWED[name][2])
        # The growth isn't seen yet, so it is assumed; the limit of starts, and what replaces it.
        _, report = check("-m", "50%", "is-limited.service")
        (finding,) = findings_of(report)
        assert finding["remedy"]["option"] == "--budget 10/1h"
        assert "assumed" in finding["consequence"]
        assert follow(("-m", "50%"), "is-limited.service") == ["start-limit"]
        assert property_of("is-limited.service", "StartLimitIntervalUSec") == "0"
        eventually(lambda: time.monotonic() - begun_s > YOUNGEST_S, "they are old enough", YOUNGEST_S * 2)
        for name, (options, _, _, ids) in FOLLOWED.items():
            _, report = check(*options.split(), f"{name}.service")
            close = [one for one in findings_of(report) if one["id"] == "memory-max-close"]
            assert all("as in this invocation" in one["consequence"] for one in close)
            assert follow(tuple(options.split()), f"{name}.service") == ids
    finally:
        run("systemctl", "stop", *(service.unit for service in (*services.values(), limited)))
        for service in (*services.values(), limited):
            run("systemctl", "revert", service.unit)


TYPES = ("simple", "exec", "forking", "oneshot", "dbus", "notify", "idle")
WORST = (
    "[Unit]\nDescription=x\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n"
    "[Service]\nType={type}\nExecStart=/bin/sleep infinity\nRestart={restart}\n{more}\n"
    "RestartPreventExitStatus=0 143\nMemoryMax=1M\nKillMode=process\nOOMPolicy=continue\n"
)


def test_systemd_accepts_what_is_advised_for_every_type_of_service() -> None:
    """`systemd-analyze verify` says nothing, and the unit can still be loaded."""
    kinds = (*TYPES, *(("notify-reload",) if systemd_version() >= 253 else ()))
    units = {
        f"typed-{kind}-{restart}.service": WORST.format(
            type=kind, restart=restart, more=f"BusName=org.example.{restart}" if kind == "dbus" else ""
        )
        + ("RemainAfterExit=yes\n" if remains else "")
        for kind in kinds
        for restart, remains in (("no", True), ("on-failure", False), ("on-abort", False))
    }
    for unit, text in units.items():
        Path("/run/systemd/system", unit).write_text(text)
    run("systemctl", "daemon-reload")
    try:
        advised: dict[str, list[str]] = {unit: [] for unit in units}
        # Of one that would stay down the limit of starts is only found in the next round.
        for options in (("-m", "90%"), ("-m", "90%"), ("-m", "90%", "--restart")):
            _, report = check(*options, *units)
            for name in report["names"]:
                (target,) = name["targets"]
                lines = [line for one in target["findings"] for line in one["remedy"]["lines"]]
                advised[target["name"]] += lines
                drop_in = Path("/run/systemd/system", f"{target['name']}.d", "override.conf")
                drop_in.parent.mkdir(exist_ok=True)
                drop_in.write_text("".join(f"{line}\n" for line in advised[target["name"]]))
            run("systemctl", "daemon-reload")
        restarts = {
            unit: {line for line in lines if line.startswith("Restart=")} for unit, lines in advised.items()
        }
        for unit, lines in advised.items():
            assert {"StartLimitIntervalSec=0", "KillMode=control-group", "OOMPolicy=stop"} <= set(lines), unit
            assert any(line.startswith("MemoryMax=") for line in lines), (unit, lines)
            if "oneshot" not in unit:
                assert restarts[unit] == {"Restart=always"}
        assert restarts["typed-oneshot-no.service"] == set()
        assert restarts["typed-oneshot-on-abort.service"] == {"Restart=on-failure"}
        done = verified(*units)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert {property_of(unit, "LoadState") for unit in units} == {"loaded"}
    finally:
        for unit in units:
            Path("/run/systemd/system", unit).unlink()
        run("systemctl", "daemon-reload")


def test_a_verification_of_a_forbidden_advice_fails() -> None:
    """What the test above rests on: systemd-analyze finds what was advised before."""
    write_unit("forbidden-restart.service", "[Service]\nType=oneshot\nExecStart=/bin/true\nRestart=always\n")
    done = verified("forbidden-restart.service")
    assert "Restart= set to either always or on-success" in done.stderr
    assert property_of("forbidden-restart.service", "LoadState") == "bad-setting"


def verified(*units: str) -> subprocess.CompletedProcess[str]:
    command = ("systemd-analyze", "verify", "--recursive-errors=no", *units)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_oneshot_that_is_asked_as_advised_is_restarted() -> None:
    leaky = Leaky("job")
    write_unit("job.service", f"[Service]\nType=oneshot\nExecStart={leaky.exec_line('grow 1')}\n")
    run("systemctl", "start", "--no-block", "job.service")
    try:
        leaky.wait_for("grow 1")
        assert found("-m", "30", "job")[1]["no-restart"] == "error"
        _, report = check("-m", "30", "job")
        (finding,) = [one for one in findings_of(report) if one["id"] == "no-restart"]
        assert finding["remedy"]["option"] == "--restart"
        assert found("-m", "30", "--restart", "job") == (0, {})
        first = property_of("job.service", "InvocationID")
        with Monitor("-m", "30", "-i", "0.2", "--restart", "job") as monitor:
            leaky.tell("grow 60")
            monitor.wait_for("TryRestartUnit")
            leaky.wait_for("started", 2)
        assert property_of("job.service", "InvocationID") != first
    finally:
        run("systemctl", "kill", "--signal=KILL", "job.service")
        run("systemctl", "stop", "job.service")
        run("systemctl", "reset-failed", "job.service")


@pytest.fixture
def configured() -> Iterator[tuple[Monitored, Shipped]]:
    """A service that runs, and its monitor, which is configured, but not started."""
    service = Monitored("known", "grow 1", service=LIMITED)
    monitor = Shipped("known", "MAX_MEMORY=70%\nOPTIONS=--for 1s --budget 5/1h\n")
    start(service)
    yield service, monitor
    stop(service, monitor)
    leave_no_configuration()


def test_without_a_threshold_the_settings_in_force_are_checked(configured: tuple[Monitored, Shipped]) -> None:
    service, monitor = configured
    service.wait_for("grow 1")
    options = ["-m", "70%", "-i", "2", "-s", "auto", "--for", "1s", "--budget", "5/1h"]
    for name in ("known", "known.service", "memory-monitor@known", monitor.unit):
        status, report = check(name)
        assert (status, levels(report)) == (3, {"not-monitored": "warning"})
        ((target,),) = [one["targets"] for one in report["names"]]
        assert target["monitor"]["options"] == options
        assert target["monitor"]["files"] == ["/etc/memory-monitor/known.conf"]
        assert target["limit_bytes"] == round((64 << 20) * 0.7)
    # A drop-in is in force, too, and the file is stronger than Environment=.
    write_unit(f"{monitor.unit}.d/more.conf", "[Service]\nEnvironment=INTERVAL=1 MAX_MEMORY=50%%\n")
    _, report = check("known")
    ((target,),) = [one["targets"] for one in report["names"]]
    assert target["monitor"]["options"] == [*options[:3], "1", *options[4:]]
    # What is advised starts it, and then all is well: also for the same options on the command line.
    do(target["findings"][0]["remedy"]["command"], [])
    assert found("known") == (0, {"monitored": "note"})
    same = ("-m", "70%", "-i", "1", "--for", "1s", "--budget", "5/1h", "known")
    assert found(*same) == (0, {"monitored": "note"})
    # Other options: the monitor that is there isn't stopped.
    _, report = check("-m", "60%", "known")
    (finding,) = findings_of(report)
    assert (finding["id"], finding["remedy"]["command"]) == (
        "already-monitored",
        f"systemctl restart {monitor.unit}",
    )
    # Changed, but not restarted.
    Path("/etc/memory-monitor/known.conf").write_text("MAX_MEMORY=60%\n")
    assert follow_settings() == {"settings-not-in-force": "warning"}
    assert found("known") == (0, {"monitored": "note"})
    assert properties_of(monitor.unit, "NRestarts") == {"NRestarts": "0"}
    run("systemctl", "disable", monitor.unit)
    run("systemctl", "revert", monitor.unit)


def follow_settings() -> dict[str, str]:
    """The findings of known.service, each obeyed once."""
    _, report = check("known")
    for finding in findings_of(report):
        do(finding["remedy"]["command"], finding["remedy"]["lines"])
    return levels(report)


ODD = (
    "\ufeffMAX_MEMORY=1%\nexport INTERVAL=3\nSIGNAL: INT\nMAXMEMORY=2%\n"
    'A = 1 2 \nB=\'1\'"2"3\nC="a\\"\\$b\\c"\nD=a\\b\\\n c\nE=a"b"\n;F=1\n# x\nG=\r\nH=x # y\nI=\'a\nb\'\n'
)


@pytest.mark.usefixtures("configured")
def test_a_settings_file_is_read_as_systemd_reads_it() -> None:
    path = Path("/etc/memory-monitor/known.conf")
    path.write_text(ODD)
    printed = run(
        "systemd-run",
        "--wait",
        "--pipe",
        "--quiet",
        f"--property=EnvironmentFile={path}",
        "/usr/bin/env",
        "-0",
    )
    values = dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)
    conf = read_conf(ODD.encode())
    assert {name: values.get(name) for name in (*conf.values, "MAX_MEMORY", "INTERVAL", "SIGNAL")} == {
        **conf.values, "MAX_MEMORY": None, "INTERVAL": None, "SIGNAL": None
    }  # fmt: skip
    path.write_text("\ufeffMAX_MEMORY=1%\nexport INTERVAL=3\nSIGNAL: INT\nMAXMEMORY=2%\n")
    _, report = check("known")
    ignored = [one["remedy"]["advice"] for one in findings_of(report) if one["id"] == "setting-ignored"]
    assert ignored == ["use MAX_MEMORY=1%", "use INTERVAL=3", "use SIGNAL=INT", "use MAX_MEMORY=2%"]
    done = subprocess.run(
        ("memory-monitor", "--check-config", path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 4)
    path.write_text("MAX_MEMORY=5X\n")
    done = memory_monitor("--check", "known")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "memory-monitor: memory-monitor@known.service: -m/--max-memory: '5X' is not a size"
    )


def memory_monitor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("memory-monitor", *arguments), capture_output=True, text=True, check=False)
