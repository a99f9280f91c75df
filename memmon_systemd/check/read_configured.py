"""What `--check` reads of a monitor's own unit: the options that its files make."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from memmon_systemd import arguments
from memmon_systemd.argv import arguments_of
from memmon_systemd.check.config_command import check_settings
from memmon_systemd.check.facts import Configured, FileProblem
from memmon_systemd.conf_file import Problem, expand, read_conf, variables_of
from memmon_systemd.errors import UsageError
from memmon_systemd.linux import cgroup
from memmon_systemd.names import load
from memmon_systemd.settings import NameKind, Settings
from memmon_systemd.systemd.command import Command
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import LOADED
from memmon_systemd.units.other_monitors import TEMPLATE

_REQUIRED: Final = "the following arguments are required: -m/--max-memory"


@dataclass(frozen=True, slots=True)
class _Environment:
    """The variables of a unit's command."""

    values: Mapping[str, str]
    files: tuple[str, ...]
    problems: tuple[FileProblem, ...]


def configured(asked: Settings, name: str, connect: Callable[[], Manager]) -> tuple[Settings, Configured]:
    """The settings in force of the monitor that a NAME is, or has; UsageError where there are none."""
    wanted = _monitor_of(asked, name)
    manager = connect()
    unit, load_state = load(manager, wanted)
    if load_state != LOADED:
        raise UsageError(f"{_REQUIRED} ('{name}' has no {unit} that would have one)")
    properties = manager.properties(manager.unit(unit))
    command = Command.of(
        properties[b"ExecStart"], properties[b"Environment"], properties[b"EnvironmentFiles"]
    )
    environment = _environment(command, variables_of(command.words))
    try:
        options = arguments_of(expand(command.words, environment.values))
        if options is None:
            raise UsageError("its ExecStart= doesn't run memory-monitor: give -m")
        settings = arguments.parse(options)
        check_settings(settings)
    except (UsageError, ValueError) as error:
        raise UsageError(f"{unit}: {error}{_where(environment)}") from None
    except arguments.TextWanted:
        raise UsageError(f"{unit}: its options have --help or --version: give -m") from None
    active_state = os.fsdecode(properties[b"ActiveState"])
    found = Configured(unit, tuple(_shown(options)), environment.files, environment.problems, active_state)
    taken = replace(settings, check=True, json=asked.json, until_stopped=False, verbosity=0)
    if taken.user != asked.user:
        raise UsageError(f"{unit}: monitors units of the {'user' if taken.user else 'system'}: give -m")
    return taken, found


def _monitor_of(asked: Settings, name: str) -> str:
    """The unit of the monitor of a service, or the monitor itself."""
    base, dot, suffix = name.rpartition(".")
    service = base if dot and suffix == "service" else name
    if service.startswith(TEMPLATE):
        return f"{service}.service"
    is_other = service.endswith(cgroup.UNIT_SUFFIXES) or any(sign in service for sign in "*?[")
    if is_other or asked.name_kind not in (NameKind.AUTO, NameKind.UNIT):
        raise UsageError(f"{_REQUIRED} (only a service has a monitor of its own, '{name}' has none)")
    return f"{TEMPLATE}{service}.service"


def _environment(command: Command, known: Sequence[str]) -> _Environment:
    """Environment= and then EnvironmentFile=, which is stronger; OSError of a file that must be there."""
    values = dict(command.environment)
    files: list[str] = []
    problems: list[FileProblem] = []
    for written, is_optional in command.files:
        # systemd expands it by glob(3), which takes each backslash away (252 and 257).
        read = written.replace("\\", "")
        try:
            conf = read_conf(Path(read).read_bytes(), known)
        except FileNotFoundError:
            if os.path.exists(written):
                words = "its name has a backslash, so systemd doesn't read it"
                problems.append(FileProblem(written, Problem(0, words, f"the name {read}")))
            elif not is_optional:
                raise
            continue
        files.append(read)
        values |= conf.values
        problems += [FileProblem(read, problem) for problem in conf.problems]
    return _Environment(values, tuple(files), tuple(problems))


def _shown(options: Sequence[str]) -> list[str]:
    """The options without those that say nothing of the target, and without its name."""
    end = options.index("--") if "--" in options else len(options)
    return [word for word in options[:end] if word not in ("--until-stopped", "--user")]


def _where(environment: _Environment) -> str:
    return f" ({', '.join(environment.files)})" if environment.files else ""
