"""`memmonctl suggest UNIT`: a threshold, why, and what to paste."""

from __future__ import annotations

from memmon_systemd.ctl import words
from memmon_systemd.ctl.advice import Advice, advise
from memmon_systemd.ctl.call import Call, CallError, Object, as_json
from memmon_systemd.ctl.chart import Line, chart, plot
from memmon_systemd.ctl.evidence import Read, read
from memmon_systemd.ctl.state import read_states
from memmon_systemd.errors import EXIT_NOT_FOUND, EXIT_OK, StartError, UsageError
from memmon_systemd.linux.cgroup import UNIT_SUFFIXES
from memmon_systemd.machine import Machine, Systemd
from memmon_systemd.names import load
from memmon_systemd.nearest import known_units, nearest
from memmon_systemd.output.standard import write_error, write_text
from memmon_systemd.settings import UNSET, NameKind, Settings
from memmon_systemd.systemd.errors import BusError
from memmon_systemd.systemd.properties import LOADED
from memmon_systemd.units.unit_file import SECTION


def run(call: Call, asked: str, plot_path: str | None) -> int:
    """Print it; the exit status. CallError where nothing is known of the unit."""
    if not call.managers:
        raise CallError("suggest asks systemd, and none is running here")
    systemd, name, is_users = _find(call, asked)
    try:
        found = read(systemd, name, read_states(call.directories), is_users=is_users)
    except BusError as error:
        raise CallError(f"{name}: systemd can't be asked: {error}") from None
    advice = advise(found.evidence)
    if advice is None:
        raise CallError(f"{name}: it isn't known what it needs: start it, and ask again when it has worked")
    if plot_path is not None:
        plot(name, found.points, _heights(advice, found), plot_path)
    if call.is_json:
        write_text(as_json(_form(name, advice, found)))
    else:
        write_text("\n".join(_lines(call, name, advice, found, is_users=is_users)) + "\n")
    if found.lacks is not None:
        write_error(found.lacks, "memmonctl")
    return EXIT_OK


def _find(call: Call, asked: str) -> tuple[Systemd, str, bool]:
    """The unit, by its own name, and the manager that has it; CallError."""
    wanted = asked if asked.endswith(UNIT_SUFFIXES) else f"{asked}.service"
    near: tuple[str, ...] = ()
    trouble = ""
    for is_users in call.managers:
        settings = Settings((wanted,), UNSET, NameKind.UNIT, user=is_users, check=True)
        try:
            systemd = Machine(settings, call.environ).connect()
            name, load_state = load(systemd.manager, wanted)
            if load_state == LOADED and name.endswith(UNIT_SUFFIXES):
                return systemd, name, is_users
            near = near or nearest(wanted, known_units(systemd.manager), ())
        except (BusError, StartError, UsageError) as error:
            trouble = trouble or str(error)
    if trouble and not near:
        raise CallError(trouble)
    meant = f": did you mean {words.safe(near[0])}?" if near else ""
    raise CallError(f"there is no unit '{words.safe(wanted)}'{meant}", EXIT_NOT_FOUND)


def _form(name: str, advice: Advice, found: Read) -> Object:
    known = found.evidence
    return {
        "suggestion": {
            "name": name,
            "threshold": advice.threshold,
            "threshold_bytes": advice.threshold_bytes,
            "need_bytes": advice.need_bytes,
            "memory_max": advice.memory_max,
            "limit_bytes": known.limit_bytes,
            "usage_bytes": known.usage_bytes,
            "peak_bytes": known.peak_bytes,
            "growth_bytes_per_h": round(known.growth_bytes_per_s * 3600),
            "reasons": list(advice.reasons),
        }
    }


def _heights(advice: Advice, found: Read) -> list[Line]:
    known = found.evidence
    lines = [] if advice.threshold_bytes is None else [Line("threshold", advice.threshold_bytes)]
    return lines if known.limit_of is None else [*lines, Line("limit", known.limit_bytes)]


def _lines(call: Call, name: str, advice: Advice, found: Read, *, is_users: bool) -> list[str]:
    if advice.threshold is None:
        verdict = f"no threshold would do below its limit: raise MemoryMax= to {advice.memory_max} or more"
    else:
        verdict = f"Threshold={advice.threshold} ({words.size(advice.threshold_bytes)})"
    lines = [f"{words.safe(name)}: {verdict}", *(f"  {words.safe(reason)}" for reason in advice.reasons)]
    drawn = chart(found.points, _heights(advice, found), call.terminal.columns)
    lines += ["", *drawn] if drawn else []
    user = "--user " if is_users else ""
    lines += ["", f"  systemctl {user}edit {words.safe(name)}", ""]
    if advice.memory_max is not None:
        kind = name.rpartition(".")[2].capitalize()
        lines += [f"  [{kind}]", f"  MemoryMax={advice.memory_max}", ""]
    if advice.threshold is not None:
        lines += [f"  [{SECTION}]", f"  Threshold={advice.threshold}"]
    else:
        lines += ["  Restart it with that limit, and ask again when it has had a day of work."]
    return lines
