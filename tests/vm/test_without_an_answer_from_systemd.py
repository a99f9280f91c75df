"""Where systemd can't be asked by D-Bus, the signal goes by pidfd in the same look, and the log says so."""

import os
import signal

from kit import Monitor, Service, eventually, property_of, resident_kib, run, silent_bus, waits_of


def test_a_silent_bus_delays_the_signal_by_a_second_and_then_killunit_is_used_again() -> None:
    options = ("-m", "30", "-i", "0.5", "-s", "USR1", "--repeat", "3", "unheard.service")
    with Service("unheard.service") as service, Monitor(*options) as monitor:
        with silent_bus():
            service.tell("grow 40")
            service.wait_for("SIGUSR1", 2)
            delay_s = service.times_s("SIGUSR1")[0] - service.times_s("grow 40")[0]
            print(f"by pidfd {delay_s:.2f} s after the growth")
            # A look is due within half a second, and the deadline of D-Bus is one.
            assert delay_s < 6.0
            line = monitor.lines_with("unheard.service: signalled: ")[0]
            assert f": sent SIGUSR1 to process {service.who('SIGUSR1')[0]} by pidfd (" in line
            assert "no answer within 1 s" in line
            assert not monitor.lines_with("KillUnit\\)$")
        monitor.wait_for(r"unheard\.service: signalled: .*: sent SIGUSR1 to the main process \(KillUnit\)")


def test_a_systemd_that_executed_itself_again_and_a_bus_that_was_restarted_are_found_again() -> None:
    options = ("-m", "30", "-i", "0.5", "-s", "USR1", "--repeat", "2", "rebus.service")
    with Service("rebus.service", "grow 40") as service, Monitor(*options) as monitor:
        monitor.wait_for(r"\(KillUnit\)$")
        run("systemctl", "daemon-reexec")
        done = len(monitor.lines_with(r"\(KillUnit\)$"))
        monitor.wait_for(r"\(KillUnit\)$", done + 2)
        os.kill(int(property_of("dbus.service", "MainPID")), signal.SIGKILL)
        before = len(service.said)
        eventually(lambda: len(service.said) > before, "it is signalled, by whichever way")
        done = len(monitor.lines_with(r"\(KillUnit\)$"))
        monitor.wait_for(r"\(KillUnit\)$", done + 2)
        assert not monitor.lines_with("not signalled")
        eventually(lambda: property_of("dbus.service", "ActiveState") == "active", "D-Bus is back")


def test_without_permission_it_says_what_to_do_and_never_that_it_was_sent() -> None:
    run("systemctl", "start", "polkit.service")
    options = ("-m", "30", "-i", "0.1", "-s", "USR1", "--repeat", "0.1", "forbidden.service")
    with (
        Service("forbidden.service", "grow 40") as service,
        Monitor(*options, user="tester") as monitor,
    ):
        line = monitor.wait_for(r"^forbidden\.service: not signalled: unreclaimable .* is above 30 MiB: ")
        assert "allow org.freedesktop.systemd1.manage-units by a polkit rule" in line
        assert "by pidfd: process" in line
        assert "Operation not permitted: run as root, as that user, or with CAP_KILL" in line
        waits = waits_of(monitor.pid)
        eventually(lambda: waits_of(monitor.pid) >= waits + 20, "it tries for a while")
        before_kib = resident_kib(monitor.pid)
        eventually(lambda: waits_of(monitor.pid) >= waits + 200, "it tries very often")
        # 200 refusals would leave 240 kB behind. It may not lock its memory: a few pages come and go.
        assert resident_kib(monitor.pid) <= before_kib + 64
        assert not monitor.lines_with("sent SIGUSR1")
        assert len(monitor.lines_with("not signalled")) < 4
        assert "SIGUSR1" not in service.said


def test_a_process_of_the_same_user_is_signalled_by_pidfd_without_polkit() -> None:
    options = ("-m", "30", "-i", "1", "-s", "USR1", "own-user.service")
    with (
        Service("own-user.service", "grow 40", properties=("User=tester",)) as service,
        Monitor(*options, user="tester") as monitor,
    ):
        service.wait_for("SIGUSR1")
        assert monitor.wait_for(r"sent SIGUSR1 to process \d+ by pidfd \(KillUnit: ")
