"""journalctl -x explains what the monitor says about a unit."""

from kit import Service, eventually, run


def explained(unit: str) -> str:
    return run("journalctl", "--catalog", "--no-hostname", "--quiet", f"--unit={unit}")


def test_after_a_signal_the_units_own_log_says_what_it_means_and_what_to_do() -> None:
    with Service("explained.service", properties=("MemoryMax=40M",)) as service:
        run("systemctl", "start", "memory-monitor@explained.service")
        service.tell("grow 35")
        service.wait_for("SIGTERM")
        end = "Subject: There is nothing to monitor at the moment"
        eventually(lambda: end in explained(service.unit), end)
    text = explained(service.unit)
    print(text)
    assert "░░ Subject: Memory is above the threshold; the service was asked to exit" in text
    assert f"threshold of {36 << 20} bytes" in text
    assert "signal was sent (SIGTERM)" in text
    assert "Restart=always." in text
    assert "@" not in "".join(line for line in text.splitlines() if line.startswith("░░"))


def test_the_package_has_put_the_explanations_where_journalctl_finds_them() -> None:
    assert "Memory monitoring has stopped" in run("journalctl", "--list-catalog")
