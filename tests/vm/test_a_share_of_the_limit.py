"""`-m 50%` is half of the tightest memory.max from the unit up to the root, else of the machine's memory."""

import re
import subprocess

from kit import Service, write_unit


def test_the_unit_itself_its_slice_or_the_machine_decides() -> None:
    write_unit("tight.slice", "[Slice]\nMemoryMax=40M\n")
    with (
        Service("own.service", properties=("MemoryMax=60M",)),
        Service("sliced.service", properties=("MemoryMax=60M", "Slice=tight.slice")),
        Service("free.service"),
    ):
        units = ("own.service", "sliced.service", "free.service")
        once = subprocess.run(
            ("memory-monitor", "-m", "50%", "--once", *units), capture_output=True, text=True, check=True
        )
    limits = dict(re.findall(r"^(\w+)\.service: ok: .* of (\S+) MiB(?:, .*)?$", once.stderr, re.MULTILINE))
    assert limits["own"] == "30"
    assert "free.service: ok: " in once.stderr
    assert ", 50% of the machine (no MemoryMax=)\n" in once.stderr
    assert once.stderr.count("of the machine") == 1
    assert limits["sliced"] == "20"
    with open("/proc/meminfo") as meminfo:
        total_kib = int(meminfo.readline().split()[1])
    assert float(limits["free"]) == round(total_kib / 1024 / 2, 1)
