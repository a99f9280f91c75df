"""Which settings `--check` takes without `-m`: of the unit's own monitor, or of the unit's section."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from memmon_systemd import arguments
from memmon_systemd.check.configured import ABSENT, Configured, Mistake, Rival
from memmon_systemd.check.read_command import Command, command_of
from memmon_systemd.check.read_section import section_of
from memmon_systemd.errors import UsageError
from memmon_systemd.linux import cgroup
from memmon_systemd.settings import UNSET, NameKind, Settings
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.units.other_monitors import MACHINE_WIDE, TEMPLATE
from memmon_systemd.units.unit_file import SECTION, Section
from memmon_systemd.units.unit_settings import UnitSettings, is_opt_out, unit_settings

_REQUIRED: Final = "the following arguments are required: -m/--max-memory"


def configured(asked: Settings, name: str, connect: Callable[[], Manager]) -> tuple[Settings, Configured]:
    """The settings in force of a unit, or of the monitor that a NAME is; UsageError where there are none."""
    unit, instance = _names(asked, name)
    manager = connect()
    section = section_of(manager, unit)
    is_of_section = section.is_present and not name.startswith(TEMPLATE) and not is_opt_out(section)
    try:
        own = None if instance is None else command_of(manager, instance)
    except UsageError:
        if not is_of_section:
            raise
        own = None  # It can't start, so it isn't running.
    if is_of_section and not (own is not None and own.is_running):
        common = _machine_wide(manager, asked)
        wanted = unit_settings(section, unit, common.settings.target)
        return _by_section(asked, name, section, wanted, common, own)
    if own is None:
        raise UsageError(f"{_REQUIRED} ({_why_none(name, unit, instance, section)})")
    if own.settings.user != asked.user:
        raise UsageError(f"{own.unit}: monitors units of the {_manager_of(own.settings)}: give -m")
    taken = replace(own.settings, check=True, json=asked.json, until_stopped=False, verbosity=0)
    rival = (
        _section_as_rival(section, unit, own, _machine_wide(manager, asked)) if section.is_present else None
    )
    return taken, replace(own.as_configured(), rival=rival)


def _names(asked: Settings, name: str) -> tuple[str, str | None]:
    """The unit that a NAME means, or whose monitor it is; and the monitor of its own that it can have."""
    base, dot, suffix = name.rpartition(".")
    service = base if dot and suffix == "service" else name
    if service.startswith(TEMPLATE):
        return f"{service.removeprefix(TEMPLATE)}.service", f"{service}.service"
    if asked.name_kind not in (NameKind.AUTO, NameKind.UNIT) or any(sign in name for sign in "*?["):
        raise UsageError(f"{_REQUIRED} (only a unit has settings of its own, '{name}' has none)")
    if service.endswith(cgroup.UNIT_SUFFIXES):
        return service, None
    return f"{service}.service", f"{TEMPLATE}{service}.service"


def _why_none(name: str, unit: str, instance: str | None, section: Section) -> str:
    if section.is_present:
        return f"{section.header}: the section [{SECTION}] of {unit} says that it isn't monitored"
    if instance is None:
        return f"'{name}' has no section [{SECTION}]"
    return f"'{name}' has no section [{SECTION}], and there is no {instance}"


def _machine_wide(manager: Manager, asked: Settings) -> Command:
    """The monitor of all units with a section; UsageError where it couldn't start."""
    common = command_of(manager, MACHINE_WIDE)
    if common is None:
        words = ["--configured", *(["--user"] if asked.user else [])]
        return Command(MACHINE_WIDE, (), arguments.parse(words), ABSENT, is_enabled=False)
    if not common.settings.configured:
        raise UsageError(f"{MACHINE_WIDE}: its ExecStart= has no --configured: add it, or give -m")
    if common.settings.user != asked.user:
        raise UsageError(f"{MACHINE_WIDE}: monitors units of the {_manager_of(common.settings)}: give -m")
    return common


def _manager_of(settings: Settings) -> str:
    return "user" if settings.user else "system"


def _by_section(
    asked: Settings, name: str, section: Section, wanted: UnitSettings, common: Command, own: Command | None
) -> tuple[Settings, Configured]:
    """What the section makes, which is in force."""
    rival = None
    if own is not None and own.is_enabled:
        rival = Rival(own.unit, is_in_force=False, is_alike=own.settings.target == wanted.settings)
    found = Configured(
        MACHINE_WIDE,
        (*common.options, *section.written),
        section.files,
        active_state=common.active_state,
        mistakes=tuple(Mistake(words, words in wanted.wrong) for words in wanted.problems),
        is_valid=wanted.settings is not None,
        rival=rival,
    )
    return replace(asked, names=(name,), target=wanted.settings or UNSET), found


def _section_as_rival(section: Section, unit: str, own: Command, common: Command) -> Rival | None:
    """The section of a unit whose own monitor is checked."""
    settings = unit_settings(section, unit, common.settings.target).settings
    if settings is None:
        return None
    place = f"the section [{SECTION}] of {unit} ({section.header})"
    return Rival(place, is_in_force=not own.is_running, is_alike=own.settings.target == settings)
