"""Opens the state file of this monitor, and takes over what the one before it knew."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from memmon_systemd import __version__
from memmon_systemd.linux import proc
from memmon_systemd.linux.kernel_files import lines_of
from memmon_systemd.linux.libc import Libc
from memmon_systemd.linux.limits import own_headroom_bytes
from memmon_systemd.output import pause_file, state_file, state_format
from memmon_systemd.output.places import Place, is_of_one_process, own_name, own_place
from memmon_systemd.output.record import MonitorRecord, Record
from memmon_systemd.output.state_file import StateFile
from memmon_systemd.output.state_format import UnknownFormError

_UNKNOWN_BOOT: Final = bytes(16)
_IN_MEMORY: Final = ("tmpfs", "ramfs")
_SPARE: Final = 4
"""One cell more for so many: units come without a reload, too, and those that are gone are remembered."""
_LEFT_BYTES: Final = 4 << 20
"""So much is to be left below the limit of the monitor itself once its file has grown."""


class OwnState:
    """A keeper of records in the state file, from `open` on; before that, and where it can't be, of none."""

    def __init__(self, environ: Mapping[str, str], instance: str | None = None, *, is_users: bool) -> None:
        """The place of this process, which monitors `instance` alone, or more; it makes nothing there yet."""
        self._is_users = is_users
        pid = os.getpid()
        self._start_ticks = proc.read_stat(pid).start_ticks
        self._file: StateFile | None = None
        self._place = own_place(environ, instance, pid, self._start_ticks, is_users=is_users)

    def open(self, cells: int) -> str | None:
        """Make the file with room for so many targets; why that isn't possible, else None."""
        if self._place is None:
            return "XDG_RUNTIME_DIR isn't set"
        try:
            if not self._place.is_lasting:
                os.makedirs(self._place.directory, 0o755, exist_ok=True)
                remove_remains(self._place.directory)
            if not _is_in_memory(self._place.directory):
                return f"{self._place.directory} isn't in memory (tmpfs): writing there could wait for a disk"
            self._place = _unshared(self._place, self._start_ticks)
            path = self._place.file(state_file.SUFFIX)
            before = _past_records(path)
            self._file = state_file.create(path, self._monitor(self._place), cells, Libc().map_file)
            self._file.take_over(before)
        except OSError as error:
            return f"{self._place.directory}: {error.strerror or error}"
        return None

    @property
    def pause_path(self) -> str | None:
        """The file that says what is paused; None where there is no place for it."""
        if self._file is None or self._place is None:
            return None
        return self._place.file(pause_file.SUFFIX)

    def end(self) -> None:
        """The monitor has ended by itself: its successor reads the file, or there is none, and it goes."""
        if self._file is None or self._place is None:
            return
        self._file.end()
        if not self._place.is_lasting:
            for suffix in (state_file.SUFFIX, pause_file.SUFFIX):
                with suppress(OSError):
                    os.unlink(self._place.file(suffix))

    def keep(self, record: Record) -> bool:
        """Write it, if it has changed."""
        return self._file is None or self._file.keep(record)

    def forget(self, name: str) -> None:
        """A target isn't monitored any more."""
        if self._file is not None:
            self._file.forget(name)

    def past(self, name: str) -> Record | None:
        """What was last known of a target."""
        return None if self._file is None else self._file.past(name)

    def lack(self, unrecorded: int) -> None:
        """So many targets have found no room."""
        if self._file is not None:
            self._file.lack(unrecorded)

    def expect(self, targets: int) -> str | None:
        """Make room for so many targets: why that isn't possible, else None."""
        before = self._file
        if before is None or before.expect(targets) is None:
            return None
        cells = targets + targets // _SPARE
        wanted_bytes = state_format.file_bytes(cells) + _LEFT_BYTES
        try:
            if own_headroom_bytes() < wanted_bytes:
                return f"{before.expect(targets)}, and no memory for more"
            libc = Libc()
            self._file = before.grown(cells, libc.map_file)
            libc.unmap_file(before.close())
        except OSError as error:
            return f"{before.expect(targets)}: {error.strerror or error}"
        return None

    def _monitor(self, place: Place) -> MonitorRecord:
        return MonitorRecord(
            name=place.name,
            version=__version__,
            pid=os.getpid(),
            start_ticks=self._start_ticks,
            boot_id=boot_id(),
            uid=os.geteuid(),
            is_users=self._is_users,
            started_s=time.time(),
        )


def boot_id() -> bytes:
    """The boot of this machine; zeros where that isn't shown (ProcSubset=pid)."""
    try:
        return bytes.fromhex(lines_of("/proc/sys/kernel/random/boot_id")[0].replace("-", ""))
    except (OSError, ValueError, IndexError):
        return _UNKNOWN_BOOT


def is_running(monitor: MonitorRecord) -> bool:
    """Whether the process that wrote a file is there still."""
    ours = boot_id()
    if _UNKNOWN_BOOT not in (ours, monitor.boot_id) and ours != monitor.boot_id:
        return False
    try:
        return proc.read_stat(monitor.pid).start_ticks == monitor.start_ticks
    except OSError:
        pass
    try:
        os.kill(monitor.pid, 0)
    except PermissionError:
        return True  # /proc doesn't show other users' processes (hidepid=), but it is there.
    except OSError:
        return False
    return False


def remove_remains(directory: str) -> None:
    """Remove the files of monitors that were killed, and that nobody goes on with.

    The next memory-monitor.service goes on with that of the one before, which is in this directory, too.
    """
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if is_of_one_process(entry.name)]
    for name in names:
        path = f"{directory}/{name}"
        with suppress(OSError, UnknownFormError):
            monitor, _, _ = state_file.records_in(state_file.read(path))
            if monitor is not None and not is_running(monitor):
                os.unlink(path)
                os.unlink(path.removesuffix(state_file.SUFFIX) + pause_file.SUFFIX)


def _is_in_memory(directory: str) -> bool:
    """Whether its files are on no disk: by mountinfo (proc(5)), where the device is `major:minor`."""
    device = os.stat(directory).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in lines_of("/proc/self/mountinfo"):
        mount, _, rest = line.partition(" - ")
        if mount.split(" ")[2] == number:
            return rest.partition(" ")[0] in _IN_MEMORY
    return False


def _unshared(place: Place, start_ticks: int) -> Place:
    """The place, or one of its own in the same directory where a monitor that runs has that name."""
    try:
        monitor, _, _ = state_file.records_in(state_file.read(place.file(state_file.SUFFIX)))
    except (OSError, UnknownFormError):
        return place
    if monitor is None or not is_running(monitor) or monitor.pid == os.getpid():
        return place
    return Place(place.directory, own_name(os.getpid(), start_ticks), is_lasting=False)


def _past_records(path: str) -> list[Record]:
    """What the monitor before this one knew; nothing where there was none in this boot."""
    try:
        monitor, records, _ = state_file.records_in(state_file.read(path))
    except (OSError, UnknownFormError):
        return []
    ours = boot_id()
    if monitor is None or (_UNKNOWN_BOOT not in (ours, monitor.boot_id) and ours != monitor.boot_id):
        return []
    now_s = time.monotonic()
    return [record for record in records if all(time_s <= now_s for time_s in record.budget_times_s)]
