"""memmonctl with the shipped unit under a real systemd: what it shows, and what outlives a restart."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kit import eventually, property_of, run, write_unit
from shipped import RESTARTS, MachineWide, Monitored, Shipped, start, stop

AS_TESTER = ("runuser", "-u", "tester", "--")
SETTINGS = "MAX_MEMORY=30\nINTERVAL=500ms\n"
SERVICE = f"TimeoutStopSec=300\n{RESTARTS}"
REAL = ("dbus", "systemd-journald", "systemd-logind", "systemd-udevd", "wanted", "polkit")
STATES = Path("/run/memory-monitor")


def memmonctl(*words: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run((*before, "memmonctl", *words), capture_output=True, text=True, check=False)


def target(name: str, *words: str, before: Sequence[str] = ()) -> dict[str, Any]:
    """What `list --json` says of a unit; nothing where it isn't in it."""
    targets = json.loads(memmonctl("list", "--json", *words, before=before).stdout)["targets"]
    found: dict[str, Any] = next((one for one in targets if one["name"] == name), {})
    return found


def counted() -> tuple[int, int]:
    """How many units and monitors the first line of the list counts; other tests may have left some."""
    first = memmonctl().stdout.partition("\n")[0]
    found = re.match(r"(\d+) units?, (\d+) monitors?: \d+ ok", first)
    assert found is not None, first
    return int(found[1]), int(found[2])


@pytest.fixture(scope="module")
def seen() -> Iterator[Monitored]:
    """seen.service and its monitor, and beside.service and its one."""
    services = [Monitored("seen", service=SERVICE), Monitored("beside", service=SERVICE)]
    monitors = [Shipped("seen", SETTINGS), Shipped("beside", SETTINGS)]
    start(*services, *monitors)
    yield services[0]
    stop(*services, *monitors)


def test_any_user_sees_what_is_monitored(seen: Monitored) -> None:
    as_root: tuple[str, ...] = ()
    for before in (as_root, AS_TESTER):
        done = memmonctl(before=before)
        print(done.stdout)
        assert done.returncode == 0, done.stderr
        assert re.match(r"\d+ units, \d+ monitors: \d+ ok", done.stdout)
        shown = target("seen.service", before=before)
        assert (shown["state"], shown["monitor"]) == ("ok", "memory-monitor@seen")
        current = int((seen.cgroup / "memory.current").read_text())
        assert 0 < shown["usage_bytes"] <= current
        assert shown["invocation_id"] == property_of("seen.service", "InvocationID")
    status = memmonctl("status", "seen", before=AS_TESTER).stdout
    print(status)
    assert "threshold 30 MiB" in status
    assert re.search(r"^  from +-m 30 .*memory-monitor/seen\.conf\)$", status, re.MULTILINE)
    assert "working-set" in status


def test_another_instance_that_stops_takes_nothing_away(seen: Monitored) -> None:
    units, monitors = counted()
    run("systemctl", "stop", "memory-monitor@beside.service")
    assert target(seen.unit)["state"] == "ok"
    assert not target("beside.service")
    assert counted() == (units - 1, monitors - 1)
    run("systemctl", "start", "memory-monitor@beside.service")
    assert target("beside.service")["state"] == "ok"


def test_a_paused_unit_is_asked_once_it_is_resumed_whatever_was_restarted_meanwhile(seen: Monitored) -> None:
    monitor = Shipped("seen", SETTINGS)
    refused = memmonctl("pause", "seen", "1h", before=AS_TESTER)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "not permitted: memory-monitor@seen is paused by root only" in refused.stderr
    assert memmonctl("pause", "seen", "1h").stdout == "seen.service: paused for 1 h: seen.service\n"
    monitor.wait_for(r"^seen\.service: paused until \d\d:\d\d:\d\d: monitored, but not asked$")
    eventually(lambda: "; paused until" in monitor.status, "STATUS says it", detail=lambda: monitor.status)
    # The service is restarted in its maintenance, and with it its monitor comes and goes.
    run("systemctl", "stop", seen.unit)
    monitor.wait_until_ended()
    started = seen.said.count("started")
    run("systemctl", "start", seen.unit, monitor.unit)
    seen.wait_for("started", started + 1)
    seen.tell("grow 40")
    monitor.wait_for(r"^seen\.service: held: .*: paused; asked once the pause has ended$")
    shown = target(seen.unit)
    assert (shown["state"], shown["held_by"]) == ("held", "paused")
    assert shown["paused_until_s"] is not None
    run("systemctl", "restart", monitor.unit)
    monitor.wait_for(r"^seen\.service: held: .*: paused; asked once the pause has ended$", 2)
    assert "SIGTERM" not in seen.said[-2:]
    assert memmonctl("resume", "seen").stdout == "seen.service: resumed\n"
    seen.wait_for("started", started + 2)
    lines = [line for line in monitor.lines if "resumed" in line or "sent SIGTERM" in line]
    assert "resumed: asked at the next poll" in lines[-2]
    assert "sent SIGTERM" in lines[-1]


def test_history_says_what_became_of_it(seen: Monitored) -> None:
    def came_back() -> dict[str, Any]:
        answer = json.loads(memmonctl("history", "seen", "--json").stdout)
        return next((one for one in answer["requests"] if one["active_after_s"] is not None), {})

    asked = eventually(came_back, "what became of the request is in the journal")
    assert asked["event"] == "requested"
    assert asked["usage_bytes"] > asked["threshold_bytes"] == 30 << 20
    assert asked["active_after_s"] >= asked["ended_after_s"] > 0
    shown = memmonctl("history", "-u", "seen", "-n", "1").stdout
    print(shown)
    assert shown.startswith("1 request to 1 unit\n")
    assert "ended after" in shown
    assert target(seen.unit)["requests"] == 1
    assert "ended after" in memmonctl("status", "seen").stdout


def test_who_may_not_read_the_journal_is_told_the_group(seen: Monitored) -> None:
    done = memmonctl("history", seen.unit, before=AS_TESTER)
    assert done.returncode == 1
    assert "in the group systemd-journal" in done.stderr


def test_an_invocation_that_was_asked_is_not_asked_again_by_the_next_monitor() -> None:
    stubborn = Monitored("stubborn", "ignore", service=f"TimeoutStopSec=300\n{RESTARTS}")
    monitor = Shipped("stubborn", f"{SETTINGS}OPTIONS=--budget 5/1h\n")
    start(stubborn, monitor)
    stubborn.tell("grow 40")
    stubborn.wait_for("SIGTERM")
    for count, command in enumerate((("restart",), ("kill", "--signal=KILL")), 2):
        run("systemctl", *command, monitor.unit)
        monitor.wait_for(r"^memory-monitor \S+: send", count)
        eventually(lambda: target(stubborn.unit).get("state") == "signalled", "it is known to be signalled")
        shown = target(stubborn.unit)
        assert shown["requests"] == 1
        assert shown["budget"] == {"count": 5, "window_s": 3600.0, "used": 1}
    assert stubborn.said.count("SIGTERM") == 1
    run("systemctl", "kill", "--signal=KILL", stubborn.unit)
    stop(monitor, stubborn)


def test_a_user_sees_and_pauses_an_own_monitor(tmp_path: Path) -> None:
    del tmp_path
    as_tester = (*AS_TESTER, "env", "XDG_RUNTIME_DIR=/run/user/1000")
    run(*as_tester, "systemd-run", "--user", "--quiet", "--unit=owned.service", "sleep", "infinity")
    run(*as_tester, "systemctl", "--user", "start", "memory-monitor@owned.service")
    shown = target("owned.service", "--user", before=as_tester)
    assert (shown["state"], shown["monitor"]) == ("ok", "memory-monitor@owned")
    assert memmonctl("--user", "pause", "owned", before=as_tester).returncode == 0
    assert target("owned.service", before=as_tester)["paused_until_s"] == "resumed"
    assert memmonctl("resume", "--all", "--user", before=as_tester).returncode == 0
    run(*as_tester, "systemctl", "--user", "stop", "memory-monitor@owned.service", "owned.service")


def test_check_has_the_settings_of_the_monitor(seen: Monitored) -> None:
    done = memmonctl("check", seen.unit)
    assert "threshold  30 MiB (unreclaimable)" in done.stdout, done.stdout + done.stderr
    assert "already-monitored" not in done.stdout


def test_each_instance_has_a_state_file_of_its_own_name() -> None:
    for name in ("memory-monitor@seen", "memory-monitor@beside"):
        assert (STATES / f"{name}.state").stat().st_mode & 0o777 == 0o644


def test_the_machine_wide_monitor_is_shown_with_each_units_settings_and_goes_on_after_a_restart() -> None:
    sections = ("[X-MemoryMonitor]\nThreshold=30M\nRepeat=infinity\n", "[X-MemoryMonitor]\nThreshold=200M\n")
    asked = Monitored("asked", "ignore", service=f"{SERVICE}{sections[0]}")
    calm = Monitored("calm", service=f"{SERVICE}{sections[1]}")
    run("systemctl", "daemon-reload")
    start(asked, calm)
    with MachineWide() as monitor:
        monitor.wait_for("calm.service: ok: .* of 200 MiB")
        asked.tell("grow 40")
        asked.wait_for("SIGTERM")
        eventually(lambda: target(asked.unit)["requests"] == 1, "the request is counted")
        assert memmonctl("pause", "calm", "1h").returncode == 0
        shown = memmonctl(before=AS_TESTER).stdout
        print(shown)
        assert all(f"\n{one.unit} " in shown for one in (asked, calm))
        run("systemctl", "reload", monitor.unit)
        run("systemctl", "restart", monitor.unit)
        eventually(lambda: target(asked.unit).get("state") == "signalled", "it is known to be signalled")
        assert target(asked.unit)["requests"] == 1
        assert {target(one.unit)["monitor"] for one in (asked, calm)} == {"memory-monitor"}
        assert [target(one.unit)["threshold_bytes"] >> 20 for one in (asked, calm)] == [30, 200]
        eventually(lambda: target(calm.unit)["paused_until_s"] is not None, "the pause is kept")
        checked = memmonctl("check", "calm").stdout
        print(checked)
        origin = "Threshold=200M (memory-monitor.service, /run/systemd/system/calm.service)"
        assert origin in " ".join(checked.split())
        assert "not-monitored" not in checked
        assert asked.said.count("SIGTERM") == 1
    run("systemctl", "kill", "--signal=KILL", asked.unit)
    run("systemctl", "stop", asked.unit, calm.unit)


def test_a_users_machine_wide_monitor_is_shown() -> None:
    as_tester = (*AS_TESTER, "env", "XDG_RUNTIME_DIR=/run/user/1000")
    units = Path("/run/user/1000/systemd/user")
    own = units / "mine.service"
    run(*AS_TESTER, "mkdir", "-p", str(units))
    own.write_text("[Service]\nExecStart=sleep infinity\n[X-MemoryMonitor]\nThreshold=77M\n")
    run(*as_tester, "systemctl", "--user", "daemon-reload")
    run(*as_tester, "systemctl", "--user", "start", "memory-monitor.service", "mine.service")
    eventually(lambda: target("mine.service", before=as_tester).get("state") == "ok", "it is monitored")
    assert target("mine.service", before=as_tester)["threshold_bytes"] == 77 << 20
    run(*as_tester, "systemctl", "--user", "restart", "memory-monitor.service")
    eventually(lambda: target("mine.service", before=as_tester).get("state") == "ok", "it is monitored again")
    run(*as_tester, "systemctl", "--user", "stop", "memory-monitor.service", "mine.service")
    own.unlink()


def test_the_list_has_what_is_configured_and_not_monitored() -> None:
    write_unit("idle.service", "[Service]\nExecStart=sleep infinity\n[X-MemoryMonitor]\nThreshold=70M\n")
    write_unit("lonely.service", "[Service]\nExecStart=sleep infinity\n[X-MemoryMonitor]\nThreshold=71M\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "lonely.service")
    shown = memmonctl(before=AS_TESTER).stdout
    print(shown)
    assert re.search(r"^idle\.service +not running +- +70 MiB .* memory-monitor$", shown, re.MULTILINE)
    why = "memory-monitor.service isn't running: systemctl enable --now memory-monitor"
    assert f"lonely.service: active, and not monitored: {why}\n" in shown
    with MachineWide() as monitor:
        monitor.wait_for("lonely.service: ok: .* of 71 MiB")
        assert "lonely.service: active" not in memmonctl().stdout
        assert "\nidle.service " in memmonctl().stdout
    run("systemctl", "stop", "lonely.service")


def test_a_suggestion_for_real_services_is_above_what_they_need_and_can_be_pasted() -> None:
    own = Monitored("wanted", service=SERVICE)
    start(own)
    run("systemctl", "start", *REAL)
    with MachineWide() as monitor:
        for name in REAL:
            done = memmonctl("suggest", name)
            print(done.stdout)
            assert done.returncode == 0, done.stderr
            found = json.loads(memmonctl("suggest", name, "--json").stdout)["suggestion"]
            group = Path("/sys/fs/cgroup") / property_of(f"{name}.service", "ControlGroup").strip("/")
            peak = int((group / "memory.peak").read_text())
            assert found["threshold_bytes"] > found["need_bytes"] >= found["usage_bytes"]
            assert found["need_bytes"] >= peak or found["limit_bytes"] < peak * 2
            section = done.stdout.partition("  [X-MemoryMonitor]\n")[2].replace("  ", "")
            write_unit(f"{name}.service.d/suggested.conf", f"[X-MemoryMonitor]\n{section}")
        run("systemctl", "daemon-reload")
        for name in REAL:
            monitor.wait_for(f"{name}.service: ok: ")
        assert not monitor.lines_with("signalled")
        for name in REAL:
            (Path("/run/systemd/system") / f"{name}.service.d/suggested.conf").unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "stop", own.unit)


def test_suggest_names_the_nearest_unit_of_one_that_there_is_not() -> None:
    done = memmonctl("suggest", "systemd-journalt")
    assert (done.returncode, done.stdout) == (4, "")
    assert "there is no unit 'systemd-journalt.service': did you mean systemd-journald." in done.stderr
