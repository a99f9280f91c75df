"""Takes a small machine's memory away and lets a service leak, again and again; for test_starved.py.

    starve.py target FILE
    starve.py rounds FILE COUNT LEFT_KIB keep|drop

`target` is named "starved". It leaks at each SIGUSR1 until SIGTERM, 8 MiB a second up to HELD_MIB, and from
there half a MiB a second: systemd, whose pages are taken away too, may need the whole second that it is given
to answer, and the machine is an emulated one (with 1 MiB a second 2 of 20 came too late on a slow host). Then
it gives all back. At SIGUSR2 it takes HELD_MIB and keeps them until SIGTERM. What happens it adds to FILE, a
line each: "started PID", "leaking", "holding", "signalled MIB".

`rounds` has the target hold, and takes memory, which it locks, until LEFT_KIB are available; so each leak
begins with room for HELD_MIB and little more. Then it has the target leak so often, and prints what became of
each round. With `drop` the disk's page cache is dropped every 100 ms meanwhile.

Run it by a copy of the interpreter, for it locks its memory: no monitor shall have its pages, which are the
original's, kept in memory by somebody else.
"""

import ctypes
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

MIB = 1 << 20
FAST_MIB_PER_S, SLOW_MIB_PER_S = 8, 0.5
STEP_BYTES = 128 << 10
MOST_MIB = 64
HELD_MIB = 9
ROUND_DEADLINE_S = 60.0
DROP_EVERY_S = 0.1
POLL_S = 0.05
MCL_CURRENT, MCL_FUTURE = 1, 2  # <sys/mman.h>
PR_SET_NAME = 15  # <sys/prctl.h>


class Target:
    """What leaks."""

    def __init__(self, file: str) -> None:
        """Appends to that file."""
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"starved")
        self.file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.most_mib = 0
        for number, most_mib in ((signal.SIGUSR1, MOST_MIB), (signal.SIGUSR2, HELD_MIB), (signal.SIGTERM, 0)):
            signal.signal(number, self.obey(most_mib))
        self.say(f"started {os.getpid()}")

    def obey(self, most_mib: int) -> Callable[..., None]:
        """A handler that sets how much it may take."""

        def handler(*_: object) -> None:
            self.most_mib = most_mib

        return handler

    def say(self, what: str) -> None:
        """Writes a line."""
        os.write(self.file, f"{what}\n".encode())

    def run(self) -> None:
        """Leaks when it is told to."""
        while True:
            while not self.most_mib:
                time.sleep(POLL_S)
            self.say("leaking")
            touched_bytes = self.take_until_told()
            self.say(f"signalled {touched_bytes / MIB:.1f}")

    def take_until_told(self) -> int:
        """Takes memory evenly, up to what it may; how much it was, in bytes, when it was told to stop."""
        pages = mmap.mmap(-1, MOST_MIB * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        touched = 0
        due_s = time.monotonic()
        while self.most_mib:
            if touched < self.most_mib * MIB:
                for _ in range(STEP_BYTES // mmap.PAGESIZE):
                    pages[touched] = 1
                    touched += mmap.PAGESIZE
                if touched == self.most_mib * MIB:
                    self.say("holding")
            rate_mib_s = FAST_MIB_PER_S if touched < HELD_MIB * MIB else SLOW_MIB_PER_S
            due_s += STEP_BYTES / (rate_mib_s * MIB)
            time.sleep(max(0.0, due_s - time.monotonic()))
        pages.close()
        return touched


class Rounds:
    """Who takes the memory, and looks at what becomes of the target."""

    def __init__(self, file: str) -> None:
        """Reads the target's file; locks itself, to see what happens whatever happens."""
        self.file = file
        if ctypes.CDLL(None, use_errno=True).mlockall(MCL_CURRENT | MCL_FUTURE):
            raise OSError(ctypes.get_errno(), "mlockall")

    def run(self, count: int, left_kib: int, drop: bool) -> None:
        """Takes the memory, then has the target leak so often."""
        self.tell(signal.SIGUSR2)
        self.came(0, "holding")
        taken = take_all_but(left_kib)
        print(f"took {sum(map(len, taken)) // MIB} MiB, {available_kib()} KiB are available", flush=True)
        seen = len(self.lines())
        self.tell(signal.SIGTERM)
        self.came(seen, "signalled")
        stop = threading.Event()
        if drop:
            threading.Thread(target=drop_page_cache, args=(stop,), daemon=True).start()
        for number in range(count):
            print(f"round {number + 1}: {self.one_round()}", flush=True)
        stop.set()

    def one_round(self) -> str:
        """What came: the signal, or a new process in the place of a killed one; how many were killed."""
        seen, kills = len(self.lines()), oom_kills()
        self.tell(signal.SIGUSR1)
        came = self.came(seen, "signalled", "started")
        return f"{came}, {oom_kills() - kills} killed, {available_kib()} KiB available"

    def lines(self) -> list[str]:
        """All that the target has said."""
        with open(self.file) as text:
            return text.read().splitlines()

    def tell(self, number: int) -> None:
        """Signals the target that runs now."""
        os.kill(int([line.split()[1] for line in self.lines() if line.startswith("started")][-1]), number)

    def came(self, seen: int, *words: str) -> str:
        """The first line after those that were seen which begins with one of the words, or "nothing"."""
        end_s = time.monotonic() + ROUND_DEADLINE_S
        while time.monotonic() < end_s:
            for line in self.lines()[seen:]:
                if line.startswith(words):
                    return line
            time.sleep(POLL_S)
        return "nothing"


def take_all_but(left_kib: int) -> list[mmap.mmap]:
    """Takes memory until so little is available, less and less at a time."""
    taken = []
    while available_kib() > left_kib:
        step_bytes = min(4 * MIB, max(STEP_BYTES, (available_kib() - left_kib) * 1024 // 2))
        taken.append(mmap.mmap(-1, step_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    return taken


def available_kib() -> int:
    """MemAvailable (/proc/meminfo, proc(5))."""
    return number_in("/proc/meminfo", "MemAvailable:")


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory."""
    return number_in("/proc/vmstat", "oom_kill ")


def number_in(file: str, key: str) -> int:
    """The number of the line that begins with the key."""
    with open(file) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))


def drop_page_cache(stop: threading.Event) -> None:
    """Until `stop` (drop_caches, Documentation/admin-guide/sysctl/vm.rst)."""
    file = os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)
    while not stop.wait(DROP_EVERY_S):
        os.write(file, b"1")


if __name__ == "__main__":
    if sys.argv[1] == "target":
        Target(sys.argv[2]).run()
    else:
        Rounds(sys.argv[2]).run(int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "drop")
