"""Who may not signal a unit says what to do, and signals nothing behind systemd's back."""

from kit import Monitor, Service, eventually, resident_kib, run, waits_of


def test_without_permission_it_says_what_to_do_and_never_that_it_was_sent() -> None:
    run("systemctl", "start", "polkit.service")
    options = ("-m", "30", "-i", "0.1", "-s", "USR1", "--repeat", "0.1", "forbidden.service")
    with (
        Service("forbidden.service", "grow 40") as service,
        Monitor(*options, user="tester") as monitor,
    ):
        line = monitor.wait_for(r"^forbidden\.service: not signalled: unreclaimable .* is above 30 MiB: ")
        assert "allow org.freedesktop.systemd1.manage-units by a polkit rule" in line
        assert "pidfd" not in line
        waits = waits_of(monitor.pid)
        eventually(lambda: waits_of(monitor.pid) >= waits + 20, "it tries for a while")
        before_kib = resident_kib(monitor.pid)
        eventually(lambda: waits_of(monitor.pid) >= waits + 200, "it tries very often")
        # 200 refusals would leave 240 kB behind. It may not lock its memory: a few pages come and go.
        assert resident_kib(monitor.pid) <= before_kib + 64
        assert not monitor.lines_with("sent SIGUSR1")
        assert len(monitor.lines_with("not signalled")) < 4
        assert "SIGUSR1" not in service.said


def test_a_process_of_the_same_user_is_not_signalled_where_systemd_says_no() -> None:
    options = ("-m", "30", "-i", "1", "-s", "USR1", "own-user.service")
    with (
        Service("own-user.service", "grow 40", properties=("User=tester",)) as service,
        Monitor(*options, user="tester") as monitor,
    ):
        monitor.wait_for("not signalled: .* by a polkit rule$")
        waits = waits_of(monitor.pid)
        eventually(lambda: waits_of(monitor.pid) >= waits + 5, "it goes on")
        assert "SIGUSR1" not in service.said
