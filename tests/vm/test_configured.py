"""memory-monitor.service: units that say in their own files that they are monitored."""

import subprocess

from kit import property_of, run, write_unit
from shipped import TIMES_SLOWER, MachineWide, Monitored, Shipped, exposure_of

ALWAYS = "Restart=always\nRestartSec=100ms\n"
SECTION = "[X-MemoryMonitor]\nThreshold={}\n"
TWO_INTERVALS_S = 4


def reload_systemd() -> None:
    run("systemctl", "daemon-reload")


def test_a_section_in_a_drop_in_has_the_service_asked_and_what_it_says_changes_with_a_reload() -> None:
    service = Monitored("said", service=f"{ALWAYS}{SECTION.format('300M')}")
    write_unit("said.service.d/own.conf", SECTION.format("30M"))
    reload_systemd()
    with MachineWide() as monitor:
        run("systemctl", "start", service.unit)
        monitor.wait_for("said.service: ok: .* of 30 MiB")
        service.tell("grow 40")
        monitor.wait_for("said.service: signalled: .* is above 30 MiB .* sent SIGTERM to the main process")
        service.wait_for("started", 2)
        monitor.wait_for("said.service: ended after .* and active again")
        write_unit("said.service.d/own.conf", f"{SECTION.format('60M')}Signal=USR1\n")
        reload_systemd()
        changed = r"said.service: settings changed: Threshold=60MiB \(was 30MiB\), Signal=SIGUSR1"
        monitor.wait_for(changed, deadline_s=TWO_INTERVALS_S * TIMES_SLOWER)
        service.tell("grow 70")
        service.wait_for("SIGUSR1")
        assert len(monitor.lines_with("settings changed")) == 1
    run("systemctl", "stop", service.unit)


def test_a_template_a_type_level_default_and_an_opt_out_hold_as_for_systemd() -> None:
    write_unit("service.d/00-default.conf", SECTION.format("500M"))
    write_unit("kind@.service", f"[Service]\nExecStart=sleep infinity\n{SECTION.format('400M')}")
    write_unit("kind@out.service.d/own.conf", SECTION.format("infinity"))
    write_unit("plain.service", "[Service]\nExecStart=sleep infinity\n")
    reload_systemd()
    units = ("kind@in.service", "kind@out.service", "plain.service")
    with MachineWide() as monitor:
        run("systemctl", "start", *units)
        monitor.wait_for("kind@in.service: ok: .* of 500 MiB")  # A drop-in holds before the fragment.
        monitor.wait_for("plain.service: ok: .* of 500 MiB")
        assert not monitor.lines_with("kind@out.service")
        assert not monitor.lines_with("memory-monitor.service: ")
    run("systemctl", "stop", *units)
    run("rm", "-r", "/run/systemd/system/service.d")
    reload_systemd()


def test_a_wrong_value_is_said_with_its_place_and_the_unit_keeps_what_held() -> None:
    service = Monitored("wrong", service=f"{ALWAYS}{SECTION.format('30M')}")
    reload_systemd()
    with MachineWide() as monitor:
        run("systemctl", "start", service.unit)
        monitor.wait_for("wrong.service: ok: .* of 30 MiB")
        write_unit("wrong.service.d/own.conf", "[X-MemoryMonitor]\n\nTreshold=1M\nMetric=all\n")
        reload_systemd()
        place = "error: wrong.service: /run/systemd/system/wrong.service.d/own.conf"
        monitor.wait_for(f"{place}:3: 'Treshold' .* did you mean Threshold=")
        monitor.wait_for(f"{place}:4: Metric=: 'all' is not one of .*; the settings of before stay in force")
        service.tell("grow 40")
        service.wait_for("SIGTERM")
        service.wait_for("started", 2)
        assert len(monitor.lines_with("Metric=: 'all'")) == 1
    run("systemctl", "stop", service.unit)


def test_a_unit_with_its_own_instance_is_left_to_that_and_taken_over_afterwards() -> None:
    service = Monitored("own-monitor", service=f"{ALWAYS}{SECTION.format('300M')}")
    instance = Shipped("own-monitor", "MAX_MEMORY=200\n")
    reload_systemd()
    run("systemctl", "start", service.unit, instance.unit)
    with MachineWide() as monitor:
        monitor.wait_for("own-monitor.service: left to memory-monitor@own-monitor.service")
        run("systemctl", "stop", instance.unit)
        monitor.wait_for("own-monitor.service: monitored here again")
        monitor.wait_for("own-monitor.service: ok: .* of 300 MiB")
        assert not monitor.lines_with("waiting: it stopped")
    run("systemctl", "stop", service.unit)


def test_a_second_one_is_refused_in_one_line() -> None:
    with MachineWide() as monitor:
        second = subprocess.run(
            ("memory-monitor", "--configured"), capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        words = f"process {monitor.pid} monitors these units already: use that one"
        assert second.stderr == f"memory-monitor: --configured: {words}\n"


def test_systemctl_reload_has_the_files_read_again_and_the_process_stays() -> None:
    service = Monitored("reloaded", service=SECTION.format("300M"))
    reload_systemd()
    with MachineWide() as monitor:
        run("systemctl", "start", service.unit)
        monitor.wait_for("reloaded.service: ok: .* of 300 MiB")
        pid = monitor.pid
        service.define(service=SECTION.format("200M"))
        run("systemctl", "reload", monitor.unit)
        monitor.wait_for(r"reloaded.service: settings changed: Threshold=200MiB \(was 300MiB\)")
        assert monitor.pid == pid
        assert property_of(monitor.unit, "NRestarts") == "0"
    run("systemctl", "stop", service.unit)


def test_the_service_is_hardened_as_the_template_is() -> None:
    assert exposure_of("memory-monitor.service") <= 0.8
