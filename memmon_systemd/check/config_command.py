"""`--check-config FILE`: whether it can be used as settings of memory-monitor@.service, or of a unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from memmon_systemd import arguments
from memmon_systemd.conf_file import ConfFile, Problem, expand, read_conf, wrong_setting
from memmon_systemd.errors import EXIT_OK, EXIT_USAGE, UsageError
from memmon_systemd.linux.cgroup import ALL_SUFFIXES
from memmon_systemd.names import check_options, meaning_of
from memmon_systemd.output.standard import write_error, write_text
from memmon_systemd.settings import UNSET, Settings
from memmon_systemd.units.unit_file import Assignment, Section, section_in
from memmon_systemd.units.unit_settings import OPT_OUT, unit_settings

COMMAND: Final = "--until-stopped -m ${MAX_MEMORY} -i ${INTERVAL} -s ${SIGNAL} $OPTIONS -- myapp.service"
"""The options that the shipped unit gives the command."""
DEFAULTS: Final = {"MAX_MEMORY": "90%", "INTERVAL": "2", "SIGNAL": "auto", "OPTIONS": ""}


def check_config(path: str) -> int:
    """Print the options that the file makes on stdout, or what is wrong on stderr; the exit status."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        write_error(f"{path}: {error.strerror}: name a file that can be read")
        return EXIT_USAGE
    section = section_in(path, content)
    if section.is_present:
        return _check_section(section, path)
    conf = read_conf(content)
    values = DEFAULTS | conf.values
    problems = [*conf.problems, *_wrong_values(conf, values)]
    for problem in problems:
        write_error(problem.in_file(path))
    if problems:
        return EXIT_USAGE
    options = " ".join(expand(COMMAND.split()[1:-2], values))
    write_text(f"{path}: {options}\n")
    return EXIT_OK


def _check_section(section: Section, path: str) -> int:
    """The same for a section [X-MemoryMonitor]: every problem that the monitor would log."""
    # Of a drop-in: the threshold may be in another one.
    assignments = {"Threshold": Assignment(OPT_OUT, path, 0)} | dict(section.assignments)
    problems = unit_settings(replace(section, assignments=assignments), _unit_of(path), UNSET).problems
    for problem in problems:
        write_error(problem)
    if problems:
        return EXIT_USAGE
    write_text(f"{path}: {' '.join(section.written)}\n")
    return EXIT_OK


def _unit_of(path: str) -> str:
    """A unit of the type that the name of the file, or a drop-in's directory, says; else a service."""
    directory, _, name = path.rpartition("/")
    if name.endswith(".conf"):
        name = directory.rpartition("/")[2].removesuffix(".d")
    suffix = f".{name.rpartition('.')[2]}"
    return f"unit{suffix if suffix in ALL_SUFFIXES else '.service'}"


def check_settings(settings: Settings) -> None:
    """Refuse options that don't fit what the names mean; UsageError."""
    for name in settings.names:
        check_options(settings, meaning_of(name, settings.name_kind, lambda _: True))


def _wrong_values(conf: ConfFile, values: dict[str, str]) -> list[Problem]:
    """The one that the command would refuse to start for."""
    try:
        check_settings(arguments.parse(expand(COMMAND.split(), values)))
    except arguments.TextWanted:
        return [Problem(_line_of(conf, "OPTIONS"), "OPTIONS= has --help or --version: it would end at once")]
    except ValueError as error:
        return [Problem(_line_of(conf, "OPTIONS"), f"OPTIONS={values['OPTIONS']}: {error}")]
    except UsageError as error:
        setting, said = wrong_setting(str(error))
        return [Problem(_line_of(conf, setting), f"{setting}=: {said}")]
    return []


def _line_of(conf: ConfFile, name: str) -> int:
    return max((one.line for one in conf.assignments if one.name == name), default=0)
