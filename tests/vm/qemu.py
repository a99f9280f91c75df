"""QEMU: boots an image with a job's disk, and hands on what the job writes to its serial port."""

import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from root_image import Image

KERNEL_ARGUMENTS = (
    *("root=/dev/vda", "rw", "console=ttyS0", "loglevel=4", "psi=1"),
    # QEMU ends on a panic, instead of hanging until the deadline.
    "panic=-1",
    # No colours on the console: it is read only after a failure, as text.
    "TERM=dumb",
    # The kernel doesn't trust the emulated TSC, though QEMU keeps it the same on all processors.
    # Without it a look at the clock is a system call and an exit to QEMU (HPET): 4 µs for 1 µs.
    "tsc=reliable",
    # The kernel waits a few ticks to see whether its timer works; where the host is busy none comes, and it
    # panics ("IO-APIC + timer doesn't work!").
    "no_timer_check",
)

# Written by job.sh.
BEGINS = "@@vm-job begins"
ENDS = "@@vm-job ends "

# Booting takes half a minute, three times that on a busy host; one that hangs should not take the
# whole deadline.
BOOT_DEADLINE_S = 300
# The job is ended in the machine when its time is up; after that it has to leave its results.
LEAVING_S = 180
CONSOLE_LINES_SHOWN = 30


class MachineError(Exception):
    """The machine could not be run to the end of its job; the message says why."""


class NotBootedError(MachineError):
    """It did not even begin its job."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What to boot: `root_is_kept` writes to the image's root disk instead of to an overlay."""

    image: Image
    job: Path
    results: Path
    console: Path
    memory_mib: int
    processors: int
    root_is_kept: bool
    skips_idle: bool
    """Its clock counts what its only processor executes, and skips the time that this has nothing to do."""

    def command(self) -> list[str]:
        """The command line of QEMU; the first serial port is the console, the second the job's."""
        snapshot = "off" if self.root_is_kept else "on"
        # 2 ns for each instruction: then no load on the host makes the machine late (QEMU, -icount).
        clock = (
            ("tcg,thread=single", "-icount", "shift=1,sleep=off")
            if self.skips_idle
            else ("tcg,thread=multi",)
        )
        return [
            # QEMU ends with this program even if that is killed.
            *("setpriv", "--pdeathsig=KILL", "--"),
            *("qemu-system-x86_64", "-machine", "q35", "-nodefaults", "-display", "none"),
            *("-accel", *clock, "-cpu", "max", "-smp", str(self.processors)),
            *("-m", f"{self.memory_mib}M", "-no-reboot"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)),
            *("-append", " ".join(KERNEL_ARGUMENTS)),
            *("-drive", f"if=virtio,format=raw,snapshot={snapshot},file={self.image.root}"),
            *("-drive", f"if=virtio,format=raw,readonly=on,file={self.job}"),
            *("-drive", f"if=virtio,format=raw,file={self.results}"),
            *("-serial", f"file:{self.console}", "-serial", "stdio"),
        ]


class Run:
    """One run of a machine, from power on to the end of its job."""

    def __init__(self, machine: Machine, job_deadline_s: float) -> None:
        self._machine = machine
        self._job_deadline_s = job_deadline_s
        # The limit, in seconds, that was exceeded and for which QEMU was ended.
        self._exceeded_s: float | None = None

    def exit_status(self) -> int:
        """Boots, prints what the job prints, and gives the job's exit status.

        Raises MachineError if the machine failed, or was not done by the deadline; NotBootedError if that
        was before the job began.
        """
        with subprocess.Popen(
            self._machine.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as qemu:
            boot_timer = self._timer(BOOT_DEADLINE_S, qemu)
            timer = self._timer(BOOT_DEADLINE_S + self._job_deadline_s + LEAVING_S, qemu)
            try:
                return self._read_job(qemu, boot_timer)
            finally:
                boot_timer.cancel()
                timer.cancel()
                qemu.kill()

    def _timer(self, limit_s: float, qemu: subprocess.Popen[bytes]) -> threading.Timer:
        def end() -> None:
            self._exceeded_s = limit_s
            qemu.kill()

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        return timer

    def _read_job(self, qemu: subprocess.Popen[bytes], boot_timer: threading.Timer) -> int:
        assert qemu.stdout is not None
        has_booted = False
        for line_of_bytes in qemu.stdout:
            line = line_of_bytes.decode(errors="replace").rstrip("\r\n")
            if line == BEGINS:
                has_booted = True
                boot_timer.cancel()
                continue
            # The last line of the job may have had no end.
            text, marker, status = line.partition(ENDS)
            if text or not marker:
                print(text, flush=True)
            if marker:
                return int(status)
        raise self._error(qemu.wait(), has_booted)

    def _error(self, qemu_status: int, has_booted: bool) -> MachineError:
        if self._exceeded_s is not None and has_booted:
            return MachineError(f"the job did not end within {self._exceeded_s:g} s")
        if self._exceeded_s is not None:
            why = f"the machine did not boot within {self._exceeded_s:g} s"
        else:
            why = f"QEMU ended with status {qemu_status} before the job {'ended' if has_booted else 'began'}"
        kind = MachineError if has_booted else NotBootedError
        return kind(f"{why}; the console's last lines:\n{self._last_console_lines()}")

    def _last_console_lines(self) -> str:
        if not self._machine.console.exists():
            return "(none)"
        text = self._machine.console.read_text(errors="replace")
        return "\n".join(text.splitlines()[-CONSOLE_LINES_SHOWN:]) or "(none)"
