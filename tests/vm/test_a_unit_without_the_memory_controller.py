"""Where a unit's memory isn't counted by the kernel, RSS is summed over its processes."""

from kit import Monitor, Service, write_unit


def test_it_is_signalled_by_the_sum_of_rss_and_one_warning_says_so() -> None:
    write_unit("uncounted.slice", "[Slice]\nDisableControllers=memory\n")
    with (
        Service("uncounted.service", "child", restart=True, properties=("Slice=uncounted.slice",)) as service,
        Monitor("-m", "60", "-i", "1", "uncounted.service") as monitor,
    ):
        assert not (service.cgroup / "memory.current").exists()
        warning = monitor.wait_for("no memory controller")
        assert warning.startswith("warning: uncounted.service: no memory controller (")
        assert "RSS" in warning
        service.tell("grow 30")
        assert "SIGTERM" not in service.said
        service.tell("grow 30", "child")
        service.wait_for("SIGTERM")
        assert monitor.wait_for(r"^uncounted\.service: signalled: rss .* is above 60 MiB.*: .*\(KillUnit\)$")
        assert len(monitor.lines_with("no memory controller")) == 1
