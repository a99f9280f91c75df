"""What a process does with signals, by the masks in /proc/PID/status (proc(5))."""

from __future__ import annotations

from dataclasses import dataclass

from memmon_systemd.linux import proc


@dataclass(frozen=True, slots=True)
class SignalMasks:
    """A bit for each signal, the first for signal 1."""

    blocked: int
    """It waits for these by sigwait(3) or a signalfd(2)."""
    ignored: int
    caught: int

    def ignores(self, signal_number: int) -> bool:
        """Whether the signal does nothing."""
        return bool(self.ignored >> (signal_number - 1) & 1)

    def handles(self, signal_number: int) -> bool:
        """Whether it is the program that decides what the signal does."""
        return bool((self.caught | self.blocked) >> (signal_number - 1) & 1)


def signal_masks(pid: int) -> SignalMasks:
    """Those of a process, by one read; OSError where there is none."""
    lines = proc.status_line(f"/proc/{pid}", b"\nSigBlk:", lines=3).split(b"\n")
    if len(lines) != 3 or not lines[1].startswith(b"SigIgn:") or not lines[2].startswith(b"SigCgt:"):
        raise proc.not_understood("SigBlk")
    blocked, ignored, caught = (int(line.rpartition(b"\t")[2], 16) for line in lines)
    return SignalMasks(blocked, ignored, caught)
