"""Who in a unit gets the signal: decided here and nowhere else."""

from __future__ import annotations

from typing import Final

from memmon_systemd.settings import KillWhom

NO_MAIN_PROCESS: Final = "its main process has ended: nothing else of the unit is signalled"


def recipient(
    is_service: bool, main_pid: int | None, had_main: bool, wanted: KillWhom | None
) -> KillWhom | None:
    """Whom systemd is told to signal, where `wanted` is `--kill-whom`; None: nobody.

    `main_pid` is None where it is unknown, 0 where there is none; `had_main` says whether there ever was one.
    All processes of a unit that never had a main process. Of one that had, those that are left are none of
    them: workers that drain, or what KillMode=process leaves behind.
    """
    if wanted is not None:
        return wanted
    if not is_service:
        return KillWhom.ALL
    if main_pid is None or main_pid:
        return KillWhom.MAIN
    return None if had_main else KillWhom.ALL
