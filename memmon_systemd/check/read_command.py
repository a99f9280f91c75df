"""What `--check` reads of the unit of a monitor: the options that its files make."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from memmon_systemd import arguments
from memmon_systemd.argv import arguments_of
from memmon_systemd.check.config_command import check_settings
from memmon_systemd.check.configured import Configured, FileProblem
from memmon_systemd.conf_file import Problem, expand, read_conf, variables_of
from memmon_systemd.errors import UsageError
from memmon_systemd.names import load
from memmon_systemd.settings import Settings
from memmon_systemd.systemd.command import Command as StartCommand
from memmon_systemd.systemd.command import path_read
from memmon_systemd.systemd.manager import Manager
from memmon_systemd.systemd.properties import LOADED

_NOT_OF_TARGET: Final = ("--until-stopped", "--user", "--configured")


@dataclass(frozen=True, slots=True)
class _Environment:
    """The variables of a unit's command."""

    values: Mapping[str, str]
    files: tuple[str, ...]
    problems: tuple[FileProblem, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """The unit of a monitor, as systemd would start it now."""

    unit: str
    options: tuple[str, ...]
    settings: Settings
    active_state: str
    is_enabled: bool
    files: tuple[str, ...] = ()
    problems: tuple[FileProblem, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether it runs, or is about to."""
        return self.active_state not in ("inactive", "failed")

    def as_configured(self) -> Configured:
        """It as the one whose own settings are checked."""
        return Configured(self.unit, self.options, self.files, self.problems, self.active_state)


def command_of(manager: Manager, unit: str) -> Command | None:
    """What the unit of a monitor runs; None where there is none; UsageError where it couldn't start."""
    unit, load_state = load(manager, unit)
    if load_state != LOADED:
        return None
    properties = manager.properties(manager.unit(unit))
    written = StartCommand.of(
        properties[b"ExecStart"], properties[b"Environment"], properties[b"EnvironmentFiles"]
    )
    environment = _environment(written, variables_of(written.words))
    try:
        options = arguments_of(expand(written.words, environment.values))
        if options is None:
            raise UsageError("its ExecStart= doesn't run memory-monitor: give -m")
        settings = arguments.parse(options)
        check_settings(settings)
    except (UsageError, ValueError) as error:
        raise UsageError(f"{unit}: {error}{_where(environment)}") from None
    except arguments.TextWanted:
        raise UsageError(f"{unit}: its options have --help or --version: give -m") from None
    return Command(
        unit,
        tuple(_shown(options)),
        settings,
        os.fsdecode(properties[b"ActiveState"]),
        os.fsdecode(properties[b"UnitFileState"]).startswith("enabled"),
        environment.files,
        environment.problems,
    )


def _environment(command: StartCommand, known: Sequence[str]) -> _Environment:
    """Environment= and then EnvironmentFile=, which is stronger; OSError of a file that must be there."""
    values = dict(command.environment)
    files: list[str] = []
    problems: list[FileProblem] = []
    for written, is_optional in command.files:
        read = path_read(written)
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
    return [word for word in options[:end] if word not in _NOT_OF_TARGET]


def _where(environment: _Environment) -> str:
    return f" ({', '.join(environment.files)})" if environment.files else ""
