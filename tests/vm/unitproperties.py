"""Properties of units as `systemctl show` writes them, most of them asked for without a process.

A start of systemctl costs 0.15 s of an emulated processor, and tests ask in loops.
"""

import subprocess
from typing import Final

from pystemd.dbuslib import DBusAddress, DBusError, path_encode

_SOCKET: Final = b"unix:path=/run/systemd/private"
"""systemd's own, which systemctl uses too where root calls it: it answers while D-Bus is silent."""
_SYSTEMD: Final = b"org.freedesktop.systemd1"
OF_ALL_UNITS: Final = {
    "ActiveState": b"s",
    "SubState": b"s",
    "LoadState": b"s",
    "ActiveEnterTimestampMonotonic": b"t",
    "InactiveExitTimestampMonotonic": b"t",
}
"""Properties of org.freedesktop.systemd1.Unit, and the type of each (org.freedesktop.systemd1(5))."""
OF_SERVICES: Final = {
    "ControlGroup": b"s",
    "ExecMainStatus": b"i",
    "MainPID": b"u",
    "NRestarts": b"u",
    "Result": b"s",
    "StatusText": b"s",
    "WatchdogTimestampMonotonic": b"t",
}
"""Properties of org.freedesktop.systemd1.Service."""


def properties_of(unit: str, *names: str) -> dict[str, str]:
    """Properties as `systemctl show` writes them; AssertionError if systemd knows no such unit."""
    if unit.endswith(".service") and {*names} <= {*OF_ALL_UNITS, *OF_SERVICES}:
        try:
            return _asked(unit, names)
        except DBusError:
            # systemd executes itself again, say. systemctl knows how to wait, and how to explain.
            pass
    command = ("systemctl", "show", unit, *(f"--property={name}" for name in names))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def _asked(unit: str, names: tuple[str, ...]) -> dict[str, str]:
    path = path_encode(b"/org/freedesktop/systemd1/unit", unit.encode())
    found = {}
    # A connection for each time: one that is kept is sent every signal of systemd.
    with DBusAddress(_SOCKET, peer_to_peer=True) as systemd:
        for name in names:
            of_all = name in OF_ALL_UNITS
            interface, kind = (b".Unit", OF_ALL_UNITS[name]) if of_all else (b".Service", OF_SERVICES[name])
            value = systemd.get_property(_SYSTEMD, path, _SYSTEMD + interface, name.encode(), kind)
            found[name] = value.decode() if isinstance(value, bytes) else str(value)
    return found
