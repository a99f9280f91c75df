"""What has a new InvocationID is another run of the unit, even where nothing else tells it."""

from kit import Monitor, Service


def test_a_leftover_child_that_keeps_cgroup_and_memory_does_not_hide_a_restart() -> None:
    # Type=notify: it is asked once it can log the signal.
    kept = ("Type=notify", "KillMode=process", "TimeoutStopSec=10min")
    with (
        Service("leftover.service", restart=True, properties=kept) as service,
        Monitor("-m", "30", "-i", "1", "leftover.service"),
    ):
        service.tell("child")
        inode = service.cgroup.stat().st_ino
        service.tell("grow 40", "child")
        # Each of these ends a main process, and the memory stays with the child.
        service.wait_for("SIGTERM", 3)
        assert service.cgroup.stat().st_ino == inode
        assert len(set(service.who("SIGTERM"))) == 3
