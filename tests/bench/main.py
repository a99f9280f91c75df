"""The bench: one table of what the running program costs, against the bars it is built to.

    .venv/bin/python -m tests.bench.main [SECTION...]      from the root of the repository, as root

Sections: footprint, units, prefix, reaction, machine, scale, others; all of them without an argument.
It fails only where something can't be measured: a missed bar is a line of the table.
"""

import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench import footprint, looks, others, reaction, vm
from tests.bench.subjects import compiled
from tests.bench.table import Row, print_section, print_summary
from tests.process.leaker import build_leaker


class Bench:
    """The programs, and the sections that use them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.wake = compiled("wake.c", directory)
        self.leak = compiled("leak.c", directory)
        self.late = compiled("late.c", directory)
        self.leaker = build_leaker(directory)

    def footprint(self) -> list[Row]:
        return footprint.rows(self.directory, self.leaker)

    def units(self) -> list[Row]:
        return looks.unit_rows(self.directory, self.wake)

    def prefix(self) -> list[Row]:
        return looks.prefix_rows(self.directory, self.leaker, self.wake)

    def reaction(self) -> list[Row]:
        return reaction.rows(self.directory, self.leak, self.late)

    def machine(self) -> list[Row]:
        static = self.directory / "static"
        static.mkdir()
        return vm.rows(static)

    def scale(self) -> list[Row]:
        return vm.scale_rows()

    def others(self) -> list[Row]:
        return others.rows(self.directory, self.leak)


SECTIONS: Final[dict[str, tuple[str, Callable[[Bench], list[Row]]]]] = {
    "footprint": ("Memory, and the start", Bench.footprint),
    "units": ("A look at units", Bench.units),
    "prefix": ("A look at a process prefix", Bench.prefix),
    "reaction": ("In time", Bench.reaction),
    "machine": ("Under a real systemd, in the emulated machine", Bench.machine),
    "scale": ("One monitor of 1,000 units, in the emulated machine", Bench.scale),
    "others": ("What users would pick instead", Bench.others),
}


def machine() -> str:
    """Where and when the numbers were got."""
    cpus = {line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")}
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} x {', '.join(cpus)};"
        f" Linux {platform.release()}; {platform.python_implementation()} {platform.python_version()};"
        f" load {os.getloadavg()[0]:.1f}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def main(names: list[str]) -> int:
    unknown = set(names) - set(SECTIONS)
    if unknown:
        print(f"bench: no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
        return 2
    if sys.platform != "linux" or os.geteuid() != 0:
        print("bench: it takes Linux and root: PID namespaces, strace")
        return 1
    print(machine(), flush=True)
    every: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="mm-bench-") as directory:
        bench = Bench(Path(directory))
        for name, (title, rows) in SECTIONS.items():
            if not names or name in names:
                found = rows(bench)
                print_section(title, found)
                every += found
    print_summary(every)
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
