"""What has a new InvocationID is another run of the unit, even where nothing else tells it."""

from kit import Monitor, Service


def test_a_leftover_child_that_keeps_cgroup_and_memory_does_not_hide_a_restart() -> None:
    # Type=notify: it is asked once it can log the signal.
    kept = ("Type=notify", "KillMode=process", "TimeoutStopSec=10min")
    with (
        Service("leftover.service", restart=True, properties=kept) as service,
        Monitor("-m", "30", "-i", "1", "leftover.service") as monitor,
    ):
        service.tell("child")
        inode = service.cgroup.stat().st_ino
        service.tell("grow 40", "child")
        # This ends the main process; the memory stays with the child, and a restart of the next frees none.
        service.wait_for("SIGTERM")
        service.wait_for("started", 2)
        monitor.wait_for("leftover.service: held: .* a restart leaves its other processes running")
        # The next one uses most of it by itself, and was never asked: TimeoutStopSec= isn't over.
        service.tell("grow 60")
        service.wait_for("SIGTERM", 2)
        assert service.cgroup.stat().st_ino == inode
        assert len(set(service.who("SIGTERM"))) == 2
