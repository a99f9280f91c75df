"""All that tests in the machine are written with, to be imported from one place."""

from guest import (
    CGROUPS,
    DEADLINE_S,
    MIB,
    UNITS,
    WORK,
    eventually,
    faults_of,
    field_of,
    journal,
    messages,
    property_of,
    reads_of,
    resident_kib,
    run,
    silent_bus,
    systemd_version,
    waits_of,
    write_unit,
)
from monitors import Monitor, MonitorUnit
from services import Leaky, Service
from unitproperties import properties_of

__all__ = [
    "CGROUPS",
    "DEADLINE_S",
    "MIB",
    "UNITS",
    "WORK",
    "Leaky",
    "Monitor",
    "MonitorUnit",
    "Service",
    "eventually",
    "faults_of",
    "field_of",
    "journal",
    "messages",
    "properties_of",
    "property_of",
    "reads_of",
    "resident_kib",
    "run",
    "silent_bus",
    "systemd_version",
    "waits_of",
    "write_unit",
]
